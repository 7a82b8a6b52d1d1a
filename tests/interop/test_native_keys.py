"""The native key API as a service uses it, with tokens of a real Keystone."""

import base64
import concurrent.futures
import json

import pytest

from support.identity import in_seconds
from support.native import Keys, encoded, etag, expect, new_id, random_key, refused

THOUSAND = 1000
THREADS = 8
#: So many processes of the command line look up everything themselves; the others get a token and the address.
WITH_PASSWORD = 20


def test_put_and_get(keystone, cinder):
    key_id, key = new_id(), random_key()
    attributes = {'volume_type': 'luks'}
    answer = cinder.put(key_id, key, scope='entity', name='volume key', master_key='mk-1', attributes=attributes)
    document = expect(answer, 201)
    assert answer.headers['ETag'] == etag(1)
    assert 'key_string' not in document
    expected = {
        'id': key_id,
        'version': 1,
        'state': 'active',
        'scope': 'entity',
        'name': 'volume key',
        'algorithm': 'aes',
        'bit_length': 256,
        'master_key': 'mk-1',
        'attributes': attributes,
        'owner': keystone.users['cinder'].id,
        'project_id': keystone.projects['service'],
    }
    assert {name: document.get(name) for name in expected} == expected
    answer = cinder.get(key_id)
    released = expect(answer, 200)
    assert answer.headers['ETag'] == etag(1)
    assert 'no-store' in answer.headers['Cache-Control']
    assert base64.b64decode(released.pop('key_string')) == key
    assert released == document
    assert expect(cinder.metadata(key_id), 200) == document


def test_put_does_not_overwrite(cinder):
    key_id, key = new_id(), random_key()
    expect(cinder.put(key_id, key), 201)
    refused(cinder.put(key_id, random_key()), 409)
    assert expect(cinder.get(key_id), 200)['key_string'] == encoded(key)


def test_create_under_an_id_of_the_server(cinder):
    key = random_key()
    answer = cinder.create(key_string=encoded(key), algorithm='aes', bit_length=256)
    document = expect(answer, 201)
    assert answer.headers['Location'] == f'{cinder.url}/v1/keys/{document["id"]}'
    assert expect(cinder.call('GET', answer.headers['Location']), 200)['key_string'] == encoded(key)


@pytest.mark.parametrize('bit_length', [128, 192, 256])
def test_generate(cinder, bit_length):
    made = [expect(cinder.create(generate=True, algorithm='aes', bit_length=bit_length), 201) for _ in range(2)]
    keys = [base64.b64decode(expect(cinder.get(key['id']), 200)['key_string']) for key in made]
    assert [8 * len(key) for key in keys] == [bit_length] * 2
    assert keys[0] != keys[1]


def test_update_needs_the_version(cinder):
    key_id, second = new_id(), random_key()
    tag = cinder.put(key_id, random_key(), name='first').headers['ETag']
    refused(cinder.update(key_id, None, name='second'), 428)
    answer = cinder.update(key_id, tag, name='second', key_string=encoded(second))
    assert expect(answer, 200)['version'] == 2
    assert answer.headers['ETag'] == etag(2)
    refused(cinder.update(key_id, tag, name='third'), 412)
    released = expect(cinder.get(key_id), 200)
    assert (released['name'], released['key_string']) == ('second', encoded(second))


def test_one_of_many_updates_of_a_version_wins(keystone, chatelaine, cinder):
    key_id = new_id()
    tag = cinder.put(key_id, random_key()).headers['ETag']
    token = keystone.token('cinder', 'service')

    def update(name):
        return Keys(chatelaine.url, token).update(key_id, tag, name=name).status_code

    names = [f'writer-{number}' for number in range(THREADS)]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        statuses = dict(zip(names, pool.map(update, names)))
    assert sorted(statuses.values()) == [200] + [412] * (THREADS - 1)
    winner = next(name for name, status in statuses.items() if status == 200)
    document = expect(cinder.metadata(key_id), 200)
    assert (document['name'], document['version']) == (winner, 2)


def test_delete_and_undelete(cinder):
    key_id, key = new_id(), random_key()
    expect(cinder.put(key_id, key), 201)
    refused(cinder.undelete(key_id), 409)
    expect(cinder.delete(key_id), 204)
    refused(cinder.get(key_id), 404)
    assert key_id not in {found['id'] for page in cinder.pages() for found in page}
    refused(cinder.put(key_id, random_key()), 409)
    assert expect(cinder.undelete(key_id), 200)['id'] == key_id
    assert expect(cinder.get(key_id), 200)['key_string'] == encoded(key)


def test_revoke(cinder):
    superseded, compromised = new_id(), new_id()
    for key_id, reason, state in [
        (superseded, 'superseded', 'deactivated'),
        (compromised, 'key_compromise', 'compromised'),
    ]:
        expect(cinder.put(key_id, random_key()), 201)
        document = expect(cinder.revoke(key_id, reason), 200)
        assert document['state'] == state
        assert document['revocation']['reason'] == reason
        refused(cinder.get(key_id), 409)
        assert expect(cinder.metadata(key_id), 200)['state'] == state


def test_active_from_and_until(cinder):
    later, over = new_id(), new_id()
    document = expect(cinder.put(later, random_key(), activates_at=in_seconds(3600)), 201)
    assert document['state'] == 'pre_active'
    refused(cinder.get(later), 409)
    error = refused(cinder.put(over, random_key(), expires_at=in_seconds(-3600)), 400)
    assert error['field'] == 'expires_at'


def test_listing(keystone, chatelaine):
    service = Keys(chatelaine.url, keystone.token('identity', 'service'))
    put = [new_id() for _ in range(7)]
    for number, key_id in enumerate(put):
        whose = {'scope': 'user', 'scope_id': 'u1'} if number % 2 else {}
        expect(service.put(key_id, random_key(), master_key='mk-7', **whose), 201)
    pages = service.pages(limit=3, master_key='mk-7')
    assert [[key['id'] for key in page] for page in pages] == [put[:3], put[3:6], put[6:]]
    assert all('key_string' not in key for page in pages for key in page)
    assert [key['id'] for key in service.pages(master_key='mk-7', scope='user')[0]] == put[1::2]
    nova = Keys(chatelaine.url, keystone.token('nova', 'service'))
    assert nova.pages() == [[]]


@pytest.mark.parametrize(
    ('field', 'change'),
    [
        ('key_string', {'key_string': 'not base64!'}),
        ('key_string', {'key_string': None, 'generate': False}),
        ('algorithm', {'algorithm': 'rot13'}),
        ('algorithm', {'algorithm': 'des'}),
        ('bit_length', {'bit_length': 255}),
        ('name', {'name': 'n' * 256}),
        ('scope', {'scope': 'planet'}),
        ('expires_at', {'expires_at': 'tomorrow'}),
        ('attributes', {'attributes': {'two words': 'x'}}),
        ('colour', {'colour': 'blue'}),
    ],
)
def test_a_wrong_field_is_named(cinder, field, change):
    key_id = new_id()
    body = {'key_string': encoded(random_key()), 'algorithm': 'aes', 'bit_length': 256} | change
    error = refused(cinder.call('PUT', f'/v1/keys/{key_id}', body), 400)
    assert error['field'].split('.')[0] == field
    refused(cinder.get(key_id), 404)


WRONG_IDS = [
    'x',
    '00000000-0000-0000-0000-000000000000',
    '6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7',
    '6f1c7a0e3b524a539a540f6c1f5be1a7',
    '6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a70',
]


@pytest.mark.parametrize('key_id', WRONG_IDS)
def test_a_wrong_id_is_refused(cinder, key_id):
    assert refused(cinder.put(key_id, random_key()), 400)['field'] == 'key_id'


def test_keys_outlive_the_server(keystone, own_chatelaine):
    chatelaine = own_chatelaine()
    keys = {new_id(): random_key() for _ in range(5)}
    cinder = Keys(chatelaine.url, keystone.token('cinder', 'service'))
    for key_id, key in keys.items():
        expect(cinder.put(key_id, key), 201)
    chatelaine.restart()
    assert {key_id: base64.b64decode(expect(cinder.get(key_id), 200)['key_string']) for key_id in keys} == keys
    # Killed: what was answered was stored.
    key_id = new_id()
    expect(cinder.put(key_id, random_key()), 201)
    chatelaine.server.kill()
    chatelaine.start()
    expect(cinder.get(key_id), 200)


def put_by_command(chatelaine, environment, key_id, key):
    command = ['key', 'put', key_id, '--key-string-file', '-', '--algorithm', 'aes', '--bit-length', '256']
    done = chatelaine.cli(*command, '--format', 'json', environment=environment, stdin=key)
    assert json.loads(done.stdout)['id'] == key_id


def test_a_thousand_keys(keystone, own_chatelaine):
    """Half by HTTP, half by the command line; all come back, all are listed, all are in the audit trail."""
    chatelaine = own_chatelaine()
    user, token = keystone.users['cinder'], keystone.token('cinder', 'service')
    keys = {new_id(): random_key() for _ in range(THOUSAND)}
    ids = list(keys)
    by_http, by_command = ids[: THOUSAND // 2], ids[THOUSAND // 2 :]
    password = keystone.environment(user, 'service')
    ready = {'OS_AUTH_TYPE': 'admin_token', 'OS_TOKEN': token.value, 'OS_ENDPOINT': chatelaine.url}

    def put_share(share):
        cinder = Keys(chatelaine.url, token)
        return [cinder.put(key_id, keys[key_id]).status_code for key_id in share]

    def put_one(numbered):
        number, key_id = numbered
        environment = password if number < WITH_PASSWORD else ready
        put_by_command(chatelaine, environment, key_id, keys[key_id])

    def get_share(share):
        cinder = Keys(chatelaine.url, token)
        return {key_id: base64.b64decode(expect(cinder.get(key_id), 200)['key_string']) for key_id in share}

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        statuses = pool.map(put_share, [by_http[start::THREADS] for start in range(THREADS)])
        assert [status for share in statuses for status in share] == [201] * len(by_http)
        list(pool.map(put_one, enumerate(by_command)))
        found = {}
        for share in pool.map(get_share, [ids[start::THREADS] for start in range(THREADS)]):
            found |= share
    assert found == keys

    pages = Keys(chatelaine.url, token).pages(limit=100)
    assert [len(page) for page in pages[:10]] == [100] * 10
    listed = [key['id'] for page in pages for key in page]
    assert len(listed) == THOUSAND
    assert set(listed) == set(keys)

    trail = chatelaine.audit()
    assert [line['seq'] for line in trail] == list(range(1, len(trail) + 1))
    for action in ['create', 'read/key_material']:
        lines = [line for line in trail if (line['action'], line['outcome']) == (action, 'success')]
        assert sorted(line['target']['id'] for line in lines) == sorted(ids), action
        assert {line['initiator']['id'] for line in lines} == {user.id}
        assert len({line['requestid'] for line in lines}) == THOUSAND
    pages_read = [line for line in trail if line['action'] == 'read/list']
    assert len(pages_read) == len(pages)
    assert not [line for line in trail if line['outcome'] == 'failure']
