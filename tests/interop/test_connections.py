"""Connections over time: the end of the server, slow clients, large requests, and too many."""

import contextlib
import json
import signal
import threading
import time

import hpack
import httpx
import pytest
import requests
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame

from support.certificates import Authority
from support.native import encoded, expect, new_id, random_key, refused
from support.servers import wait_until
from support.standalone import SOCKET_SECONDS, Standalone
from support.wire import Frames, SlowPut, head, status_of, to_the_end, trusting

#: As settings name it; the shortest there is.
CLIENT_TIMEOUT = 1
#: What must be cut off after the client timeout is cut off by then, on a busy machine too.
LATE = 10
QUICK = f'server.client_timeout_seconds={CLIENT_TIMEOUT}'


def test_sigterm_lets_running_requests_finish(standalone):
    server = standalone()
    idle = server.connect()
    idle.sendall(head('GET', '/healthcheck'))
    assert status_of(idle.recv(65536)) == 200
    silent = server.connect()
    running = SlowPut(server, server.connect())
    server.server.signal(signal.SIGTERM)
    # The idle ones are ended at once.
    assert to_the_end(idle) == b''
    assert to_the_end(silent) == b''
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    assert server.server.process.poll() is None
    answer = running.finish()
    assert status_of(answer) == 201
    assert server.server.wait() == 0
    assert 'stopped' in server.server.log_text()
    server.start()
    assert expect(server.keys().get(running.key_id), 200)['key_string'] == encoded(running.key)
    server.assert_good()


def test_sigterm_lets_running_requests_of_http2_finish(standalone):
    server = standalone()
    key_id, key = new_id(), random_key()
    content = json.dumps({'key_string': encoded(key)}).encode()
    fields = {':method': 'PUT', ':scheme': 'http', ':authority': '127.0.0.1', ':path': f'/v1/keys/{key_id}'}
    fields |= {'x-auth-token': server.token(), 'content-type': 'application/json'}
    frames = Frames(server.connect())
    frames.send(HeadersFrame, hpack.Encoder().encode(fields.items()), 'END_HEADERS')
    frames.send(DataFrame, content[:10])
    in_flight = 'chatelaine_http_requests_in_flight 2\n'
    wait_until(
        'the request', lambda: in_flight in requests.get(f'{server.url}/metrics', timeout=SOCKET_SECONDS).text, LATE
    )
    server.server.signal(signal.SIGTERM)
    while not isinstance(frame := frames.next(), GoAwayFrame):
        assert frame is not None
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    frames.send(DataFrame, content[10:], 'END_STREAM')
    while not isinstance(frame := frames.next(), HeadersFrame):
        assert frame is not None
    assert dict(hpack.Decoder().decode(frame.data))[':status'] == '201'
    while frames.next() is not None:
        pass
    assert server.server.wait() == 0
    server.start()
    assert expect(server.keys().get(key_id), 200)['key_string'] == encoded(key)


def test_a_handshake_that_does_not_go_on_holds_up_nobody_at_the_end(standalone, authority):
    # Time enough for the running request, too.
    patience = 3
    settings = f'server.client_timeout_seconds={patience}'
    server = standalone(settings, certificate=authority.issue('server'), authority=authority)
    with server.connect() as silent, server.connect() as begun:
        begun.sendall(b'\x16\x03\x01\x02\x00\x01')
        running = SlowPut(server, server.secure(trusting(authority)))
        server.server.signal(signal.SIGTERM)
        wait_until('the stop', lambda: 'stopping' in server.server.log_text(), LATE)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert status_of(running.finish()) == 201
        assert server.server.wait(patience + LATE) == 0
        assert to_the_end(silent) == b''
        to_the_end(begun)


def test_requests_that_do_not_end_are_given_up_at_the_end(standalone):
    server = standalone('server.shutdown_seconds=1')
    running = SlowPut(server, server.connect())
    server.server.signal(signal.SIGTERM)
    # Long before the client's ten seconds are over.
    assert server.server.wait(LATE - 2) == 0
    assert 'still running' in server.server.log_text()
    assert to_the_end(running.connection) == b''
    server.start()
    refused(server.keys().get(running.key_id), 404)
    server.assert_good()


def test_a_second_signal_ends_at_once(standalone):
    server = standalone()
    running = SlowPut(server, server.connect())
    server.server.signal(signal.SIGINT)
    wait_until('the stop', lambda: 'stopping' in server.server.log_text(), LATE)
    server.server.signal(signal.SIGTERM)
    assert server.server.wait(LATE - 2) == 130
    assert to_the_end(running.connection) == b''
    server.start()
    server.assert_good()


# Slow and large


#: What silent clients may have sent, and whether they get an answer to it before they are cut off.
SILENT = {
    b'': None,
    b'G': None,
    b'PRI * HT': None,
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n': None,
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0': None,
    head('GET', '/healthcheck')[:-2]: None,
    head('GET', '/healthcheck'): 200,
}


@pytest.mark.parametrize('with_tls', [False, True], ids=['plain', 'TLS'])
def test_silent_clients_are_cut_off(slow, with_tls):
    """However little they have sent, with HTTP/1 and 2, while the server waits for the header of a request."""
    server, context = slow[with_tls]
    began = time.monotonic()
    connections = {sent: server.secure(context) if with_tls else server.connect() for sent in SILENT}
    for sent, connection in connections.items():
        connection.sendall(sent)
    for sent, connection in connections.items():
        answer = to_the_end(connection)
        assert CLIENT_TIMEOUT * 0.9 < time.monotonic() - began < LATE, sent
        if SILENT[sent] is None:
            assert b'HTTP/1.1 2' not in answer, sent
        else:
            assert status_of(answer) == SILENT[sent], sent


@pytest.fixture(scope='module')
def slow(tmp_path_factory):
    """Two servers with little patience, one with TLS, and how to trust that one."""
    folder = tmp_path_factory.mktemp('slow')
    authority = Authority(folder)
    made = []
    for name, certificate in [('plain', None), ('tls', authority.issue('server'))]:
        (folder / name).mkdir()
        made.append(Standalone(folder / name, QUICK, certificate=certificate).trusting(authority).start())
    context = trusting(authority)
    yield {False: (made[0], None), True: (made[1], context)}
    for server in made:
        assert server.close() == 0


def trickle(connection, content: bytes, done: threading.Event) -> None:
    """A byte now and then, for as long as the server takes them."""
    for place in range(len(content)):
        if done.wait(CLIENT_TIMEOUT / 5):
            return
        try:
            connection.sendall(content[place : place + 1])
        except OSError:
            return


@pytest.mark.parametrize('part', ['header', 'body'])
def test_trickling_clients_are_cut_off(slow, part):
    """The time is for the whole, not for each byte."""
    server, _ = slow[False]
    fields = [f'X-Auth-Token: {server.token()}', 'Content-Type: application/json', 'Content-Length: 500']
    request = head('PUT', f'/v1/keys/{new_id()}', *fields)
    at_once, later = (b'', request) if part == 'header' else (request, b'{' + b' ' * 499)
    with server.connect() as connection:
        done = threading.Event()
        connection.sendall(at_once)
        sender = threading.Thread(target=trickle, args=(connection, later, done))
        began = time.monotonic()
        sender.start()
        answer = to_the_end(connection)
        done.set()
        sender.join()
        assert time.monotonic() - began < LATE
        if part == 'header':
            assert b'HTTP/1.1 2' not in answer
        else:
            assert status_of(answer) == 408
            assert f'within {CLIENT_TIMEOUT} s' in answer.decode()


def test_a_request_has_its_time(standalone):
    server = standalone('server.request_timeout_seconds=1')
    running = SlowPut(server, server.connect())
    answer = to_the_end(running.connection)
    assert status_of(answer) == 503
    assert b'retry-after: 5' in answer.lower()


def test_large_headers_and_bodies_are_refused(slow):
    server, _ = slow[False]
    keys = server.keys()
    for fields in [['X-A: ' + 'a' * 70_000], [f'X-{number}: a' for number in range(110)], ['X-A: aaaa'] * 5000]:
        with server.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(head('GET', '/healthcheck', *fields))
            assert status_of(to_the_end(connection)) == 431
    allowed = {f'X-{number}': 'a' * 500 for number in range(80)}
    assert keys.call('GET', '/healthcheck', headers=allowed).status_code == 200

    for length in [1, 65536]:
        key_id = new_id()
        body = {'key_string': encoded(bytes(length))}
        assert keys.call('PUT', f'/v1/keys/{key_id}', body).status_code == 201, length
    body = {'key_string': encoded(bytes(65537))}
    error = refused(keys.call('PUT', f'/v1/keys/{new_id()}', body), 400)
    assert error['field'] == 'key_string'
    headers = {'X-Auth-Token': server.token(), 'Content-Type': 'application/json'}
    url = f'{server.url}/v1/keys/{new_id()}'
    refused(requests.put(url, data=b' ' * 200_000, headers=headers, timeout=SOCKET_SECONDS), 413)
    # Without a length announced, and announced without being sent.
    chunks = (b' ' * 10_000 for _ in range(20))
    refused(requests.put(url, data=chunks, headers=headers, timeout=SOCKET_SECONDS), 413)
    with server.connect() as connection:
        fields = [f'{name}: {value}' for name, value in headers.items()]
        connection.sendall(head('PUT', f'/v1/keys/{new_id()}', *fields, 'Content-Length: 10000000000'))
        assert status_of(to_the_end(connection)) == 413
    expect(keys.put(new_id(), random_key()), 201)


def test_large_headers_and_bodies_are_refused_with_http2(slow):
    server, context = slow[True]
    headers = {'X-Auth-Token': server.token(), 'Content-Type': 'application/json'}
    with httpx.Client(http2=True, verify=context, base_url=server.url, trust_env=False) as client:
        assert client.get('/healthcheck', headers={'X-A': 'a' * 60_000}).status_code == 200
        answers = [client.get('/healthcheck', headers={'X-A': 'a' * 70_000})]
        answers.append(client.put(f'/v1/keys/{new_id()}', content=b' ' * 200_000, headers=headers))
        # On the same connection, which one refusal does not end for the others.
        answers.append(client.get('/healthcheck'))
    assert [answer.status_code for answer in answers] == [431, 413, 200]
    assert {answer.http_version for answer in answers} == {'HTTP/2'}


def test_a_connection_is_not_closed_without_a_word(slow):
    """A refusal that comes before the body: the client may use the connection again, or is told not to."""
    server, _ = slow[False]
    fields = ['X-Auth-Token: wrong', 'Content-Type: application/json', 'Content-Length: 100']
    connection = server.connect()
    connection.sendall(head('PUT', f'/v1/keys/{new_id()}', *fields))
    answer = b''
    while b'"}}' not in answer:
        answer += connection.recv(65536)
    assert status_of(answer) == 401
    told = b'\r\nconnection: close\r\n' in answer.lower()
    with contextlib.suppress(ConnectionError):
        connection.sendall(b' ' * 100 + head('GET', '/healthcheck', 'Connection: close'))
    after = to_the_end(connection)
    assert (told, after) == (True, b'') or (told, status_of(after)) == (False, 200)
    # Where the body was read, the connection stays: the error is the client's only in what it says.
    connection = server.connect()
    fields[0] = f'X-Auth-Token: {server.token()}'
    connection.sendall(head('PUT', f'/v1/keys/{new_id()}', *fields) + b' ' * 100)
    answer = b''
    while b'"}}' not in answer:
        answer += connection.recv(65536)
    assert status_of(answer) == 400
    assert b'\r\nconnection: close\r\n' not in answer.lower()
    connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
    assert status_of(to_the_end(connection)) == 200


def test_more_connections_than_allowed_wait(standalone):
    server = standalone('server.max_connections=3', 'server.client_timeout_seconds=60')
    held = [server.connect() for _ in range(3)]
    for connection in held:
        connection.sendall(head('GET', '/healthcheck'))
        assert status_of(connection.recv(65536)) == 200
    waiting = server.connect()
    waiting.sendall(head('GET', '/healthcheck', 'Connection: close'))
    # It is connected by the system, and nobody answers.
    waiting.settimeout(0.5)
    with pytest.raises(TimeoutError):
        waiting.recv(1)
    held.pop().close()
    waiting.settimeout(SOCKET_SECONDS)
    assert status_of(to_the_end(waiting)) == 200
    # With all places taken it can still be stopped.
    held += [server.connect()]
    held[-1].sendall(head('GET', '/healthcheck'))
    assert status_of(held[-1].recv(65536)) == 200
    server.server.signal(signal.SIGTERM)
    assert server.server.wait(LATE) == 0


def test_silent_clients_do_not_keep_others_out(standalone):
    """As many as there are places, sending nothing: they are cut off, and others are served (T-SLOW-CLIENT)."""
    server = standalone('server.max_connections=2', QUICK)
    silent = [server.connect() for _ in range(2)]
    with server.connect() as connection:
        connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
        assert status_of(to_the_end(connection)) == 200
    for connection in silent:
        assert to_the_end(connection) == b''


def test_one_user_cannot_take_all_places(standalone):
    server = standalone('limits.concurrent_requests=1', 'limits.requests_per_second=1', 'limits.burst=3')
    running = SlowPut(server, server.connect())
    answer = server.keys().get(running.key_id)
    refused(answer, 429)
    assert int(answer.headers['Retry-After']) >= 1
    assert status_of(running.finish()) == 201
    statuses = [server.keys().metadata(running.key_id).status_code for _ in range(3)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
