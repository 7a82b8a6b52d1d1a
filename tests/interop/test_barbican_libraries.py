"""The libraries that services call, unchanged, through Keystone's catalogue: with a real Barbican and with ours."""

import datetime
import uuid

import openstack.connection
import openstack.exceptions
import pytest
from castellan import key_manager as castellan_key_manager
from castellan.common import exception as castellan_exceptions
from castellan.common.credentials.keystone_password import KeystonePassword
from castellan.common.objects import (
    opaque_data,
    passphrase,
    private_key,
    public_key,
    symmetric_key,
    x_509,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from oslo_config import cfg

from support.key_manager import BINARY, CONSUMER, FUTURE, USER, is_recent
from support.keystone import REGION

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)


@pytest.fixture(scope='module')
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


# Castellan


@pytest.fixture
def castellan(manager):
    """Castellan's key manager with Barbican's backend, and the credentials it is called with."""
    configuration = cfg.ConfigOpts()
    configuration([], project='castellan', default_config_files=[], default_config_dirs=[])
    keys = castellan_key_manager.API(configuration)
    configuration.set_override('auth_endpoint', manager.keystone.url, 'barbican')
    configuration.set_override('barbican_region_name', REGION, 'barbican')
    user = manager.keystone.users[USER]
    context = KeystonePassword(
        password=user.password,
        auth_url=manager.keystone.url,
        user_id=user.id,
        project_id=manager.keystone.projects[manager.project],
    )
    return keys, context


def certificate(key) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'a certificate')])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def managed_objects(key) -> list:
    der = serialization.Encoding.DER
    private = key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    return [
        symmetric_key.SymmetricKey('AES', 256, BINARY[:32], name='symmetric'),
        public_key.PublicKey('RSA', 2048, public, name='public'),
        private_key.PrivateKey('RSA', 2048, private, name='private'),
        passphrase.Passphrase('open sesame', name='passphrase'),
        opaque_data.OpaqueData(BINARY, name='opaque'),
        x_509.X509(certificate(key), name='certificate'),
    ]


def test_castellan_every_kind_of_object(castellan, rsa_key):
    keys, context = castellan
    objects = managed_objects(rsa_key)
    for stored in objects:
        key_id = keys.store(context, stored)
        read = keys.get(context, key_id)
        assert type(read) is type(stored)
        assert (read.get_encoded(), read.name, read.id) == (stored.get_encoded(), stored.name, key_id)
        if hasattr(stored, 'algorithm'):
            assert (read.algorithm, read.bit_length) == (stored.algorithm, stored.bit_length)
        assert is_recent(datetime.datetime.fromtimestamp(read.created, datetime.UTC))
        (known,) = keys.list(context, type(stored), metadata_only=True)
        assert (known.is_metadata_only(), known.name, known.id) == (True, stored.name, key_id)
    assert {one.get_encoded() for one in keys.list(context)} == {stored.get_encoded() for stored in objects}
    for one in keys.list(context, metadata_only=True):
        keys.delete(context, one.id)
    assert keys.list(context) == []


def test_castellan_makes_keys(castellan):
    keys, context = castellan
    for length in [128, 256]:
        # Without a name, as volumes are encrypted.
        key_id = keys.create_key(context, 'AES', length)
        key = keys.get(context, key_id)
        assert (key.format, len(key.get_encoded()) * 8, key.name) == ('RAW', length, None)
    named = keys.create_key(context, 'AES', 256, name='named', expiration=FUTURE)
    assert keys.get(context, named).name == 'named'
    private_id, public_id = keys.create_key_pair(context, 'RSA', 2048, name='pair')
    private = serialization.load_der_private_key(keys.get(context, private_id).get_encoded(), None)
    public = serialization.load_der_public_key(keys.get(context, public_id).get_encoded())
    assert private.public_key().public_numbers() == public.public_numbers()


def test_castellan_consumers_and_absent_keys(castellan):
    keys, context = castellan
    key_id = keys.store(context, passphrase.Passphrase('x', name='consumed'))
    keys.add_consumer(context, key_id, CONSUMER)
    assert keys.get(context, key_id).consumers == [CONSUMER]
    with pytest.raises(castellan_exceptions.KeyManagerError):
        keys.delete(context, key_id)
    keys.remove_consumer(context, key_id, CONSUMER)
    assert keys.get(context, key_id).consumers == []
    keys.add_consumer(context, key_id, CONSUMER)
    keys.delete(context, key_id, force=True)
    absent = str(uuid.uuid4())
    for call in [
        lambda: keys.get(context, absent),
        lambda: keys.delete(context, absent),
        lambda: keys.add_consumer(context, absent, CONSUMER),
        lambda: keys.remove_consumer(context, absent, CONSUMER),
    ]:
        with pytest.raises(castellan_exceptions.ManagedObjectNotFoundError):
            call()


# openstacksdk


@pytest.fixture
def cloud(manager):
    with openstack.connection.Connection(session=manager.session(), region_name=REGION) as connection:
        yield connection.key_manager


def test_sdk_secrets(manager, cloud):
    made = cloud.create_secret(
        name='a text', payload='geheim', payload_content_type='text/plain', secret_type='passphrase'
    )
    assert made.secret_ref.startswith(f'{manager.url}/v1/secrets/')
    read = cloud.get_secret(made.secret_id)
    assert (read.name, read.payload, read.secret_type, read.status) == ('a text', 'geheim', 'passphrase', 'ACTIVE')
    assert [secret.name for secret in cloud.secrets()] == ['a text']
    assert list(cloud.secrets(name='nothing')) == []
    assert cloud.find_secret(made.secret_id).name == 'a text'
    nova = manager.keystone.users['nova'].id
    cloud.set_secret_acl(made.secret_id, read={'users': [nova], 'project-access': False})
    assert cloud.get_secret_acl(made.secret_id).read['users'] == [nova]
    cloud.delete_secret_acl(made.secret_id)
    assert cloud.get_secret_acl(made.secret_id).read == {'project-access': True}
    cloud.create_secret_consumer(made.secret_id, **CONSUMER)
    (listed,) = cloud.secret_consumers(made.secret_id)
    assert (listed.service, listed.resource_id) == ('volume', 'volume-1')
    cloud.delete_secret_consumer(made.secret_id, **CONSUMER)
    assert list(cloud.secret_consumers(made.secret_id)) == []
    cloud.delete_secret(made.secret_id, ignore_missing=False)
    with pytest.raises(openstack.exceptions.NotFoundException):
        cloud.delete_secret(made.secret_id, ignore_missing=False)


def test_sdk_many_secrets(cloud):
    """The listing is followed page by page."""
    for number in range(23):
        cloud.create_secret(name=f'secret {number}')
    assert {secret.name for secret in cloud.secrets()} == {f'secret {number}' for number in range(23)}


def test_sdk_containers_and_orders(cloud):
    secret = cloud.create_secret(name='held', payload='x', payload_content_type='text/plain')
    references = [{'name': 'held', 'secret_ref': secret.secret_ref}]
    made = cloud.create_container(name='box', type='generic', secret_refs=references)
    read = cloud.get_container(made.container_id)
    assert (read.name, read.type, read.secret_refs) == ('box', 'generic', references)
    assert [container.name for container in cloud.containers()] == ['box']
    cloud.delete_container(made.container_id, ignore_missing=False)
    meta = {'name': 'ordered', 'algorithm': 'aes', 'bit_length': 256}
    order = cloud.create_order(type='key', meta=meta)
    done = cloud.get_order(order.order_id)
    assert (done.status, done.meta['name']) == ('ACTIVE', 'ordered')
    assert len(cloud.get_secret(done.secret_id).payload) == 32
    assert [one.order_id for one in cloud.orders()] == [order.order_id]
    cloud.delete_order(order.order_id, ignore_missing=False)


def test_sdk_quotas(manager, cloud):
    assert cloud.get_quota().secrets == -1
    project = manager.keystone.projects[manager.project]
    session = manager.session('key_admin')
    with openstack.connection.Connection(session=session, region_name=REGION) as connection:
        admin = connection.key_manager
        admin.update_project_quota(project, secrets=3)
        assert admin.get_project_quota(project).secrets == 3
        assert cloud.get_quota().secrets == 3
        admin.delete_project_quota(project, ignore_missing=False)
    assert cloud.get_quota().secrets == -1
