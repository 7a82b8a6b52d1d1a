"""Two servers over one database: what one does the other knows at once, and neither undoes what went through the other."""

import base64
import shutil

import pytest

from support.databases import MariaDb, Postgres
from support.native import Keys, expect, new_id, random_key
from support.servers import wait_until
from support.standalone import Standalone

#: What makes a second server one of the same keys and users.
SHARED = ['sealed-keys.json', 'sealing-key', 'identities.toml', 'clouds.yaml']
FAILOVER_SECONDS = 60


def durable_mariadb(state):
    return MariaDb(state, durable=True)


@pytest.fixture(scope='module', params=[Postgres, durable_mariadb], ids=['postgresql', 'mariadb'])
def database(request, tmp_path_factory):
    database = request.param(tmp_path_factory.mktemp('database'))
    yield database
    database.stop()


class Pair:
    """Two servers, `a` and `b`."""

    def __init__(self, folder, database, *settings: str):
        self.database = database
        password = folder / 'database-password'
        password.touch(mode=0o600)
        password.write_text(database.password + '\n')
        self.settings = [f'store.url={database.address}', f'store.password_file={password}', *settings]
        self.a = self._server(folder, 'a').start()
        self.b = self._server(folder, 'b')
        self.b.data.mkdir(mode=0o700)
        for name in SHARED:
            shutil.copy(self.a.data / name, self.b.data / name)
        self.b.start()
        self.servers = [self.a, self.b]

    def _server(self, folder, name: str) -> Standalone:
        home = folder / name
        home.mkdir()
        return Standalone(home, f'server.name={name}', *self.settings)

    def administrator(self, server: Standalone) -> Keys:
        text = (server.data / 'clouds.yaml').read_text()
        token = text.split('administrator:', 1)[1].split('token: "', 1)[1].split('"', 1)[0]
        return server.keys(token)


def is_ready(server: Standalone) -> bool:
    answer = server.keys().call('GET', '/readyz')
    print(answer.text)
    return answer.status_code == 200


@pytest.fixture
def pair(tmp_path, database):
    """Makes two servers on an empty database."""
    made = []

    def make(*settings: str) -> Pair:
        made.append(Pair(tmp_path, database, *settings))
        return made[-1]

    yield make
    for pair in made:
        for server in pair.servers:
            assert server.close() in (0, None), server.server.log_tail()
            assert database.password not in server.server.log_text()
    database.empty()


def test_changes_are_seen_through_the_other_server_at_once(pair):
    both = pair()
    a, b = (server.keys() for server in both.servers)
    for _ in range(30):
        key_id, key = new_id(), random_key()
        expect(a.put(key_id, key), 201)
        assert base64.b64decode(expect(b.get(key_id), 200)['key_string']) == key
        # Read through both, so that both could remember it.
        expect(a.metadata(key_id), 200)
        expect(b.metadata(key_id), 200)
        expect(b.revoke(key_id, 'key_compromise'), 200)
        assert a.get(key_id).status_code == 409
        assert expect(a.metadata(key_id), 200)['state'] == 'compromised'
        assert a.delete(key_id).status_code == 204
        assert b.get(key_id).status_code == 404
        assert b.metadata(key_id).status_code == 404
        assert key_id not in [key['id'] for page in b.pages(limit=1000) for key in page]
        expect(b.undelete(key_id), 200)
        expect(a.metadata(key_id), 200)


def test_barbicans_interface_shows_nothing_stale(pair):
    both = pair()
    a, b = (both.administrator(server) for server in both.servers)

    def listed(keys: Keys) -> int:
        return expect(keys.call('GET', '/v1/secrets?limit=1'), 200)['total']

    for number in range(10):
        # Both have listed the project before, and would remember it.
        assert listed(a) == listed(b) == 0
        body = {'name': f'one {number}', 'payload': 'words', 'payload_content_type': 'text/plain'}
        made = expect(a.call('POST', '/v1/secrets', body), 201)['secret_ref'].rsplit('/', 1)[1]
        assert listed(a) == listed(b) == 1
        path = f'/v1/secrets/{made}'
        expect(a.call('GET', path), 200)
        expect(b.call('GET', path), 200)
        expect(b.call('PUT', f'{path}/acl', {'read': {'project-access': False}}), 200)
        assert expect(a.call('GET', f'{path}/acl'), 200)['read']['project-access'] is False
        assert b.call('DELETE', path).status_code == 204
        assert a.call('GET', path).status_code == 404
        assert listed(a) == listed(b) == 0


def test_each_server_purges_what_was_deleted_through_it(pair):
    """The trail of one server does not know of the other's deletions, and takes none of them back."""
    both = pair('deletion.grace_seconds=0', 'deletion.reap_every_seconds=0')
    a, b = (server.keys() for server in both.servers)
    key_id = new_id()
    expect(a.put(key_id, random_key()), 201)
    assert b.delete(key_id).status_code == 204
    code, report = both.a.cli('reap')
    assert (code, report['purged'], report['restored'], report['waiting']) == (0, 0, 0, 1), report
    assert a.get(key_id).status_code == b.get(key_id).status_code == 404
    code, report = both.b.cli('reap')
    assert (code, report['purged'], report['restored'], report['waiting']) == (0, 1, 0, 0), report
    for server in both.servers:
        server.assert_good()


def test_operators_are_told_what_is_for_the_database(pair):
    both = pair()
    key_id = new_id()
    expect(both.a.keys().put(key_id, random_key()), 201)
    expect(both.b.keys().revoke(key_id, 'unspecified'), 200)
    for server in both.servers:
        code, report = server.cli('doctor')
        rows = {row['check']: row for row in report['checks']}
        assert rows['store']['result'] == 'ok' and 'belongs to the master key' in rows['store']['text'], report
        assert code == 0, report
        server.assert_good()
    code, report = both.a.cli('store', 'backup', str(both.a.data / 'copy'))
    assert code != 0 and 'pg_dump' in report['errors'] and 'mariadb-dump' in report['errors'], report
    code, report = both.a.cli('store', 'restore', str(both.a.data / 'copy'))
    assert code != 0 and 'pg_dump' in report['errors'], report
    # Both start again, each with its own note of its trail.
    for server in both.servers:
        server.close()
        server.start()
        assert not server.log_lines('did not hold event')
    expect(both.b.keys().metadata(key_id), 200)


def test_a_second_master_key_is_not_made_for_a_store(pair, tmp_path):
    both = pair()
    expect(both.a.keys().put(new_id(), random_key()), 201)
    home = tmp_path / 'stranger'
    home.mkdir()
    stranger = Standalone(home, *both.settings)
    stranger.server.start_without_waiting()
    assert stranger.server.wait() != 0
    assert 'give this server the sealed master keys' in stranger.server.log_text()
    assert not (stranger.data / 'sealed-keys.json').exists()


def test_servers_wait_for_a_database_that_comes_back(pair):
    both = pair('store.timeout_seconds=2')
    keys = {new_id(): random_key() for _ in range(5)}
    for key_id, key in keys.items():
        expect(both.a.keys().put(key_id, key), 201)
    both.database.kill()
    try:
        for server in both.servers:
            answer = server.keys().get(next(iter(keys)))
            assert answer.status_code == 503 and answer.headers['Retry-After'], answer.text
            assert server.keys().call('GET', '/readyz').status_code == 503
            assert server.keys().call('GET', '/healthcheck').status_code == 200
    finally:
        both.database.start()
    for server in both.servers:
        wait_until('readiness', lambda: is_ready(server), FAILOVER_SECONDS)
        for key_id, key in keys.items():
            assert base64.b64decode(expect(server.keys().get(key_id), 200)['key_string']) == key
