"""Barbican's own client, unchanged, through Keystone's catalogue: with a real Barbican and with ours."""

import datetime

import pytest
from barbicanclient import exceptions as barbican_exceptions
from cryptography.hazmat.primitives import serialization

from support.commands import Commands
from support.key_manager import BINARY, CONSUMER, FUTURE, USER, is_recent

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)


# python-barbicanclient


def test_barbicanclient_secrets(manager):
    client = manager.barbican()
    text = client.secrets.create(name='a text', payload='geheim ü', secret_type='passphrase')
    key = client.secrets.create(
        name='a key',
        payload=BINARY,
        algorithm='aes',
        bit_length=2048,
        mode='cbc',
        secret_type='symmetric',
        expiration=FUTURE,
    )
    reference = text.store()
    assert reference.startswith(f'{manager.url}/v1/secrets/')
    key.store()
    read = client.secrets.get(reference)
    assert (read.payload, read.name, read.secret_type) == ('geheim ü', 'a text', 'passphrase')
    assert read.content_types == {'default': 'text/plain'}
    assert read.status == 'ACTIVE'
    assert is_recent(read.created)
    read = client.secrets.get(key.secret_ref)
    assert (read.payload, read.algorithm, read.bit_length, read.mode) == (BINARY, 'aes', 2048, 'cbc')
    assert read.expiration == datetime.datetime.fromisoformat(f'{FUTURE}+00:00')
    assert read.content_types == {'default': 'application/octet-stream'}
    # Only the end of a reference counts.
    assert client.secrets.get(reference.rsplit('/', 1)[-1]).payload == 'geheim ü'
    client.secrets.delete(reference)
    with pytest.raises(barbican_exceptions.HTTPClientError) as error:
        client.secrets.get(reference).payload  # noqa: B018
    assert error.value.status_code == 404


def test_barbicanclient_two_steps(manager):
    client = manager.barbican()
    for payload in ['a text', BINARY]:
        secret = client.secrets.create(name='empty')
        secret.store()
        assert client.secrets.get(secret.secret_ref).content_types is None
        client.secrets.update(secret.secret_ref, payload=payload)
        assert client.secrets.get(secret.secret_ref).payload == payload
        with pytest.raises(barbican_exceptions.HTTPClientError) as error:
            client.secrets.update(secret.secret_ref, payload=payload)
        assert error.value.status_code == 409


def test_barbicanclient_lists(manager):
    client = manager.barbican()
    for number in range(12):
        client.secrets.create(name=f'secret {number:02}', payload='x', bit_length=128 + number, mode='ctr').store()
    names = [secret.name for secret in client.secrets.list(sort='name:desc')]
    assert names == [f'secret {number:02}' for number in range(11, 1, -1)]
    assert [secret.name for secret in client.secrets.list(limit=5, offset=10, sort='name')] == [
        'secret 10',
        'secret 11',
    ]
    assert [secret.name for secret in client.secrets.list(name='secret 03')] == ['secret 03']
    assert [secret.name for secret in client.secrets.list(bits=130, mode='ctr')] == ['secret 02']
    assert client.secrets.list(algorithm='nothing') == []
    assert len(client.secrets.list(created='gt:2001-01-01T00:00:00', limit=100)) == 12
    assert client.secrets.list(secret_type='private') == []


def test_barbicanclient_metadata(manager):
    client = manager.barbican()
    secret = client.secrets.create(payload='x')
    reference = secret.store()
    assert client.secrets.get_secret_metadata(reference) == {'metadata': {}}
    made = client.secrets.set_secret_metadata(reference, {'colour': 'blue'})
    assert made == {'metadata_ref': f'{reference}/metadata'}
    assert client.secrets.get_secret_metadata(reference, 'colour') == {'key': 'colour', 'value': 'blue'}
    if manager.name == 'barbican':
        with pytest.raises(barbican_exceptions.HTTPClientError) as error:
            client.secrets.add_secret_metadata(reference, 'shape', 'round')
        assert error.value.status_code == 405
    else:
        # The client asks for a route Barbican does not have.
        assert client.secrets.add_secret_metadata(reference, 'shape', 'round') == {'key': 'shape', 'value': 'round'}
        assert client.secrets.add_secret_metadata(reference, 'shape', 'flat') == {'key': 'shape', 'value': 'flat'}
    client.secrets.delete_secret_metadata(reference, 'colour')
    assert 'colour' not in client.secrets.get_secret_metadata(reference)['metadata']


def test_barbicanclient_consumers(manager):
    client = manager.barbican()
    secret = client.secrets.create(name='consumed', payload='x')
    reference = secret.store()
    registered = client.secrets.register_consumer(reference, **CONSUMER)
    assert registered.consumers == [CONSUMER]
    (listed,) = client.secrets.list_consumers(reference)
    assert {name: getattr(listed, name) for name in CONSUMER} == CONSUMER
    with pytest.raises(barbican_exceptions.SecretHasConsumers):
        client.secrets.delete(reference)
    client.secrets.remove_consumer(reference, **CONSUMER)
    assert client.secrets.list_consumers(reference) == []
    client.secrets.register_consumer(reference, **CONSUMER)
    client.secrets.delete(reference, force=True)
    assert client.secrets.list() == []


@pytest.mark.parametrize('microversion', ['1.0', '1.1'])
def test_barbicanclient_with_an_old_version(manager, microversion):
    """The client learns from the version documents what it may use."""
    client = manager.barbican(microversion=microversion)
    secret = client.secrets.create(name='old', payload='x')
    secret.store()
    (listed,) = client.secrets.list()
    assert listed.name == 'old'
    if microversion == '1.1':
        assert client.secrets.register_consumer(secret.secret_ref, **CONSUMER).consumers == [CONSUMER]
        with pytest.raises(barbican_exceptions.SecretHasConsumers):
            client.secrets.delete(secret.secret_ref)
        client.secrets.delete(secret.secret_ref, force=True)
    else:
        with pytest.raises(NotImplementedError):
            client.secrets.register_consumer(secret.secret_ref, **CONSUMER)


def test_barbicanclient_acls(manager):
    client = manager.barbican()
    secret = client.secrets.create(name='shared', payload='x')
    container = client.containers.create(name='shared')
    nova = manager.keystone.users['nova'].id
    for entity in [secret, container]:
        reference = entity.store()
        acl = client.acls.create(entity_ref=reference, users=[nova], project_access=False)
        assert acl.submit() == f'{reference}/acl'
        loaded = client.acls.get(entity_ref=reference)
        assert (loaded.read.users, loaded.read.project_access) == ([nova], False)
        loaded.read.users = []
        loaded.submit()
        assert client.acls.get(entity_ref=reference).read.users == []
        loaded.remove()
        assert client.acls.get(entity_ref=reference).read.project_access is True
    assert client.secrets.get(secret.secret_ref).acls.read.project_access is True


def test_barbicanclient_lets_another_project_read(manager):
    client, stranger = manager.barbican(), manager.barbican('alt_listed', 'alt_demo')
    secret = client.secrets.create(name='shared', payload='shared with others')
    reference = secret.store()
    with pytest.raises(barbican_exceptions.HTTPClientError) as error:
        stranger.secrets.get(reference).payload  # noqa: B018
    assert error.value.status_code == 403
    client.acls.create(entity_ref=reference, users=[manager.keystone.users['alt_listed'].id]).submit()
    assert stranger.secrets.get(reference).payload == 'shared with others'


def test_barbicanclient_containers(manager):
    client = manager.barbican()
    secrets = {name: client.secrets.create(name=name, payload=name) for name in ['a', 'b', 'c', 'd']}
    generic = client.containers.create(name='generic', secrets={'first': secrets['a'], 'second': secrets['b']})
    pair = client.containers.create_rsa('pair', secrets['a'], secrets['b'], secrets['c'])
    certificate = client.containers.create_certificate(
        'certificate', secrets['a'], secrets['b'], secrets['c'], secrets['d']
    )
    references = [container.store() for container in [generic, pair, certificate]]
    read = client.containers.get(references[0])
    assert {name: secret.payload for name, secret in read.secrets.items()} == {'first': 'a', 'second': 'b'}
    read = client.containers.get(references[1])
    assert (read.public_key.payload, read.private_key.payload, read.private_key_passphrase.payload) == ('a', 'b', 'c')
    read = client.containers.get(references[2])
    assert [read.certificate.payload, read.intermediates.payload] == ['a', 'b']
    assert [read.private_key.payload, read.private_key_passphrase.payload] == ['c', 'd']
    assert {container.name for container in client.containers.list()} == {'generic', 'pair', 'certificate'}
    assert [container.name for container in client.containers.list(type='rsa')] == ['pair']
    assert [container.name for container in client.containers.list(name='generic', limit=1)] == ['generic']
    registered = client.containers.register_consumer(references[0], 'load balancer', 'http://lb.example.org/1')
    assert registered.consumers == [{'name': 'load balancer', 'URL': 'http://lb.example.org/1'}]
    client.containers.remove_consumer(references[0], 'load balancer', 'http://lb.example.org/1')
    assert client.containers.get(references[0]).consumers == []
    client.containers.delete(references[0])
    with pytest.raises(barbican_exceptions.HTTPClientError):
        client.containers.get(references[0])


def test_barbicanclient_orders(manager):
    client = manager.barbican()
    order = client.orders.create_key(name='a key', algorithm='aes', bit_length=256, mode='cbc')
    reference = order.submit()
    done = client.orders.get(reference)
    assert done.status == 'ACTIVE'
    key = client.secrets.get(done.secret_ref)
    assert (len(key.payload), key.name, key.secret_type) == (32, 'a key', 'symmetric')
    pair = client.orders.create_asymmetric(name='a pair', algorithm='rsa', bit_length=2048)
    pair.submit()
    made = client.containers.get(client.orders.get(pair.order_ref).container_ref)
    loaded = serialization.load_pem_private_key(made.private_key.payload, None)
    public = serialization.load_pem_public_key(made.public_key.payload)
    assert loaded.public_key().public_numbers() == public.public_numbers()
    assert loaded.key_size == 2048
    failed = client.orders.create_key(algorithm='rot13', bit_length=256)
    failed.submit()
    failed = client.orders.get(failed.order_ref)
    assert (failed.status, failed.error_status_code) == ('ERROR', '400')
    assert failed.error_reason
    assert len(client.orders.list()) == 3
    client.orders.delete(reference)
    assert len(client.orders.list(limit=10)) == 2
    assert len(client.secrets.get(done.secret_ref).payload) == 32


# openstack …


@pytest.fixture
def commands(manager):
    with Commands(manager.keystone.environment(manager.keystone.users[USER], manager.project)) as commands:
        yield commands


def test_openstack_secrets(manager, commands, tmp_path):
    reference = commands.run('secret', 'store', '--name', 'a text', '--payload', 'geheim')['Secret href']
    assert reference.startswith(f'{manager.url}/v1/secrets/')
    read = commands.run('secret', 'get', reference)
    assert (read['Name'], read['Status'], read['Secret type']) == ('a text', 'ACTIVE', 'opaque')
    assert commands.run('secret', 'get', reference, '--payload') == {'Payload': 'geheim'}
    empty = commands.run('secret', 'store', '--name', 'later')['Secret href']
    commands.run('secret', 'update', empty, 'now', json_output=False)
    copy = tmp_path / 'payload'
    commands.run('secret', 'get', empty, '--file', str(copy), json_output=False)
    assert copy.read_text() == 'now'
    listed = commands.run('secret', 'list', '--name', 'later')
    assert [secret['Secret href'] for secret in listed] == [empty]
    consumer = ['-s', 'volume', '-t', 'volume', '-i', 'volume-1']
    commands.run('secret', 'consumer', 'create', *consumer, reference, json_output=False)
    (listed,) = commands.run('secret', 'consumer', 'list', reference)
    assert listed['Resource id'] == 'volume-1'
    commands.run('secret', 'consumer', 'delete', *consumer, reference, json_output=False)
    commands.run('secret', 'delete', reference, json_output=False)
    assert len(commands.run('secret', 'list')) == 1


def test_openstack_acls_containers_orders(manager, commands):
    nova, swift = manager.keystone.users['nova'].id, manager.keystone.users['swift'].id
    order = commands.run('secret', 'order', 'create', 'key', '--name', 'ordered', '-t', 'application/octet-stream')
    done = commands.run('secret', 'order', 'get', order['Order href'])
    assert (done['Status'], done['Type']) == ('ACTIVE', 'Key')
    secret = done['Secret href']
    assert len(commands.run('secret', 'order', 'list')) == 1
    commands.run('secret', 'order', 'delete', order['Order href'], json_output=False)
    commands.run('acl', 'submit', secret, '--user', nova, '--no-project-access')
    (read,) = commands.run('acl', 'user', 'add', secret, '--user', swift)
    assert sorted(read['Users']) == sorted([nova, swift])
    (read,) = commands.run('acl', 'get', secret)
    assert (read['Project Access'], sorted(read['Users'])) == (False, sorted([nova, swift]))
    commands.run('acl', 'user', 'remove', secret, '--user', nova)
    commands.run('acl', 'delete', secret, json_output=False)
    made = commands.run('secret', 'container', 'create', '--name', 'box', '--secret', f'key={secret}')
    container = made['Container href']
    assert commands.run('secret', 'container', 'get', container)['Secrets'] == f'key={secret}'
    assert [row['Name'] for row in commands.run('secret', 'container', 'list')] == ['box']
    commands.run('secret', 'container', 'delete', container, json_output=False)
