"""Swift encrypts objects under root secrets that its `kms_keymaster` reads here through castellan, nothing changed."""

import os
import secrets
import urllib.parse
import uuid

import pytest
from castellan import key_manager as castellan_key_manager
from castellan.common.credentials.keystone_password import KeystonePassword
from oslo_config import cfg

from support.commands import Commands
from support.keystone import REGION
from support.native import Keys, expect
from support.operator import Operator
from support.swift import Objects, Swift

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)

#: Where objects are put.
CONTAINER = 'c'


@pytest.fixture(scope='module')
def storage(keystone, tmp_path_factory):
    swift = Swift(tmp_path_factory.mktemp('swift'), keystone)
    yield swift
    swift.stop()


@pytest.fixture(scope='module')
def reader(keystone):
    """The user of Swift's proxies: a member, as Barbican's rules want it, and a service, for the native routes."""
    return keystone.new_user(('member', 'service'), ('service', 'service'))


@pytest.fixture
def proxies(storage, chatelaine, keystone, reader):
    """Makes proxies, which are ended with the test."""
    keystone.set_key_manager(chatelaine.url)
    made = []

    def make(**root_secrets: str):
        made.append(storage.proxy(f'proxy-{uuid.uuid4().hex[:8]}', reader, 'service', root_secrets))
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture(scope='module')
def user(keystone):
    """Whose objects they are."""
    return keystone.token('demo', 'demo')


@pytest.fixture(scope='module')
def castellan(keystone, reader):
    configuration = cfg.ConfigOpts()
    configuration([], project='castellan', default_config_files=[], default_config_dirs=[])
    keys = castellan_key_manager.API(configuration)
    configuration.set_override('auth_endpoint', keystone.url, 'barbican')
    configuration.set_override('barbican_region_name', REGION, 'barbican')
    credentials = KeystonePassword(
        password=reader.password,
        auth_url=keystone.url,
        user_id=reader.id,
        project_id=keystone.projects['service'],
    )
    return keys, credentials


@pytest.fixture(scope='module')
def openstack(keystone, reader):
    with Commands(keystone.environment(reader, 'service')) as commands:
        yield commands


def ordered(openstack) -> str:
    """The id of a root secret ordered by command."""
    wanted = ['--name', 'swift root secret', '--algorithm', 'aes', '--bit-length', '256', '--mode', 'ctr']
    made = openstack.run('secret', 'order', 'create', 'key', *wanted, '-t', 'application/octet-stream')
    order = openstack.run('secret', 'order', 'get', made['Order href'])
    assert order['Status'] == 'ACTIVE'
    return order['Secret href'].rsplit('/', 1)[1]


def created(castellan) -> str:
    """The id of one that castellan had made."""
    keys, credentials = castellan
    return keys.create_key(credentials, 'AES', 256)


def metadata_of(path) -> str:
    """What Swift keeps beside a body."""
    content = b''.join(os.getxattr(path, name) for name in sorted(os.listxattr(path)))
    return urllib.parse.unquote_plus(content.decode('latin-1'))


def lives_through_deletion(storage, proxy, user, delete, undelete) -> None:
    """What an operator of Swift meets: encryption, a restart, a root secret that is deleted and comes back."""
    plain, note = secrets.token_hex(40_000).encode(), secrets.token_hex(20)
    before = set(storage.objects())
    proxy.start()
    objects = Objects(proxy, user)
    objects.put(CONTAINER)
    objects.put(f'{CONTAINER}/letter', plain, **{'X-Object-Meta-Note': note})
    assert objects.get(f'{CONTAINER}/letter') == plain
    assert objects.call('HEAD', f'{CONTAINER}/letter').headers['X-Object-Meta-Note'] == note
    # What is on the disk is as long, and holds neither the body nor the words about it.
    (written,) = set(storage.objects()) - before
    assert written.stat().st_size == len(plain)
    assert storage.on_disk(plain[:24]) == storage.on_disk(plain[-24:]) == []
    # The search finds what is there.
    assert storage.on_disk(written.read_bytes()[-24:]) == [written]
    assert note not in metadata_of(written)
    assert 'AES_CTR_256' in metadata_of(written)
    proxy.restart()
    assert objects.get(f'{CONTAINER}/letter') == plain

    delete()
    # A proxy that runs keeps what it has read.
    assert objects.get(f'{CONTAINER}/letter') == plain
    proxy.stop()
    reason = proxy.refuses_to_start()
    assert 'ManagedObjectNotFoundError' in reason and 'Key not found, uuid' in reason
    undelete()
    proxy.start()
    assert objects.get(f'{CONTAINER}/letter') == plain
    assert objects.call('DELETE', f'{CONTAINER}/letter').status_code == 204


def test_a_root_secret_that_was_ordered(keystone, chatelaine, storage, proxies, openstack, user):
    root = ordered(openstack)
    reference = f'{chatelaine.url}/v1/secrets/{root}'
    operator = Operator(chatelaine.url, keystone.identity.admin_token())

    def delete():
        openstack.run('secret', 'delete', reference, json_output=False)

    def undelete():
        expect(operator.take_back(root), 200)

    lives_through_deletion(storage, proxies(key_id=root), user, delete, undelete)


def test_a_root_secret_that_castellan_made(keystone, chatelaine, storage, proxies, castellan, reader, user):
    root = created(castellan)
    service = keystone.identity.token(reader, {'project': {'id': keystone.projects['service']}})
    owner = Keys(chatelaine.url, service)

    def delete():
        keys, credentials = castellan
        keys.delete(credentials, root)

    def undelete():
        expect(owner.undelete(root), 200)

    # Not by the catalogue, this time.
    proxy = proxies(key_id=root, barbican_endpoint=chatelaine.url)
    lives_through_deletion(storage, proxy, user, delete, undelete)


def test_root_secrets_are_rotated(storage, proxies, openstack, castellan, user):
    old, new = ordered(openstack), created(castellan)
    plain = {'old': b'under the old root secret', 'new': b'under the new one'}

    def put(proxy, name: str) -> str:
        """Puts an object; what Swift notes beside it."""
        before = set(storage.objects())
        objects = Objects(proxy, user)
        objects.put(CONTAINER)
        objects.put(f'{CONTAINER}/{name}', plain[name])
        (written,) = set(storage.objects()) - before
        return metadata_of(written)

    proxy = proxies(key_id=old)
    proxy.start()
    assert '"secret_id"' not in put(proxy, 'old')
    proxy.stop()
    both = proxies(key_id=old, key_id_new=new, active_root_secret_id='new')
    both.start()
    assert '"secret_id": "new"' in put(both, 'new')
    objects = Objects(both, user)
    assert {name: objects.get(f'{CONTAINER}/{name}') for name in plain} == plain
    both.stop()
    # Each is another key: without the old one its objects cannot be read.
    without = proxies(key_id_new=new, active_root_secret_id='new')
    without.start()
    objects = Objects(without, user)
    assert objects.get(f'{CONTAINER}/new') == plain['new']
    assert objects.call('GET', f'{CONTAINER}/old').status_code == 500


def test_what_is_no_root_secret_is_refused(keystone, proxies, castellan, storage):
    """The metadata that Swift decides by arrives as it is, and so does a refusal."""
    keys, credentials = castellan
    short = proxies(key_id=keys.create_key(credentials, 'AES', 128))
    assert 'must be an AES key of at least 256 bits' in short.refuses_to_start()
    stranger = keystone.new_user(('member', 'alt_demo'))
    root = created(castellan)
    foreign = storage.proxy('proxy-foreign', stranger, 'alt_demo', {'key_id': root})
    assert 'Forbidden' in foreign.refuses_to_start()
