"""Cinder's and Nova's keys of volumes, disks and TPMs: the services' own code, with a real Barbican and with ours."""

import base64
import secrets

import pytest

from support.key_manager import USER
from support.services import Service, ServiceError, caller, castellan, credentials

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)

#: What Cinder writes for "the key that stands in the configuration".
FIXED_KEY_ID = '00000000-0000-0000-0000-000000000000'


def with_catalogue(manager, who: dict) -> dict:
    """As Keystone's middleware hands the catalogue to services that look there for the key manager."""
    endpoint = {'region': 'RegionOne', 'publicURL': manager.url, 'internalURL': manager.url, 'adminURL': manager.url}
    return who | {'service_catalog': [{'type': 'key-manager', 'name': 'keys', 'endpoints': [endpoint]}]}


@pytest.fixture
def owner(manager):
    return with_catalogue(manager, caller(manager.keystone.token(USER, manager.project)))


@pytest.fixture
def stranger(manager):
    return with_catalogue(manager, caller(manager.keystone.token('alt_member', 'alt_demo')))


# Cinder


@pytest.fixture
def fixed_key():
    return secrets.token_bytes(32)


@pytest.fixture
def cinder(manager, fixed_key, tmp_path):
    user = manager.keystone.new_user(('service', 'service'), ('member', 'service'))
    sections = {
        'DEFAULT': {'state_path': tmp_path, 'transport_url': 'fake://', 'enable_new_services': 'true'},
        'database': {'connection': f'sqlite:///{tmp_path}/cinder.db'},
        'coordination': {'backend_url': f'file://{tmp_path}'},
        'keystone_authtoken': credentials(manager.keystone, user),
    } | castellan(manager.keystone)
    sections['key_manager']['fixed_key'] = fixed_key.hex()
    with Service('call_cinder', tmp_path, sections) as cinder:
        yield cinder


@pytest.mark.parametrize(('cipher', 'bits'), [('aes-xts-plain64', 256), ('aes-cbc-essiv', 128)])
def test_keys_of_encrypted_volumes(manager, cinder, owner, stranger, cipher, bits):
    client = manager.barbican()
    kind = cinder.call('encrypted_type', name='luks', cipher=cipher, bits=bits)
    key = cinder.call('key_for_a_volume', who=owner, volume_type=kind)
    payload = client.secrets.get(key).payload
    assert len(payload) * 8 == bits
    assert cinder.call('passphrase', who=owner, key_id=key) == payload.hex()
    with pytest.raises(ServiceError, match='Forbidden'):
        cinder.call('passphrase', who=stranger, key_id=key)
    # A clone has a key of its own with the same content, which outlives its source's.
    clone = cinder.call('key_for_a_volume', who=owner, volume_type=kind, source_key=key)
    assert clone != key
    cinder.call('delete_key', who=owner, key_id=key)
    assert cinder.call('passphrase', who=owner, key_id=clone) == payload.hex()
    # What is gone is well deleted.
    cinder.call('delete_key', who=owner, key_id=key)
    # Neither the stranger nor, after that, Cinder's own user may.
    with pytest.raises(ServiceError, match='KeyManagerError'):
        cinder.call('delete_key', who=stranger, key_id=clone)
    cinder.call('delete_key', who=owner, key_id=clone)
    assert client.secrets.list() == []


def test_the_move_from_a_fixed_key(manager, cinder, owner, stranger, fixed_key):
    kind = cinder.call('encrypted_type', name='luks', cipher='aes-xts-plain64', bits=256)
    volume = cinder.call('add_volume', who=owner, volume_type=kind, key_id=FIXED_KEY_ID)
    cinder.call('migrate')
    key, *of_snapshots = cinder.call('volume_keys', volume=volume)
    assert key != FIXED_KEY_ID
    assert of_snapshots == [key]
    # The secret is Cinder's, and the volume's owner is on its access list.
    assert cinder.call('passphrase', who=owner, key_id=key) == fixed_key.hex()
    with pytest.raises(ServiceError, match='Forbidden'):
        cinder.call('passphrase', who=stranger, key_id=key)
    # The owner may not delete it: Cinder does.
    cinder.call('delete_key', who=owner, key_id=key)
    with pytest.raises(ServiceError, match='NotFound'):
        cinder.call('passphrase', who=owner, key_id=key)


def test_a_volume_changes_hands(manager, cinder, owner, stranger):
    kind = cinder.call('encrypted_type', name='luks', cipher='aes-xts-plain64', bits=256)
    first = cinder.call('key_for_a_volume', who=owner, volume_type=kind)
    passphrase = cinder.call('passphrase', who=owner, key_id=first)
    volume = cinder.call('add_volume', who=owner, volume_type=kind, key_id=first)
    cinder.call('hand_over', who=owner, volume=volume)
    between, of_snapshot = cinder.call('volume_keys', volume=volume)
    assert between == of_snapshot != first
    with pytest.raises(ServiceError, match='Forbidden'):
        cinder.call('passphrase', who=owner, key_id=between)
    cinder.call('take_over', who=stranger, volume=volume)
    last, of_snapshot = cinder.call('volume_keys', volume=volume)
    assert last == of_snapshot != between
    assert cinder.call('passphrase', who=stranger, key_id=last) == passphrase
    for key in [first, between]:
        with pytest.raises(ServiceError, match='NotFound'):
            cinder.call('passphrase', who=owner, key_id=key)
    cinder.call('delete_key', who=stranger, key_id=last)


# Nova


@pytest.fixture
def nova(manager, tmp_path):
    sections = {
        'DEFAULT': {'state_path': tmp_path, 'transport_url': 'fake://'},
        'database': {'connection': f'sqlite:///{tmp_path}/nova.db'},
    } | castellan(manager.keystone)
    with Service('call_nova', tmp_path, sections) as nova:
        yield nova


def test_secrets_of_emulated_tpms(manager, nova, owner, stranger):
    client = manager.barbican()
    server = nova.call('new_server', who=owner)
    identity, secret = nova.call('vtpm', who=owner, server=server)
    assert client.secrets.get(identity).secret_type == 'passphrase'
    # From then on the one that is there.
    assert nova.call('vtpm', who=owner, server=server)[0] == identity
    assert base64.b64encode(client.secrets.get(identity).payload).decode() == secret
    # Nova tells a refusal by a word in the message.
    with pytest.raises(ServiceError, match='VTPMSecretForbidden'):
        nova.call('vtpm', who=stranger, server=server, owner=owner)
    client.secrets.delete(identity)
    with pytest.raises(ServiceError, match='NotFound'):
        nova.call('vtpm', who=owner, server=server)
    nova.call('drop_vtpm', who=owner, server=server)
    other, _ = nova.call('vtpm', who=owner, server=server)
    assert other != identity
    nova.call('drop_vtpm', who=owner, server=server)
    assert client.secrets.list() == []


def test_secrets_of_encrypted_local_disks(manager, nova, owner):
    client = manager.barbican()
    server = nova.call('new_server', who=owner)
    identity, secret = nova.call('new_disk', who=owner, server=server)
    assert client.secrets.get(identity).payload == secret
    assert nova.call('open_disk', who=owner, secret=identity) == secret
    for _ in range(2):
        nova.call('drop_disk', who=owner, server=server, secret=identity)
    assert nova.call('open_disk', who=owner, secret=identity) is None
    assert client.secrets.list() == []
