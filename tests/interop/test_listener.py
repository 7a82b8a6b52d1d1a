"""The listener as clients meet it: TLS, who is let in, and where it does not listen."""

import contextlib
import os
import re
import socket
import ssl
import struct
import subprocess
import time

import httpx
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from support.certificates import CLIENT, DAY, SERVER, Authority
from support.chatelaine import CLI_SECONDS, binary
from support.native import Keys, encoded, expect, new_id, random_key, refused
from support.servers import free_port
from support.standalone import SOCKET_SECONDS
from support.wire import head, status_of, to_the_end, trusting

#: What must be refused at once is refused by then, on a busy machine too.
LATE = 10


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(('alpn', 'chosen'), [(['h2', 'http/1.1'], 'h2'), (['http/1.1'], 'http/1.1'), ([], None)])
def test_tls_versions_and_protocols(standalone, authority, version, alpn, chosen):
    server = standalone(certificate=authority.issue('server'), authority=authority)
    with server.secure(trusting(authority, at_least=version, at_most=version, alpn=alpn)) as connection:
        assert connection.version() == {'TLSv1_2': 'TLSv1.2', 'TLSv1_3': 'TLSv1.3'}[version.name]
        assert connection.selected_alpn_protocol() == chosen
        if chosen != 'h2':
            connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
            assert status_of(to_the_end(connection)) == 200
    # A put and a get by clients people use, over the same version.
    context = trusting(authority, at_least=version, at_most=version)
    with httpx.Client(http2=chosen == 'h2', verify=context, base_url=server.url, trust_env=False) as client:
        key, path, headers = random_key(), f'/v1/keys/{new_id()}', {'X-Auth-Token': server.token()}
        assert client.put(path, json={'key_string': encoded(key)}, headers=headers).status_code == 201
        answer = client.get(path, headers=headers)
        assert answer.json()['key_string'] == encoded(key)
        assert answer.http_version == ('HTTP/2' if chosen == 'h2' else 'HTTP/1.1')


@pytest.mark.filterwarnings('ignore:ssl.TLSVersion.TLSv1:DeprecationWarning')
def test_what_is_no_tls_of_today_is_refused(standalone, authority):
    server = standalone(certificate=authority.issue('server'), authority=authority)
    for version in [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]:
        with pytest.raises(ssl.SSLError) as refusal:
            server.secure(trusting(authority, at_least=version, at_most=version))
        # An alert is the server's word; what the client does not even try fails otherwise.
        assert re.search('ALERT_(PROTOCOL_VERSION|HANDSHAKE_FAILURE)', refusal.value.reason), refusal.value
    for protocol in [['spdy/3'], ['http/1.0']]:
        with pytest.raises(ssl.SSLError, match='(?i)no.application.protocol'):
            server.secure(trusting(authority, alpn=protocol))
    # Plain HTTP, and what is neither: an end, at once.
    for content in [head('GET', '/healthcheck'), b'\0' * 64, b'\x16\x03\x01\xff\xff' + b'x' * 70_000]:
        with server.connect() as connection:
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                connection.sendall(content)
            assert b'HTTP' not in to_the_end(connection)
            assert time.monotonic() - began < LATE
    # A server without trust in its certificate is not spoken to.
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f'{server.url}/healthcheck', timeout=SOCKET_SECONDS)
    expect(server.keys().put(new_id(), random_key()), 201)


def test_the_key_exchange_is_hybrid_where_the_client_can(standalone, authority):
    """By the OpenSSL that `cryptography` brings, which is younger than Python's own."""
    server = standalone(certificate=authority.issue('server'), authority=authority)

    def group(curve=None) -> str:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(authority.file))
        context.set_verify(SSL.VERIFY_PEER)
        if curve is not None:
            context.set_tmp_ecdh(curve)
        with server.connect() as plain:
            # The library wants a blocking socket; the system ends what takes too long.
            plain.settimeout(None)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', SOCKET_SECONDS, 0))
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
            connection.do_handshake()
            connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
            assert connection.recv(65536).startswith(b'HTTP/1.1 200')
            return connection.get_group_name()

    # The client offers it and X25519 with a share of each: the choice is the server's.
    assert group() == 'X25519MLKEM768'
    # One that knows nothing of it is served as well.
    assert group(ec.SECP256R1()) in ('prime256v1', 'secp256r1')


def test_clients_without_a_certificate_are_not_served_where_one_is_asked_for(standalone, tmp_path):
    authority, stranger = Authority(tmp_path, 'clients'), Authority(tmp_path, 'strangers')
    good = authority.issue('good', CLIENT)
    certificate = authority.issue('server')
    server = standalone(
        f'server.tls.client_ca={authority.file}', certificate=certificate, authority=authority, client=good
    )
    key_id, key = new_id(), random_key()
    expect(server.keys().put(key_id, key), 201)
    wrong = {
        'none': None,
        'of another authority': stranger.issue('strange', CLIENT),
        'expired': authority.issue('expired', CLIENT, -2 * DAY, -DAY),
        'of tomorrow': authority.issue('early', CLIENT, DAY, 2 * DAY),
        'for servers': authority.issue('wrong-use', SERVER),
    }
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        for what, client in wrong.items():
            context = trusting(authority, at_least=version, at_most=version, client=client)
            # With TLS 1.3 the client learns it only when it reads.
            with pytest.raises(ssl.SSLError, match='(?i)alert|certificate'):
                with server.secure(context) as connection:
                    connection.recv(1)
                    raise AssertionError(f'{what}: no alert')
        context = trusting(authority, at_least=version, at_most=version, client=good)
        with server.secure(context) as connection:
            connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
            assert status_of(to_the_end(connection)) == 200
    # A certificate takes no token's place.
    refused(Keys(server.url, None, **server.server.trust).get(key_id), 401)


def serial_of(server, authority, client=None) -> int:
    """The serial number of the certificate that new connections see."""
    with server.secure(trusting(authority, client=client)) as connection:
        return int(connection.getpeercert()['serialNumber'], 16)


def test_a_new_certificate_is_taken_up_without_ending_connections(standalone, authority):
    first, second = authority.issue('first'), authority.issue('second')
    server = standalone(certificate=first, authority=authority)
    old = server.keys()
    key_id, key = new_id(), random_key()
    expect(old.put(key_id, key), 201)
    assert serial_of(server, authority) == first.serial
    with server.secure(trusting(authority)) as open_connection:
        open_connection.sendall(head('GET', '/healthcheck'))
        assert status_of(open_connection.recv(65536)) == 200
        second.write(first.certificate, first.key)
        assert serial_of(server, authority) == first.serial, 'nobody has told the server'
        server.reread()
        assert serial_of(server, authority) == second.serial
        open_connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
        assert status_of(to_the_end(open_connection)) == 200
    expect(old.get(key_id), 200)

    # Whatever is wrong with the next one, the last good one stays, and each attempt is one line in the log.
    other = authority.issue('other')
    broken = {
        'no PEM': (b'no certificate', second.key_pem, 0o600),
        'another key': (second.certificate_pem, other.key_pem, 0o600),
        'a key others can read': (other.certificate_pem, other.key_pem, 0o604),
        'no key': (other.certificate_pem, b'', 0o600),
        'half a certificate': (other.certificate_pem[:200], other.key_pem, 0o600),
    }
    for number, (what, (certificate, private, mode)) in enumerate(broken.items(), 1):
        first.certificate.write_bytes(certificate)
        first.key.write_bytes(private)
        first.key.chmod(mode)
        server.reread()
        assert serial_of(server, authority) == second.serial, what
        lines = [line for line in server.server.log_text().splitlines() if 'the old one stays' in line]
        assert len(lines) == number, what
        assert 'ERROR' in lines[-1]
        assert 'server.tls' in lines[-1]
    first.key.chmod(0o600)
    other.write(first.certificate, first.key)
    server.reread()
    assert serial_of(server, authority) == other.serial


def test_new_client_authorities_are_taken_up(standalone, tmp_path):
    before, after = Authority(tmp_path, 'before'), Authority(tmp_path, 'after')
    file = tmp_path / 'client-authorities.pem'
    file.write_bytes(before.file.read_bytes())
    old, new = before.issue('old', CLIENT), after.issue('new', CLIENT)
    certificate = before.issue('server')
    server = standalone(f'server.tls.client_ca={file}', certificate=certificate, authority=before, client=old)

    def served(client) -> bool:
        try:
            # With TLS 1.2 it is the handshake that fails.
            context = trusting(before, at_most=ssl.TLSVersion.TLSv1_2, client=client)
            with server.secure(context) as connection:
                connection.sendall(head('GET', '/healthcheck', 'Connection: close'))
                return status_of(to_the_end(connection)) == 200
        except ssl.SSLError:
            return False

    assert (served(old), served(new)) == (True, False)
    file.write_bytes(after.file.read_bytes())
    server.reread()
    assert (served(old), served(new)) == (False, True)


def start_refused(folder, *settings: str) -> str:
    """What a server says that does not start; the data folder must not have been made."""
    arguments = [part for setting in [f'data.folder={folder}/data', *settings] for part in ('--set', setting)]
    done = subprocess.run(
        [binary(), *arguments, 'serve'],
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
        env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
    )
    assert done.returncode not in (0, 101, 139), done
    assert not (folder / 'data').exists()
    return done.stderr


def test_what_would_be_unsafe_is_not_started(tmp_path, authority):
    certificate = authority.issue('server')
    tls = [f'server.tls.cert={certificate.certificate}', f'server.tls.key={certificate.key}']
    local = f'server.listen=127.0.0.1:{free_port()}'
    for address in [f'0.0.0.0:{free_port()}', f'[::]:{free_port()}', f'192.0.2.7:{free_port()}']:
        told = start_refused(tmp_path, f'server.listen={address}')
        assert 'server.listen' in told and address in told and 'insecure_bind' in told and 'server.tls.cert' in told
    for mode in [0o644, 0o604, 0o660, 0o666]:
        certificate.key.chmod(mode)
        told = start_refused(tmp_path, local, *tls)
        assert 'server.tls.key' in told and str(certificate.key) in told and f'{mode:04o}' in told and 'chmod' in told
    certificate.key.chmod(0o600)
    for wrong, named in [
        ([tls[0]], 'server.tls.key'),
        ([tls[1]], 'server.tls.cert'),
        ([f'server.tls.client_ca={authority.file}'], 'server.tls.client_ca'),
        ([tls[0], f'server.tls.key={tmp_path}/none'], 'server.tls.key'),
        ([f'server.tls.cert={certificate.key}', tls[1]], 'server.tls.cert'),
        ([*tls, f'server.tls.client_ca={certificate.key}'], 'server.tls.client_ca'),
        ([f'server.tls.cert={authority.issue("other").certificate}', tls[1]], 'server.tls'),
    ]:
        assert named in start_refused(tmp_path, local, *wrong)
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        address = f'127.0.0.1:{taken.getsockname()[1]}'
        told = start_refused(tmp_path, f'server.listen={address}')
        assert 'server.listen' in told and address in told


def test_beyond_loopback_with_tls_or_when_told_so(standalone, authority):
    warning = 'cross the network in the clear'
    open_house = standalone('server.insecure_bind=true', address='0.0.0.0')
    assert open_house.server.log_text().count(warning) == 1
    for mode in [0o600, 0o640, 0o400]:
        certificate = authority.issue(f'server-{mode:o}')
        certificate.key.chmod(mode)
        server = standalone(certificate=certificate, authority=authority, address='0.0.0.0')
        assert warning not in server.server.log_text()
        expect(server.keys().put(new_id(), random_key()), 201)
