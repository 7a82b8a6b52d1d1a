"""Agents of services beside a real key manager: what is wrapped, who may ask, what is kept, how master keys are replaced."""

import base64
import concurrent.futures
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from support.agent import Socket, service_token
from support.chatelaine import binary
from support.native import expect, new_id
from support.servers import wait_until

ROTATION_SECONDS = 180
CACHE_SECONDS = 2
#: A name, which the key manager does know.
CANARY = f'a disk called {new_id()}'


def memory_of(pid: int) -> list[bytes]:
    """All that a process can read of its own memory."""
    pieces = []
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith('r') or 'vvar' in line or 'vsyscall' in line:
                continue
            start, end = (int(part, 16) for part in span.split('-'))
            try:
                memory.seek(start)
                pieces.append(memory.read(end - start))
            except (OSError, ValueError):
                continue
    return pieces


def test_keys_of_every_kind_come_back_and_the_key_manager_never_sees_them(standalone, agents):
    """T-ENDPOINT-SEEN: neither files nor memory of the key manager hold a key that an agent made."""
    server = standalone()
    agent = agents(server).start()
    client = agent.socket()
    made = {}
    for algorithm, fields in [
        ('aes', {}),
        ('aes', {'bit_length': 512, 'name': CANARY, 'attributes': {'volume': 'v-1'}}),
        ('hmac-sha512', {}),
        ('generic', {'bit_length': 2047}),
        ('chacha20', {}),
        ('passphrase', {'key_string': base64.b64encode(b'correct horse battery staple').decode()}),
        ('certificate', {'key_string': base64.b64encode(os.urandom(1500)).decode()}),
        ('opaque', {'key_string': base64.b64encode(os.urandom(60_000)).decode()}),
    ]:
        key_id, key = client.made(algorithm, **fields)
        made[key_id] = key
        if 'key_string' in fields:
            assert key == base64.b64decode(fields['key_string'])
    assert len(set(made.values())) == len(made)
    agent.close()
    agent.start()
    client = agent.socket()
    for key_id, key in made.items():
        assert client.key(key_id) == key
    stored = [file.read_bytes() for file in server.data.rglob('*') if file.is_file()]
    stored += memory_of(server.server.process.pid)
    assert len(stored) > 50
    for key_id, key in made.items():
        for piece in (key, base64.b64encode(key), key.hex().encode()):
            assert not any(piece in place for place in stored), f'{key_id} was seen'
    assert any(CANARY.encode() in place for place in memory_of(server.server.process.pid)), 'the search finds what is there'


def test_pairs_lists_metadata_and_deletion(standalone, agents):
    server = standalone()
    agent = agents(server).start()
    client = agent.socket()
    answer = client.call('POST', '/v1/key-pairs', {'algorithm': 'rsa', 'bit_length': 2048, 'name': 'signing'})
    assert answer.status == 201, answer.body
    pair = answer.json()
    private = client.key(pair['private_key']['id'])
    public = client.key(pair['public_key']['id'])
    done = subprocess.run(
        ['openssl', 'pkey', '-inform', 'DER', '-pubout', '-outform', 'DER'], input=private, capture_output=True, check=True
    )
    assert done.stdout == public
    ids = [client.made(name=f'key {number}')[0] for number in range(7)]
    listed, marker = [], ''
    while True:
        page = client.call('GET', f'/v1/keys?limit=3{marker}').json()
        assert len(page['keys']) <= 3
        assert all('key_string' not in key for key in page['keys'])
        listed += [key['id'] for key in page['keys']]
        if 'next_marker' not in page:
            break
        marker = f'&marker={page["next_marker"]}'
    assert set(listed) == {*ids, pair['private_key']['id'], pair['public_key']['id']}
    metadata = client.call('GET', f'/v1/keys/{ids[0]}/metadata').json()
    assert (metadata['name'], metadata['bit_length'], metadata['state']) == ('key 0', 256, 'active')
    assert client.delete(ids[0]).status == 204
    assert client.get(ids[0]).status == 404
    assert client.delete(ids[0]).status == 404
    # An id of the service's choice, and no second key under it.
    chosen = new_id()
    assert client.made(id=chosen)[0] == chosen
    assert client.create(id=chosen).status == 409


def test_wrong_requests_are_refused_in_words(standalone, agents):
    agent = agents(standalone()).start()
    client = agent.socket()
    for body, status, field in [
        ({'algorithm': 'rot13'}, 400, 'algorithm'),
        ({'algorithm': 'des'}, 400, 'algorithm'),
        ({'algorithm': 'aes', 'bit_length': 7}, 400, 'bit_length'),
        ({'algorithm': 'aes', 'key_string': '*'}, 400, 'key_string'),
        ({'algorithm': 'aes', 'key_string': 'AAAA'}, 400, 'bit_length'),
        ({'algorithm': 'aes', 'lock': 'triple'}, 400, 'lock'),
        ({'algorithm': 'aes', 'lock': 'dual'}, 400, 'scope'),
        ({'algorithm': 'aes', 'colour': 'red'}, 400, 'colour'),
        ({'algorithm': 'aes', 'expires_at': 'tomorrow'}, 400, None),
        ({}, 400, 'algorithm'),
        ('[]', 400, None),
        ('{', 400, None),
        ('x' * 300_000, 413, None),
    ]:
        answer = client.call('POST', '/v1/keys', body)
        assert answer.status == status, (str(body)[:80], answer.body)
        error = answer.json()['error']
        assert error['code'] == status and error['request_id'].startswith('req-')
        assert error.get('field') == field, error
    for method, path, status in [
        ('GET', '/v1/keys/no-such-id', 404),
        ('GET', '/v1/keys/%2e%2e', 400),
        ('GET', '/v1/keys?limit=0', 400),
        ('GET', '/v1/keys?order=up', 400),
        ('GET', f'/v1/keys/{new_id()}?scope=project', 400),
        ('GET', '/v1/secrets', 404),
        ('PUT', '/v1/keys', 405),
    ]:
        answer = client.call(method, path)
        assert answer.status in (status, 400) if status == 404 else answer.status == status, (path, answer.body)
    assert agent.server.process.poll() is None


def test_only_peers_on_the_list_are_served(standalone, agents):
    """T-PEER: another user of the host gets no key, though the socket can be reached."""
    agent = agents(standalone()).start()
    key_id, _ = agent.socket().made()
    program = (
        'import http.client, os, socket, sys\n'
        'os.setgroups([]); os.setgid(65534); os.setuid(65534)\n'
        'c = http.client.HTTPConnection("agent"); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n'
        'c.request("GET", sys.argv[2]); r = c.getresponse(); print(r.status, r.read().decode())\n'
    )
    os.chmod(agent.socket_path.parent, 0o755)
    asked = [sys.executable, '-c', program, str(agent.socket_path)]
    for path in (f'/v1/keys/{key_id}', '/readyz', '/v1/keys'):
        done = subprocess.run([*asked, path], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.startswith('403 ') and 'agent.peers' in done.stdout, done
    agent.close()
    agent.reconfigure('agent.peers=["gid:65534"]')
    agent.start(ready=False)
    os.chmod(agent.socket_path.parent, 0o755)
    done = subprocess.run([*asked, f'/v1/keys/{key_id}'], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith('200 '), done
    assert agent.call('GET', f'/v1/keys/{key_id}').status == 403, 'root is not on the list'


def test_services_cannot_open_each_others_keys(standalone, agents):
    """T-SERVICE-OTHER: the other's keys are not found, and with the whole store and its own master key they do not open."""
    server = standalone()
    swift = agents(server, 'swift', token=service_token(server, 'swift')).start()
    cinder = agents(server, 'cinder', token=service_token(server, 'cinder')).start()
    key_id, key = swift.socket().made()
    assert cinder.socket().get(key_id).status == 404
    assert cinder.socket().delete(key_id).status == 404
    # Cinder's agent with Swift's credentials at the key manager, which is more than a thief of the store has.
    thief = agents(server, 'thief', token=(swift.data.parent / f'{swift.data.name}.token').read_text()).start()
    answer = thief.socket().get(key_id)
    assert answer.status == 403 and 'master key' in answer.message, answer.body
    assert swift.socket().key(key_id) == key


def test_two_hosts_of_one_service_share_its_keys(standalone, agents):
    server = standalone()
    first = agents(server).start()
    second = agents(server, name='second', init=False)
    second.data.mkdir(mode=0o700)
    for name in ('sealed-keys.json', 'sealing-key'):
        (second.data / name).write_bytes((first.data / name).read_bytes())
        (second.data / name).chmod(0o600)
    second.start()
    key_id, key = first.socket().made()
    assert second.socket().key(key_id) == key


def test_memory_serves_while_the_key_manager_is_away_and_ends_in_time(standalone, agents):
    server = standalone()
    agent = agents(server, 'service', f'agent.keep_seconds={CACHE_SECONDS}', 'agent.timeout_seconds=2').start()
    client = agent.socket()
    known, key = client.made()
    other, _ = client.made()
    agent.close()
    agent.start()
    client = agent.socket()
    assert client.key(known) == key
    for how in ('hangs', 'is gone'):
        assert client.key(known) == key
        if how == 'hangs':
            server.server.freeze()
        else:
            server.server.stop()
        began = time.monotonic()
        assert client.key(known) == key, 'from memory'
        answer = client.get(other)
        assert answer.status == 503 and int(answer.headers['Retry-After']) > 0, answer.body
        assert client.create().status == 503
        assert agent.call('GET', '/readyz').status == 503
        assert time.monotonic() - began < 30
        wait_until('the end of what was in memory', lambda: client.get(known).status == 503, 10 * CACHE_SECONDS)
        if how == 'hangs':
            server.server.resume()
        else:
            server.start()
        wait_until('the key manager', lambda: client.get(known).status == 200, 30)
    assert agent.metric('chatelaine_agent_cache{result="hit"}') > 0
    assert agent.metric('chatelaine_agent_cache{result="failed"}') > 0


def test_a_deletion_elsewhere_is_noticed_within_the_bound(standalone, agents):
    server = standalone()
    agent = agents(server, 'service', f'agent.keep_seconds={CACHE_SECONDS}').start()
    client = agent.socket()
    key_id, _ = client.made()
    expect(server.keys().call('DELETE', f'/v1/keys/{key_id}'), 204)
    began = time.monotonic()
    wait_until('the deletion', lambda: client.get(key_id).status == 404, 10 * CACHE_SECONDS)
    assert time.monotonic() - began < CACHE_SECONDS + 2
    revoked, _ = client.made()
    expect(server.keys().call('POST', f'/v1/keys/{revoked}/revoke', {'reason': 'key_compromise'}), 200)
    wait_until('the revocation', lambda: client.get(revoked).status == 409, 10 * CACHE_SECONDS)


def test_many_ask_for_one_key_and_the_key_manager_is_asked_once(standalone, agents):
    server = standalone()
    agent = agents(server).start()
    key_id, key = agent.socket().made()
    agent.close()
    agent.start()

    def ask(_):
        client = Socket(agent.socket_path)
        try:
            return client.key(key_id)
        finally:
            client.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(200))) == {key}
    assert agent.metric('chatelaine_agent_cache{result="miss"}') == 1


def test_an_agent_without_its_master_key_waits_and_opens(standalone, agents):
    agent = agents(standalone())
    sealing_key = agent.data / 'sealing-key'
    away = sealing_key.with_name('elsewhere')
    sealing_key.rename(away)
    agent.start(ready=False)
    client = agent.socket()
    answer = client.create()
    assert answer.status == 503 and 'sealed' in answer.message
    assert agent.status()['sealed'] is True
    away.rename(sealing_key)
    wait_until('the master key', lambda: client.create().status == 201, 30)
    assert agent.status()['sealed'] is False
    # None is made by itself: keys that were wrapped under the lost one must not seem gone.
    agent.close()
    (agent.data / 'sealed-keys.json').rename(agent.data / 'lost.json')
    agent.start(ready=False)
    assert agent.socket().create().status == 503
    assert 'agent init' in agent.server.log_text()
    code, printed = agent.cli('agent', 'init')
    assert code != 0, printed


def test_ten_thousand_keys_are_wrapped_anew_under_kills(standalone, agents):
    """The data keys stay what they are, whatever is killed when; the old master key is destroyed at the end."""
    server = standalone()
    settings = ('rotation.keep_retired_seconds=0', 'rotation.pause_milliseconds=0', 'agent.keep_seconds=0')
    agent = agents(server, 'service', *settings, 'rotation.every_seconds=1').start()
    old = agent.status()['active_master_key']
    count = 10_000

    def fill(_):
        client = Socket(agent.socket_path)
        try:
            return [client.made() for _ in range(count // 8)]
        finally:
            client.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        keys = dict(pair for part in pool.map(fill, range(8)) for pair in part)
    code, printed = agent.cli('agent', 'rotate', '--no-wait')
    assert code == 0, printed
    assert printed['active_master_key'] != old
    for _ in range(6):
        time.sleep(random.uniform(0.1, 0.8))
        agent.server.kill()
        sample = random.sample(sorted(keys), 5)
        agent.start()
        client = agent.socket()
        assert all(client.key(key_id) == keys[key_id] for key_id in sample)

    def ended() -> bool:
        status = agent.status()
        return old not in status['retired_master_keys'] and not status['sealed']

    wait_until('the end of the rotation', ended, ROTATION_SECONDS)
    listed = server.keys().call('GET', f'/v1/keys?master_key={old}').json()['keys']
    assert listed == []
    client = agent.socket()
    for key_id in random.sample(sorted(keys), 500):
        assert client.key(key_id) == keys[key_id]
    document = (agent.data / 'sealed-keys.json').read_text()
    assert old not in document
    server.assert_good()


def test_an_agent_started_by_root_gives_its_rights_up(standalone, agents, tmp_path):
    if os.geteuid() != 0:
        pytest.fail('the tests run as root')
    server = standalone()
    agent = agents(server, init=False, name='dropped')
    agent.reconfigure('agent.user=nobody', 'seal.kind=file')
    # What the agent reads belongs to the user it becomes.
    for path in (tmp_path, *tmp_path.parents):
        if path != pathlib.Path('/'):
            path.chmod(path.stat().st_mode | 0o011)
    token_file = tmp_path / 'dropped.token'
    os.chown(token_file, 65534, 65534)
    agent.data.mkdir(mode=0o700)
    os.chown(agent.data, 65534, 65534)
    init = subprocess.run(
        [binary(), *agent.overrides(), 'agent', 'init'], user=65534, group=65534, extra_groups=[], capture_output=True, text=True
    )
    assert init.returncode == 0, init
    agent.start()
    status = pathlib.Path(f'/proc/{agent.server.process.pid}/status').read_text()
    assert 'Uid:\t65534\t65534\t65534\t65534' in status
    groups = status.split('Groups:', 1)[1].splitlines()[0].split()
    assert groups in ([], ['65534'])
    assert agent.socket().create().status == 201
