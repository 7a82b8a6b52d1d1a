from __future__ import annotations

import os
import pathlib
import signal
import socket
import threading
import time
from concurrent import futures

import fake_agent
import pytest
from fake_agent import FakeAgent

from chatelaine import connection, errors
from chatelaine.agent import Agent


def test_making_an_agent_connects_to_nothing(tmp_path: pathlib.Path) -> None:
    agent = Agent(str(tmp_path / 'none.sock'))
    with pytest.raises(errors.UnavailableError, match=r'none\.sock cannot be reached: No such file'):
        agent.is_ready()


@pytest.mark.parametrize(('timeout', 'connections'), [(0, 1), (-1, 1), (1, 0)])
def test_limits_that_make_no_sense_are_refused(timeout: float, connections: int) -> None:
    with pytest.raises(ValueError, match='must be'):
        Agent('x', timeout=timeout, max_connections=connections)


def test_one_connection_serves_many_calls(fake: FakeAgent, agent: Agent) -> None:
    key = agent.create_key('aes').document
    for _ in range(20):
        agent.key(key.id)
    agent.delete(key.id)
    assert agent.is_ready()
    assert fake.connections == 1


def test_threads_share_the_connections(fake: FakeAgent) -> None:
    agent = Agent(fake.path, max_connections=4)
    keys = {agent.create_key('aes', key_string=os.urandom(32)).document.id for _ in range(20)}
    with futures.ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda number: agent.key(sorted(keys)[number % 20]), range(400)))
    assert {one.document.id for one in found} == keys
    for one in found:
        assert agent.key(one.document.id).key_string == one.key_string
    assert fake.connections <= 4
    agent.close()


def test_a_call_waits_for_a_connection_no_longer_than_its_time(fake: FakeAgent) -> None:
    pool = connection.Pool(fake.path, 1)
    fake.faults.append(fake_agent.wait(1.0))
    answers: list[connection.Answer] = []
    slow = threading.Thread(target=lambda: answers.append(pool.request('GET', '/readyz', {}, None, 10)))
    slow.start()
    while not fake.requests:
        time.sleep(0.01)
    start = time.monotonic()
    with pytest.raises(errors.UnavailableError, match=r'all 1 connections .* were in use for 0\.2 s'):
        pool.request('GET', '/readyz', {}, None, 0.2)
    assert time.monotonic() - start < 0.9
    slow.join()
    assert [answer.status for answer in answers] == [200]
    assert pool.request('GET', '/readyz', {}, None, 5).status == 200


@pytest.mark.parametrize('fault', [fake_agent.hang(5), fake_agent.trickle])
def test_an_answer_that_does_not_come_to_an_end_is_not_waited_for(fake: FakeAgent, fault: fake_agent.Fault) -> None:
    agent = Agent(fake.path, timeout=0.4)
    fake.faults.append(fault)
    start = time.monotonic()
    with pytest.raises(errors.UnavailableError, match=r'no answer within 0\.4 s'):
        agent.keys()
    assert 0.3 < time.monotonic() - start < 2
    # What may still come on that connection is nobody's answer.
    assert agent.is_ready()
    assert fake.connections == 2


def test_a_connection_that_was_closed_meanwhile_is_not_used(fake: FakeAgent, agent: Agent) -> None:
    agent.is_ready()
    fake.drop_connections()
    # Not even for what must not be repeated.
    agent.create_key('aes')
    assert fake.paths() == ['GET /readyz', 'POST /v1/keys']


def test_what_is_safe_is_asked_once_more_where_the_connection_breaks(fake: FakeAgent, agent: Agent) -> None:
    agent.is_ready()
    fake.faults.append(fake_agent.close)
    assert agent.is_ready()
    assert len(fake.requests) == 3
    fake.faults += [fake_agent.close, fake_agent.close]
    with pytest.raises(errors.UnavailableError, match=r'ended before it had answered$'):
        agent.is_ready()


def test_what_changes_something_is_never_sent_twice(fake: FakeAgent, agent: Agent) -> None:
    agent.is_ready()
    for change in [lambda: agent.create_key('aes'), lambda: agent.delete('0' * 36)]:
        fake.faults.append(fake_agent.close)
        fake.requests.clear()
        with pytest.raises(errors.UnavailableError, match='may have been done'):
            change()
        assert len(fake.requests) == 1
        agent.is_ready()


@pytest.mark.parametrize(
    'text',
    [
        b'SSH-2.0-OpenSSH_9.2\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n["key"]',
        b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]',
        b'HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n[]',
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"keys": "abc"',
        b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"keys": [1]}',
    ],
)
def test_what_is_no_answer_of_an_agent_is_told(fake: FakeAgent, agent: Agent, text: bytes) -> None:
    fake.faults.append(fake_agent.raw(text))
    with pytest.raises(errors.UnexpectedAnswerError):
        agent.keys()
    assert agent.is_ready()


def test_answers_are_bounded(fake: FakeAgent, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, 'MAX_ANSWER', 1000)
    for length in (b'Content-Length: 2000\r\n', b''):
        fake.faults.append(fake_agent.raw(b'HTTP/1.1 200 OK\r\n' + length + b'\r\n' + b'x' * 2000))
        with pytest.raises(errors.UnexpectedAnswerError, match='longer than 1000 bytes'):
            agent.keys()


def test_half_an_answer_is_none(fake: FakeAgent, agent: Agent) -> None:
    fake.faults.append(fake_agent.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{'))
    with pytest.raises(errors.UnavailableError, match='before it had answered'):
        agent.keys()


def test_connections_that_nobody_used_for_long_are_closed(
    fake: FakeAgent, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.is_ready()
    monkeypatch.setattr(connection, 'IDLE_SECONDS', -1.0)
    agent.is_ready()
    assert fake.connections == 2


def test_a_full_queue_of_connections_is_waited_for(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / 'full.sock')
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen(0)
        first = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        first.connect(path)
        agent = Agent(path, timeout=0.3)
        start = time.monotonic()
        with pytest.raises(errors.UnavailableError, match='no answer within'):
            agent.is_ready()
        assert 0.2 < time.monotonic() - start < 2

        def serve() -> None:
            time.sleep(0.2)
            listening.accept()[0].close()
            served, _ = listening.accept()
            served.recv(4096)
            served.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')
            served.close()

        thread = threading.Thread(target=serve)
        thread.start()
        assert Agent(path, timeout=5).is_ready()
        thread.join()
        first.close()


def test_a_child_has_connections_and_locks_of_its_own(fake: FakeAgent) -> None:
    agent = Agent(fake.path, timeout=5, max_connections=1)
    key_id = agent.create_key('aes').document.id
    # The only connection is in use by a thread that the child will not have.
    fake.faults.append(fake_agent.wait(1.0))
    busy = threading.Thread(target=agent.is_ready)
    busy.start()
    while len(fake.requests) < 2:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            start = time.monotonic()
            status = 0 if agent.key(key_id).key_string and time.monotonic() - start < 0.8 else 2
        finally:
            os._exit(status)
    busy.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # The parent's connection still is the parent's.
    assert agent.key(key_id).key_string
    assert fake.connections == 2
    agent.close()
