"""`chatelaine import barbican` from databases that a real Barbican wrote, on every engine it runs on.

Barbican is filled over its interface and asked for everything it holds; then it is stopped, its database is imported, and
the server is asked the same.
"""

import base64
import copy
import dataclasses
import datetime
import json
import pathlib
import shutil
import time

import pytest
import sqlalchemy

from support.barbican import Barbican, new_kek
from support.chatelaine import Chatelaine
from support.databases import MariaDb, Postgres, Sqlite, execute
from support.inventory import Barbican as Api
from support.native import Keys

OWNER = 'key_owner'
ADMIN = 'key_admin'
ENGINES = {'sqlite': Sqlite, 'mariadb': MariaDb, 'postgresql': Postgres}
#: More than are read from the database at once.
MANY = 230
LARGEST = bytes(range(256)) * 58
CONFLICT, INVALID, FAILED = 6, 7, 1
EXPIRY_SECONDS = 5


def encoded(payload: bytes) -> dict:
    return {
        'payload': base64.b64encode(payload).decode(),
        'payload_content_type': 'application/octet-stream',
        'payload_content_encoding': 'base64',
    }


def text(payload: str) -> dict:
    return {'payload': payload, 'payload_content_type': 'text/plain'}


@dataclasses.dataclass
class Filled:
    """A database, what Barbican said of it, and what it takes to open it."""

    database: Sqlite | MariaDb | Postgres
    keks: list[str]
    projects: list[str]
    #: What each project's owner saw.
    truth: dict[str, dict]
    quotas: dict[str, dict]
    #: Ids by what they are for.
    ids: dict[str, str]
    orders: int
    deleted: int


def fill(api: Api, ids: dict[str, str], users: list[str], base: str) -> int:
    """Objects of every sort in one project; the number of orders."""

    def secret(name: str, **fields) -> str:
        ids[name] = api.post('secrets', 201, {'name': name, **fields})
        return ids[name]

    key = secret(
        'key', secret_type='symmetric', algorithm='aes', mode='cbc', bit_length=256,
        expiration='2051-02-03T04:05:06.789012', **encoded(bytes(range(32))),
    )  # fmt: skip
    words = secret('wörter', secret_type='passphrase', **text('grüße, 鍵'))
    secret('pkcs8', secret_type='private', payload='QUJD', payload_content_type='application/pkcs8',
           payload_content_encoding='base64', algorithm='rsa', bit_length=2048)  # fmt: skip
    secret('certificate', secret_type='certificate', **text('-----BEGIN CERTIFICATE-----'))
    secret('public', secret_type='public', **encoded(b'\x00\xff'))
    secret('largest', **encoded(LARGEST))
    bare = api.post('secrets', 201, {})
    ids['bare'] = bare
    later = secret('later')
    api._session.put(
        f'{api.url}/v1/secrets/{later}', data=b'  bytes \xff\n', headers={'Content-Type': 'application/octet-stream'}
    ).raise_for_status()

    api.call('PUT', f'secrets/{key}/metadata', 201, {'metadata': {'Rack': '7', 'note': 'ein Wört'}})
    api.call('PUT', f'secrets/{words}/metadata', 201, {'metadata': {'old': '1'}})
    api.call('PUT', f'secrets/{words}/metadata', 201, {'metadata': {'new': '2'}})
    private = {'read': {'project-access': False, 'users': users}}
    api.call('PUT', f'secrets/{key}/acl', 200, private)
    api.call('PUT', f'secrets/{words}/acl', 200, {'read': {'users': users[:1]}})
    api.call('PUT', f'secrets/{later}/acl', 200, private)
    api.call('DELETE', f'secrets/{later}/acl', 200)
    for number in range(3):
        consumer = {'service': 'volume', 'resource_type': 'volume', 'resource_id': f'volume-{number}'}
        api.call('POST', f'secrets/{key}/consumers', 200, consumer)
    api.call('DELETE', f'secrets/{key}/consumers', 200, consumer)

    def reference(secret_id: str, name: str | None = None) -> dict:
        return {'secret_ref': f'{base}/v1/secrets/{secret_id}', **({'name': name} if name else {})}

    refs = [reference(key, 'the key'), reference(words)]
    box = api.post('containers', 201, {'name': 'böx', 'type': 'generic', 'secret_refs': refs})
    ids['box'] = box
    ids['empty'] = api.post('containers', 201, {'type': 'certificate'})
    for number in range(3):
        consumer = {'name': f'lb{number}', 'URL': f'https://lb.example/{number}'}
        api.call('POST', f'containers/{box}/consumers', 200, consumer)
    api.call('DELETE', f'containers/{box}/consumers', 200, consumer)
    api.call('PUT', f'containers/{box}/acl', 200, private)

    meta = {'algorithm': 'aes', 'bit_length': 256, 'mode': 'cbc', 'payload_content_type': 'application/octet-stream'}
    api.post('orders', 202, {'type': 'key', 'meta': meta})
    pair = {'name': 'pair', 'algorithm': 'rsa', 'bit_length': 2048, 'passphrase': 'hunter2'}
    api.post('orders', 202, {'type': 'asymmetric', 'meta': pair})

    # What is not to come over.
    gone = secret('gone', **text('deleted'))
    api.call('POST', f'containers/{box}/secrets', 201, reference(gone, 'gone'))
    api.call('DELETE', f'secrets/{gone}', 204)
    ids['gone box'] = api.post('containers', 201, {'type': 'generic'})
    api.call('DELETE', f'containers/{ids["gone box"]}', 204)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=EXPIRY_SECONDS)
    expired = secret('expired', expiration=end.strftime('%Y-%m-%dT%H:%M:%SZ'), **text('expired'))
    ids['half-empty'] = api.post('containers', 201, {'type': 'generic', 'secret_refs': [reference(expired)]})
    return 2


@pytest.fixture(scope='module', params=list(ENGINES))
def filled(request, keystone, tmp_path_factory):
    state = tmp_path_factory.mktemp(f'import-{request.param}')
    database = ENGINES[request.param](state)
    try:
        yield filled_database(database, state, keystone)
    finally:
        database.stop()


def filled_database(database, state: pathlib.Path, keystone) -> Filled:
    projects = [keystone.new_project((OWNER, 'member'), (OWNER, 'service'), (ADMIN, 'admin')) for _ in range(2)]
    old, new = new_kek(), new_kek()
    users = [keystone.users[name].id for name in ['key_listed', 'alt_listed']]
    ids: dict[str, str] = {}
    found = Filled(database, [old, new], projects, {}, {}, ids, 0, 4)
    barbican = server(state / 'first', keystone, database, [old])
    try:
        api = Api(barbican.url, keystone.token(OWNER, projects[0]))
        found.orders += fill(api, ids, users, barbican.url)
        for number in range(MANY):
            api.post('secrets', 201, {'name': f'many {number}'})
    finally:
        barbican.stop()
    # The second project's key is sealed under another key, which the operator added since.
    barbican = server(state / 'second', keystone, database, [new, old])
    try:
        api = Api(barbican.url, keystone.token(OWNER, projects[1]))
        found.orders += fill(api, {}, users, barbican.url)
        admin = Api(barbican.url, keystone.token(ADMIN, projects[0]))
        for project, quotas in zip(projects, [{'secrets': 500, 'consumers': 0}, {'orders': -1}], strict=True):
            project_id = keystone.projects[project]
            admin.call('PUT', f'project-quotas/{project_id}', 204, {'project_quotas': quotas})
            found.quotas[project_id] = admin.get(f'project-quotas/{project_id}')
        time.sleep(EXPIRY_SECONDS)
        found.truth = {
            project: Api(barbican.url, keystone.token(OWNER, project)).everything() for project in projects
        }
    finally:
        barbican.stop()
    assert all(len(project['secrets']) >= 12 for project in found.truth.values())
    return found


def server(state: pathlib.Path, keystone, database, keks: list[str]) -> Barbican:
    state.mkdir()
    return Barbican(state, keystone, connection=database.connection, keks=keks)


@pytest.fixture
def importer(own_chatelaine, tmp_path):
    """Makes a stopped server and a function that imports into its store."""

    def make(filled: Filled):
        chatelaine = own_chatelaine()
        chatelaine.stop()
        files = [private_file(tmp_path / f'kek-{number}', kek) for number, kek in enumerate(filled.keks)]

        def run(*options: str, keks=files, address: str | None = None, expected: int = 0):
            arguments = ['--database', address or filled.database.address]
            if filled.database.password is not None:
                arguments += ['--password-file', private_file(tmp_path / 'password', filled.database.password)]
            for kek in keks:
                arguments += ['--kek-file', kek]
            return chatelaine.cli(
                *('--config', str(chatelaine.configuration), '--format', 'json', 'import', 'barbican'),
                *arguments, *options, expected=expected,
            )  # fmt: skip

        return chatelaine, run

    return make


def private_file(path: pathlib.Path, content: str) -> str:
    path.touch(mode=0o600)
    path.write_text(content + '\n')
    return str(path)


def report_of(done) -> dict:
    return json.loads(done.stdout)


def counts(report: dict) -> list[tuple[int, int, int]]:
    sorts = [report['secrets'], report['containers'], report['project_quotas']]
    return [(of['imported'], of['present'], of['conflicts']) for of in sorts]


def expected_counts(filled: Filled) -> tuple[int, int, int]:
    secrets = sum(len(project['secrets']) for project in filled.truth.values())
    containers = sum(len(project['containers']) for project in filled.truth.values())
    return secrets, containers, len(filled.quotas)


def test_what_comes_out_is_what_was(filled, importer, keystone):
    chatelaine, run = importer(filled)
    before = written(chatelaine)
    numbers = expected_counts(filled)
    tried = report_of(run('--dry-run'))
    assert counts(tried) == [(number, 0, 0) for number in numbers]
    assert written(chatelaine) == before, 'a dry run writes nothing'

    report = report_of(run())
    assert report == {**tried, 'dry_run': False}
    assert counts(report) == [(number, 0, 0) for number in numbers]
    assert report['secrets']['left_out'] == {'deleted': 2, 'expired': 2}
    assert report['containers']['left_out'] == {'deleted': 2}
    assert report['orders_left_out'] == filled.orders
    assert {found['id'] for found in report['left_out']} >= {filled.ids[name] for name in ['gone', 'expired', 'gone box']}
    assert filled.ids['half-empty'] in report['incomplete_containers']
    assert 'hunter2' not in json.dumps(report)

    again = report_of(run())
    assert counts(again) == [(0, number, 0) for number in numbers]
    assert counts(report_of(run('--resume'))) == [(0, number, 0) for number in numbers]

    chatelaine.cli('--config', str(chatelaine.configuration), 'store', 'check')
    chatelaine.cli('--config', str(chatelaine.configuration), 'audit', 'verify')
    imports = [line for line in chatelaine.audit() if line['action'] == 'create/import' and line['outcome'] == 'success']
    consumed = sum(bool(found['consumers']) for of in filled.truth.values() for found in of['secrets'].values())
    assert len(imports) == sum(numbers) + consumed

    chatelaine.start()
    for project, truth in filled.truth.items():
        natively_the_same(Keys(chatelaine.url, keystone.token(OWNER, project)), truth['secrets'])


def written(chatelaine: Chatelaine) -> dict[str, bytes]:
    """All files of a stopped server, less those by which SQLite's readers agree, which hold nothing then."""
    files = [path for path in (chatelaine.state / 'data').rglob('*') if path.is_file()]
    kept = {path.name: path.read_bytes() for path in files if not path.name.endswith('-shm')}
    return {name: content for name, content in kept.items() if content or not name.endswith('-wal')}


def natively_the_same(keys: Keys, secrets: dict[str, dict]) -> None:
    """The owner's secrets as the native interface shows them."""
    listed = {key['id'] for page in keys.pages() for key in page}
    assert listed == set(secrets)
    for secret_id, truth in secrets.items():
        of, found = truth['secret'], keys.metadata(secret_id).json()
        assert found.get('name') == of['name']
        assert (found.get('algorithm'), found.get('bit_length')) == (of['algorithm'], of['bit_length'])
        assert found['owner'] == of['creator_id']
        assert found['attributes'] == truth['metadata']
        for name, theirs in [('created_at', 'created'), ('updated_at', 'updated'), ('expires_at', 'expiration')]:
            assert moment(found.get(name)) == moment(of[theirs]), name
        answer = keys.get(secret_id)
        if truth['payload'] is None:
            assert answer.status_code == 409
        else:
            assert base64.b64decode(answer.json()['key_string']) == truth['payload']


def moment(text: str | None) -> datetime.datetime | None:
    """With or without a zone, it is UTC."""
    return text and datetime.datetime.fromisoformat(text.removesuffix('Z')).replace(tzinfo=datetime.UTC)


def test_barbicans_interface_shows_what_it_showed(filled, importer, keystone):
    chatelaine, run = importer(filled)
    run()
    chatelaine.start()
    for project, truth in copy.deepcopy(filled.truth).items():
        found = Api(chatelaine.url, keystone.token(OWNER, project)).everything()
        # Barbican goes on to show references to secrets that have expired, and answers 404 to who follows them.
        for container in truth['containers'].values():
            refs = container['container']['secret_refs']
            container['container']['secret_refs'] = [ref for ref in refs if ref['secret_ref'] in truth['secrets']]
        assert list(differences('', truth, found)) == []
    admin = Api(chatelaine.url, keystone.token(ADMIN, filled.projects[0]))
    for project_id, quotas in filled.quotas.items():
        assert admin.get(f'project-quotas/{project_id}') == quotas


def differences(path: str, truth, found):
    """Where two structures differ, one by one: of hundreds of objects, all of them would not fit a report."""
    match truth, found:
        case dict(), dict():
            for name in truth.keys() | found.keys():
                yield from differences(f'{path}/{name}', truth.get(name), found.get(name))
        case list(), list() if len(truth) == len(found):
            for number, (one, other) in enumerate(zip(truth, found, strict=True)):
                yield from differences(f'{path}/{number}', one, other)
        case _ if truth != found:
            yield path, truth, found


def test_a_missing_key_is_found_before_anything_is_written(filled, importer, keystone):
    chatelaine, run = importer(filled)
    kek = private_file(chatelaine.state / 'wrong', new_kek())
    done = run(keks=[kek], expected=INVALID)
    assert b'opens the keys of 2 projects' in done.stderr
    first = private_file(chatelaine.state / 'first', filled.keks[0])
    done = run(keks=[kek, first], expected=INVALID)
    problem = json.loads(done.stderr.splitlines()[-1])['error']
    assert keystone.projects[filled.projects[1]] in problem['message']
    assert '--kek-file' in problem['advice']
    assert not [line for line in chatelaine.audit() if line['action'] == 'create/import']

    report = report_of(run('--leave-out-unopened', keks=[first]))
    second = filled.truth[filled.projects[1]]['secrets']
    sealed = [secret_id for secret_id, found in second.items() if found['payload'] is not None]
    unopened = {found['id'] for found in report['left_out'] if found['reason'] == 'unopened'}
    assert unopened == set(sealed)
    # With the other key, what is missing comes too.
    report = report_of(run())
    assert report['secrets']['imported'] == len(unopened)
    assert report['secrets']['conflicts'] == 0


def test_passwords_stay_out_of_sight(filled, importer):
    chatelaine, run = importer(filled)
    if filled.database.password is None:
        done = run('--dry-run', '--password-file', private_file(chatelaine.state / 'password', 'x'), expected=2)
        assert b'no password' in done.stderr
        return
    address = filled.database.connection.partition('?')[0]
    done = run('--dry-run', address=address, expected=2)
    assert filled.database.password.encode() not in done.stderr
    wrong = private_file(chatelaine.state / 'wrong-password', 'wrong')
    keks = [private_file(chatelaine.state / f'k{number}', kek) for number, kek in enumerate(filled.keks)]
    named = ['--kek-file', keks[0], '--kek-file', keks[1], '--dry-run']
    file = private_file(chatelaine.state / 'address', filled.database.connection)
    command = ['--config', str(chatelaine.configuration), 'import', 'barbican', *named]
    done = chatelaine.cli(*command, '--database-file', file)
    assert b'TO IMPORT' in done.stdout and b'nothing was written' in done.stderr
    done = chatelaine.cli(*command, '--database', filled.database.address, '--password-file', wrong, expected=8)
    assert b'cannot be opened' in done.stderr


def test_it_goes_on_where_it_was_broken_off(filled, importer):
    """Half of it is there, as after a power cut; the rest comes, and nothing twice."""
    chatelaine, run = importer(filled)
    first = private_file(chatelaine.state / 'first', filled.keks[0])
    run('--leave-out-unopened', keks=[first])
    report = report_of(run('--resume'))
    secrets, _, _ = expected_counts(filled)
    assert report['secrets']['imported'] + report['secrets']['present'] == secrets
    assert min(report['secrets']['imported'], report['secrets']['present']) > 0
    assert counts(report_of(run()))[0] == (0, secrets, 0)


def test_it_does_not_write_beside_a_running_server(filled, importer):
    chatelaine, run = importer(filled)
    chatelaine.start()
    done = run(expected=CONFLICT)
    assert b'the server runs' in done.stderr
    assert report_of(run('--dry-run'))['secrets']['imported'] > 0


@pytest.fixture(scope='module')
def filled_file(keystone, tmp_path_factory):
    """One on SQLite, whose file can be copied and changed."""
    state = tmp_path_factory.mktemp('import-changes')
    return filled_database(Sqlite(state), state, keystone)


class Copy:
    """A copy of a file database that can be changed behind Barbican's back."""

    def __init__(self, filled: Filled, path: pathlib.Path):
        shutil.copy(filled.database.address.removeprefix('sqlite://'), path)
        self.address = f'sqlite://{path}'
        self._connection = f'sqlite:///{path}'

    def execute(self, *statements: str) -> None:
        execute(self._connection, *statements)

    def one(self, statement: str):
        engine = sqlalchemy.create_engine(self._connection, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(statement)).scalar_one()


def test_other_backends_and_damage_are_named(filled_file, importer, tmp_path):
    filled, ids = filled_file, filled_file.ids
    chatelaine, run = importer(filled)
    changed = Copy(filled, tmp_path / 'copy.db')
    vault = 'barbican.plugin.vault_secret_store.VaultSecretStore'
    hsm = 'barbican.plugin.crypto.p11_crypto.P11CryptoPlugin'
    kek = changed.one('SELECT id FROM kek_data LIMIT 1')
    changed.execute(
        f"UPDATE secret_store_metadata SET value = '{vault}' WHERE key = 'plugin_name' AND secret_id = '{ids['public']}'",
        f"INSERT INTO kek_data (id, created_at, updated_at, deleted, status, plugin_name, project_id, active, bind_completed)"
        f" SELECT 'hsm', created_at, updated_at, deleted, status, '{hsm}', project_id, active, bind_completed"
        f" FROM kek_data WHERE id = '{kek}'",
        f"UPDATE encrypted_data SET kek_id = 'hsm' WHERE secret_id = '{ids['pkcs8']}'",
        f"UPDATE encrypted_data SET cypher_text = 'Z0FBQUFB' WHERE secret_id = '{ids['largest']}'",
        f"UPDATE secrets SET status = 'ERROR' WHERE id = '{ids['certificate']}'",
    )
    report = report_of(run(address=changed.address, expected=FAILED))
    reasons = {found['id']: found['reason'] for found in report['left_out']}
    assert reasons[ids['public']] == reasons[ids['pkcs8']] == 'other_backend'
    assert (reasons[ids['largest']], reasons[ids['certificate']]) == ('damaged', 'not_active')
    details = {found['id']: found['detail'] for found in report['left_out']}
    assert 'VaultSecretStore' in details[ids['public']] and 'P11CryptoPlugin' in details[ids['pkcs8']]
    secrets, containers, quotas = expected_counts(filled)
    assert counts(report) == [(secrets - 4, 0, 0), (containers, 0, 0), (quotas, 0, 0)]
    chatelaine.cli('--config', str(chatelaine.configuration), 'store', 'check')


def test_every_difference_is_a_conflict(filled_file, importer, tmp_path):
    """Whatever is changed in Barbican after an import is told by the next one, and nothing here is touched."""
    filled, ids = filled_file, filled_file.ids
    chatelaine, run = importer(filled)
    run()
    key, words, box = ids['key'], ids['wörter'], ids['box']
    acl = f"(SELECT id FROM secret_acls WHERE secret_id = '{key}')"
    box_acl = f"(SELECT id FROM container_acls WHERE container_id = '{box}')"
    changes = [
        ('secrets', key, f"UPDATE secrets SET name = 'other' WHERE id = '{key}'"),
        ('secrets', key, f"UPDATE secrets SET mode = 'ctr' WHERE id = '{key}'"),
        ('secrets', key, f"UPDATE secrets SET updated_at = '2026-01-01' WHERE id = '{key}'"),
        ('secrets', key, f"UPDATE secret_acls SET project_access = 1 WHERE secret_id = '{key}'"),
        ('secrets', key, f"DELETE FROM secret_acl_users WHERE acl_id = {acl} AND user_id = "
                         f"(SELECT min(user_id) FROM secret_acl_users WHERE acl_id = {acl})"),
        ('secrets', key, f"UPDATE secret_user_metadata SET value = '8' WHERE secret_id = '{key}'"),
        ('secrets', key, f"UPDATE secret_consumer_metadata SET service = 'x' WHERE secret_id = '{key}'"),
        ('secrets', key, f"UPDATE secret_consumer_metadata SET deleted = 1 WHERE secret_id = '{key}'"),
        ('secrets', words, f"UPDATE encrypted_data SET cypher_text = (SELECT cypher_text FROM encrypted_data WHERE "
                           f"secret_id = '{key}') WHERE secret_id = '{words}'"),
        ('containers', box, f"UPDATE containers SET name = 'other' WHERE id = '{box}'"),
        ('containers', box, f"UPDATE container_secret SET name = 'x' WHERE container_id = '{box}' AND name IS NULL"),
        ('containers', box, f"UPDATE container_consumer_metadata SET deleted = 1 WHERE container_id = '{box}'"),
        ('containers', box, f"DELETE FROM container_acl_users WHERE acl_id = {box_acl}"),
        ('project_quotas', None, 'UPDATE project_quotas SET secrets = 501 WHERE secrets = 500'),
    ]  # fmt: skip
    for number, (sort, which, statement) in enumerate(changes):
        changed = Copy(filled, tmp_path / f'copy-{number}.db')
        changed.execute(statement)
        report = report_of(run('--dry-run', address=changed.address, expected=CONFLICT))
        assert report[sort]['conflicts'] == 1, statement
        found = [conflict['id'] for conflict in report['conflicts']]
        limited = [project for project, of in filled.quotas.items() if of['project_quotas']['secrets'] is not None]
        assert found == ([which] if which else limited)
    before = len(chatelaine.audit())
    report = report_of(run(address=changed.address, expected=CONFLICT))
    assert [line['action'] for line in chatelaine.audit()[before:]].count('create/import') == 0
    assert sum(of[0] for of in counts(report)) == 0
