"""What an operator does to secrets of all projects, with a real Keystone: look, take deletions back, destroy."""

import json
import os
import pty
import subprocess
import uuid

import pytest

from support.chatelaine import binary
from support.identity import DOMAIN, SYSTEM
from support.native import REQUEST_ID, Keys, encoded, expect, new_id, random_key, refused
from support.operator import SECRETS, Operator
from support.servers import wait_until

NO_WAIT = {'deletion': {'purge_wait_seconds': 0}}


@pytest.fixture
def admin_token(keystone):
    return keystone.identity.admin_token()


@pytest.fixture
def operator(chatelaine, admin_token):
    return Operator(chatelaine.url, admin_token)


@pytest.fixture(scope='module')
def demo_service(keystone):
    """A service in another project than all others."""
    return keystone.new_user(('service', 'demo'))


@pytest.fixture
def demo(keystone, chatelaine, demo_service):
    """Its keys."""
    return Keys(chatelaine.url, keystone.identity.token(demo_service, {'project': {'id': keystone.projects['demo']}}))


def put(keys: Keys, key: bytes | None = None, **fields) -> str:
    key_id = new_id()
    expect(keys.put(key_id, key or random_key(), **fields), 201)
    return key_id


def audited(chatelaine, answer) -> list[tuple[str, str, str | None]]:
    """What the trail tells of a request: action, outcome and target of each line."""
    lines = chatelaine.audit_of(answer.headers[REQUEST_ID])
    return [(line['action'], line['outcome'], line['target'].get('id')) for line in lines]


def initiators(chatelaine, answer) -> set[str]:
    return {line['initiator']['id'] for line in chatelaine.audit_of(answer.headers[REQUEST_ID])}


# Looking


def test_secrets_of_all_projects_are_listed(keystone, chatelaine, operator, admin_token, cinder, swift, demo):
    key = random_key()
    put_ids = [put(keys, key, name=f'key {number}') for number, keys in enumerate([cinder, demo, swift, demo, cinder])]
    answers = operator.answers('limit=2')
    assert all(len(answer.json()['secrets']) == 2 for answer in answers[:-1])
    listed = [secret for answer in answers for secret in answer.json()['secrets']]
    assert [secret['id'] for secret in listed if secret['id'] in put_ids] == put_ids
    assert len({secret['id'] for secret in listed}) == len(listed)
    projects = {secret['id']: secret['project_id'] for secret in listed}
    service, other = keystone.projects['service'], keystone.projects['demo']
    assert [projects[key_id] for key_id in put_ids] == [service, other, service, other, service]
    for answer in answers:
        assert 'no-store' in answer.headers['Cache-Control']
        assert 'key_string' not in answer.text
        assert encoded(key) not in answer.text
        ((action, outcome, _),) = audited(chatelaine, answer)
        assert (action, outcome) == ('read/list', 'success')
        assert initiators(chatelaine, answer) == {admin_token.user_id}

    of_demo = operator.answers(f'project={other}&limit=1')
    found = [secret for answer in of_demo for secret in answer.json()['secrets']]
    assert {secret['project_id'] for secret in found} == {other}
    assert [secret['id'] for secret in found][-2:] == [put_ids[1], put_ids[3]]
    assert operator.ids('project=nobody') == []
    # The services themselves still see their own only.
    assert {key['id'] for page in demo.pages() for key in page} == {secret['id'] for secret in found}


def test_a_secret_is_shown_without_its_payload(keystone, chatelaine, operator, cinder):
    key, secret_id = random_key(), str(uuid.uuid1())
    attributes = {'volume_type': 'luks'}
    expect(cinder.put(secret_id, key, name='volume key', attributes=attributes), 201)
    answer = operator.show(secret_id)
    document = expect(answer, 200)
    assert 'no-store' in answer.headers['Cache-Control']
    created = document.pop('created_at')
    assert document.pop('updated_at') == created
    assert document == {
        'id': secret_id,
        'version': 1,
        'project_id': keystone.projects['service'],
        'owner': keystone.users['cinder'].id,
        'name': 'volume key',
        'origin': 'native',
        'secret_type': 'symmetric',
        'algorithm': 'aes',
        'bit_length': 256,
        'content_type': 'application/octet-stream',
        'has_payload': True,
        'state': 'active',
    }
    assert audited(chatelaine, answer) == [('read/metadata', 'success', secret_id)]
    # A change of its state shows; whoever made the change.
    expect(cinder.revoke(secret_id, 'key_compromise'), 200)
    document = expect(operator.show(secret_id), 200)
    assert (document['state'], document['version']) == ('compromised', 2)
    assert document['revocation']['reason'] == 'key_compromise'
    # An operator gets no further here: the keys of others are not found on the native routes.
    refused(Keys(chatelaine.url, keystone.identity.admin_token()).get(secret_id), 403)


def test_the_administrator_of_the_system_may_as_well(keystone, chatelaine, cinder):
    user = {'name': keystone.admin.name, 'domain': {'id': DOMAIN}, 'password': keystone.admin.password}
    proof = {'methods': ['password'], 'password': {'user': user}}
    operator = Operator(chatelaine.url, keystone.identity.authenticate(proof, SYSTEM))
    key_id = put(cinder)
    assert key_id in operator.ids()
    expect(operator.show(key_id), 200)


def service(keystone):
    return keystone.token('cinder', 'service'), keystone.users['cinder']


def member(keystone):
    return keystone.token('demo', 'demo'), keystone.users['demo']


def system_reader(keystone):
    return keystone.identity.token(keystone.users['auditor'], SYSTEM), keystone.users['auditor']


@pytest.mark.parametrize('who', [service, member, system_reader])
def test_who_is_no_administrator_is_refused(keystone, chatelaine, operator, cinder, who):
    """Not even the owner may do by these routes what the native ones grant."""
    live, deleted = put(cinder), put(cinder)
    expect(cinder.delete(deleted), 204)
    token, user = who(keystone)
    other = Operator(chatelaine.url, token)
    for answer, action, target in [
        (other.page(), 'read/list', None),
        (other.page('deleted=true'), 'read/list', None),
        (other.show(live), 'read/metadata', live),
        (other.show(new_id()), 'read/metadata', None),
        (other.take_back(deleted), 'undelete', deleted),
        (other.purge(deleted), 'purge', deleted),
    ]:
        error = refused(answer, 403)
        assert 'operator:' in error['message']
        assert live not in answer.text
        (line,) = chatelaine.audit_of(answer.headers[REQUEST_ID])
        assert (line['action'], line['outcome'], line['initiator']['id']) == (action, 'failure', user.id)
        assert line['reason']['reasonCode']
        if target is not None:
            assert line['target']['id'] == target
    assert 'deletion' in expect(operator.show(deleted), 200)


@pytest.mark.parametrize('token', [None, 'not-a-token'])
def test_without_a_token_nothing_is_said(chatelaine, cinder, token):
    """Not even what would be wrong with the request."""
    key_id, nobody = put(cinder), Operator(chatelaine.url, token)
    for answer in [
        nobody.page(),
        nobody.page('colour=blue'),
        nobody.show(key_id),
        nobody.take_back(key_id),
        nobody.purge(key_id),
        nobody.purge('x'),
    ]:
        refused(answer, 401)
        ((action, outcome, _),) = audited(chatelaine, answer)
        assert (action, outcome) == ('authenticate', 'failure')


def test_rules_can_be_changed(keystone, own_chatelaine, tmp_path):
    policy = tmp_path / 'policy.yaml'
    policy.write_text('"operator:list_secrets": "role:reader"\n"operator:get_secret": "role:audit"\n')
    policy.chmod(0o600)
    chatelaine = own_chatelaine({'policy': {'file': str(policy)}})
    key_id = put(Keys(chatelaine.url, keystone.token('cinder', 'service')))
    auditor = Operator(chatelaine.url, keystone.identity.token(keystone.users['auditor'], SYSTEM))
    assert auditor.ids() == [key_id]
    refused(auditor.show(key_id), 403)
    expect(Operator(chatelaine.url, keystone.token('auditor', 'demo')).show(key_id), 200)


# What is wrong is named


@pytest.mark.parametrize(
    ('query', 'field'),
    [
        ('project=', 'project'),
        ('project=a%00b', 'project'),
        ('project=a&project=b', 'project'),
        ('deleted=yes', 'deleted'),
        ('limit=0', 'limit'),
        ('limit=-1', 'limit'),
        ('limit=1000000', 'limit'),
        ('marker=last', 'marker'),
        ('marker=6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7', 'marker'),
        ('owner=me', 'owner'),
    ],
)
def test_a_wrong_parameter_is_named(operator, query, field):
    assert refused(operator.page(query), 400)['field'] == field


@pytest.mark.parametrize('wrong', ['x', '6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7', '6f1c7a0e3b524a539a540f6c1f5be1a7'])
def test_a_wrong_id_is_refused(operator, wrong):
    for answer in [operator.show(wrong), operator.take_back(wrong), operator.purge(wrong)]:
        assert refused(answer, 400)['field'] == 'secret_id'


def test_what_is_not_there_is_not_found(operator):
    for answer in [operator.show(new_id()), operator.take_back(new_id()), operator.purge(new_id())]:
        refused(answer, 404)
    assert refused(operator.call('POST', f'{SECRETS}/{new_id()}/purge?force=true'), 400)['field'] == 'force'
    answer = operator.call('DELETE', f'{SECRETS}/{new_id()}')
    refused(answer, 405)
    assert set(answer.headers['Allow'].replace(' ', '').split(',')) == {'GET', 'HEAD'}


# Taking deletions back


def test_a_deletion_is_taken_back(keystone, chatelaine, operator, admin_token, cinder, demo):
    key = random_key()
    first, second, foreign = put(cinder, key), put(cinder), put(demo)
    for keys, key_id in [(cinder, first), (cinder, second), (demo, foreign)]:
        expect(keys.delete(key_id), 204)
    assert first not in operator.ids()
    deleted = operator.ids('deleted=true&limit=1')
    assert [key_id for key_id in deleted if key_id in (first, second, foreign)] == [first, second, foreign]
    of_service = operator.ids(f'deleted=true&project={keystone.projects["service"]}')
    assert first in of_service and foreign not in of_service
    document = expect(operator.show(first), 200)
    assert document['state'] == 'active'
    assert document['deletion']['at'] < document['deletion']['purge_at']

    answer = operator.take_back(first)
    document = expect(answer, 200)
    assert (document['id'], document['version']) == (first, 3)
    assert 'deletion' not in document
    assert 'no-store' in answer.headers['Cache-Control']
    assert audited(chatelaine, answer) == [('undelete', 'pending', first), ('undelete', 'success', first)]
    assert initiators(chatelaine, answer) == {admin_token.user_id}
    assert expect(cinder.get(first), 200)['key_string'] == encoded(key)
    assert expect(cinder.get(first), 200)['owner'] == keystone.users['cinder'].id
    assert first in operator.ids()
    again = operator.take_back(first)
    refused(again, 409)
    assert audited(chatelaine, again) == [('undelete', 'failure', first)]
    refused(cinder.get(second), 404)


# Destroying


def test_a_purge_has_to_wait(chatelaine, operator, cinder):
    key, key_id = random_key(), new_id()
    expect(cinder.put(key_id, key), 201)
    live = operator.purge(key_id)
    assert 'delete it first' in refused(live, 409)['message']
    expect(cinder.delete(key_id), 204)
    early = operator.purge(key_id)
    assert 'it can be purged from' in refused(early, 409)['message']
    for answer in [live, early]:
        assert audited(chatelaine, answer) == [('purge', 'failure', key_id)]
    # Nothing is lost.
    expect(cinder.undelete(key_id), 200)
    assert expect(cinder.get(key_id), 200)['key_string'] == encoded(key)


def test_what_is_purged_is_gone(keystone, own_chatelaine, admin_token):
    chatelaine = own_chatelaine(NO_WAIT)
    operator = Operator(chatelaine.url, admin_token)
    cinder = Keys(chatelaine.url, keystone.token('cinder', 'service'))
    gone, kept, live = put(cinder), put(cinder), put(cinder)
    expect(cinder.delete(gone), 204)
    expect(cinder.delete(kept), 204)
    refused(operator.purge(live), 409)
    answer = operator.purge(gone)
    expect(answer, 204)
    assert not answer.content
    assert 'no-store' in answer.headers['Cache-Control']
    assert audited(chatelaine, answer) == [('purge', 'pending', gone), ('purge', 'success', gone)]
    assert initiators(chatelaine, answer) == {admin_token.user_id}

    def nothing_is_left():
        for request in [operator.show, operator.take_back, operator.purge, cinder.undelete, cinder.get]:
            refused(request(gone), 404)
        assert operator.ids('deleted=true') == [kept]
        assert operator.ids() == [live]

    nothing_is_left()
    chatelaine.restart()
    nothing_is_left()
    expect(cinder.undelete(kept), 200)
    # Neither the store nor the trail misses anything; nor does the reaper stumble.
    for command in [('store', 'check'), ('audit', 'verify'), ('reap',)]:
        chatelaine.cli('--config', str(chatelaine.configuration), *command)


# By the command line


def run(chatelaine, keystone, *command, user=None, project='admin', expected=0):
    environment = keystone.environment(user or keystone.admin, project)
    environment['CHATELAINE_ENDPOINT'] = chatelaine.url
    return chatelaine.cli(*command, environment=environment, expected=expected)


def test_commands(keystone, own_chatelaine):
    chatelaine = own_chatelaine(NO_WAIT)
    cinder = Keys(chatelaine.url, keystone.token('cinder', 'service'))
    ids = [put(cinder) for _ in range(5)]
    for key_id in ids[:3]:
        expect(cinder.delete(key_id), 204)
    listed = run(chatelaine, keystone, '--format', 'json', 'secret', 'list', '--deleted', '--all')
    assert [secret['id'] for secret in json.loads(listed.stdout)] == ids[:3]
    table = run(chatelaine, keystone, 'secret', 'list', '--project', keystone.projects['service'], '--limit', '1')
    assert ids[3] in table.stdout.decode() and ids[4] not in table.stdout.decode()
    assert b'--all-pages' in table.stderr
    shown = run(chatelaine, keystone, '--format', 'json', 'secret', 'show', ids[0])
    assert json.loads(shown.stdout)['deletion']
    run(chatelaine, keystone, 'secret', 'undelete', ids[0], ids[1])
    expect(cinder.get(ids[0]), 200)
    refusal = run(chatelaine, keystone, 'secret', 'purge', ids[2], expected=2)
    assert b'--yes' in refusal.stderr
    run(chatelaine, keystone, 'secret', 'purge', '--yes', ids[2])
    run(chatelaine, keystone, 'secret', 'show', ids[2], expected=5)
    run(chatelaine, keystone, 'secret', 'purge', '--yes', ids[3], expected=6)
    service = {'user': keystone.users['cinder'], 'project': 'service'}
    refusal = run(chatelaine, keystone, 'secret', 'list', expected=4, **service)
    assert b'operator:' in refusal.stderr


@pytest.mark.parametrize(('typed', 'status'), [('yes', 0), ('y', 1)])
def test_a_person_is_asked_before_a_purge(keystone, own_chatelaine, typed, status):
    chatelaine = own_chatelaine(NO_WAIT)
    cinder = Keys(chatelaine.url, keystone.token('cinder', 'service'))
    key_id = put(cinder)
    expect(cinder.delete(key_id), 204)
    environment = keystone.environment(keystone.admin, 'admin')
    environment |= {'CHATELAINE_ENDPOINT': chatelaine.url, 'HOME': str(chatelaine.state), 'LANG': 'C.UTF-8'}
    ours, theirs = pty.openpty()
    try:
        command = [binary(), 'secret', 'purge', key_id]
        with subprocess.Popen(
            command, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True
        ) as process:
            said = b''
            os.set_blocking(ours, False)

            def asked():
                nonlocal said
                try:
                    said += os.read(ours, 4096)
                except BlockingIOError:
                    pass
                return b'Type yes' in said

            wait_until('the question', asked, seconds=30)
            assert key_id.encode() in said
            expect(cinder.undelete(key_id), 200)
            expect(cinder.delete(key_id), 204)
            os.write(ours, f'{typed}\n'.encode())
            output, _ = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == status
    assert output.decode() == (f'purged {key_id}\n' if status == 0 else '')
    operator = Operator(chatelaine.url, keystone.identity.admin_token())
    assert operator.ids('deleted=true') == ([] if status == 0 else [key_id])
