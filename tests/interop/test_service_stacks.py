"""Heat's resources of the key manager, in real stacks of Heat's engine, with a real Barbican and with ours."""

import base64
import secrets

import pytest
from barbicanclient import exceptions as barbican_exceptions
from cryptography.hazmat.primitives import serialization

from support.key_manager import FUTURE, USER
from support.keystone import REGION
from support.services import Service, ServiceError, caller, credentials

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)

BINARY = secrets.token_bytes(32)
RESOURCES = {
    'text': {
        'type': 'OS::Barbican::Secret',
        'properties': {'name': 'text', 'payload': 'geheim', 'payload_content_type': 'text/plain'},
    },
    'binary': {
        'type': 'OS::Barbican::Secret',
        'properties': {
            'name': 'binary',
            'payload': base64.b64encode(BINARY).decode(),
            'payload_content_type': 'application/octet-stream',
            'payload_content_encoding': 'base64',
            'secret_type': 'symmetric',
            'algorithm': 'aes',
            'bit_length': 256,
            'mode': 'cbc',
            'expiration': FUTURE,
        },
    },
    'key': {
        'type': 'OS::Barbican::Order',
        'properties': {
            'type': 'key',
            'name': 'key',
            'algorithm': 'aes',
            'bit_length': 256,
            'mode': 'cbc',
            'payload_content_type': 'application/octet-stream',
        },
    },
    'pair': {
        'type': 'OS::Barbican::Order',
        'properties': {'type': 'asymmetric', 'name': 'pair', 'algorithm': 'rsa', 'bit_length': 2048},
    },
    'box': {
        'type': 'OS::Barbican::GenericContainer',
        'properties': {
            'name': 'box',
            'secrets': [
                {'name': 'first', 'ref': {'get_resource': 'text'}},
                {'name': 'second', 'ref': {'get_attr': ['key', 'secret_ref']}},
            ],
        },
    },
    'rsa': {
        'type': 'OS::Barbican::RSAContainer',
        'properties': {
            'name': 'rsa',
            'private_key_ref': {'get_resource': 'text'},
            'public_key_ref': {'get_resource': 'binary'},
        },
    },
    'certificate': {
        'type': 'OS::Barbican::CertificateContainer',
        'properties': {
            'name': 'certificate',
            'certificate_ref': {'get_resource': 'text'},
            'private_key_ref': {'get_resource': 'binary'},
        },
    },
}
OUTPUTS = {
    'payload': ['text', 'decrypted_payload'],
    'bytes': ['binary', 'decrypted_payload'],
    'secret_status': ['text', 'status'],
    'order_status': ['key', 'status'],
    'order_ref': ['key', 'order_ref'],
    'secret_ref': ['key', 'secret_ref'],
    'public_key': ['pair', 'public_key'],
    'private_key': ['pair', 'private_key'],
    'box_ref': ['box', 'container_ref'],
    'box_status': ['box', 'status'],
    'box_refs': ['box', 'secret_refs'],
    'box_consumers': ['box', 'consumers'],
    'rsa_refs': ['rsa', 'secret_refs'],
    'certificate_refs': ['certificate', 'secret_refs'],
}


def template(resources: dict, outputs: dict) -> dict:
    return {
        'heat_template_version': '2018-08-31',
        'resources': resources,
        'outputs': {name: {'value': {'get_attr': path}} for name, path in outputs.items()},
    }


@pytest.fixture
def heat(manager, tmp_path):
    user = manager.keystone.new_user(('service', 'service'))
    sections = {
        'DEFAULT': {
            'transport_url': 'fake://',
            'region_name_for_services': REGION,
            'auth_encryption_key': secrets.token_hex(16),
        },
        'database': {'connection': f'sqlite:///{tmp_path}/heat.db'},
        'clients_keystone': {'auth_uri': manager.keystone.url},
        'trustee': credentials(manager.keystone, user),
    }
    for name in ['project_name', 'project_domain_name', 'region_name']:
        del sections['trustee'][name]
    with Service('call_heat', tmp_path, sections) as heat:
        yield heat


@pytest.fixture
def owner(manager):
    token = manager.keystone.token(USER, manager.project)
    return caller(token) | {
        'auth_token_info': {'token': token.details},
        'auth_url': manager.keystone.url,
        'username': USER,
        'region_name': REGION,
    }


def test_a_stack_with_every_resource(manager, heat, owner):
    client = manager.barbican()
    made = heat.call('create', who=owner, name='keys', definition=template(RESOURCES, OUTPUTS))
    assert made['state'] == ['CREATE', 'COMPLETE'], made['reason']
    outputs, ids = made['outputs'], made['resources']
    assert (outputs['payload'], base64.b64decode(outputs['bytes'])) == ('geheim', BINARY)
    assert [outputs[f'{one}_status'] for one in ['secret', 'order', 'box']] == ['ACTIVE'] * 3
    assert (outputs['order_ref'], outputs['box_ref']) == (ids['key'], ids['box'])
    assert len(client.secrets.get(outputs['secret_ref']).payload) == 32
    private, public = (base64.b64decode(outputs[name]) for name in ['private_key', 'public_key'])
    loaded = serialization.load_pem_private_key(private, None).public_key()
    assert loaded.public_numbers() == serialization.load_pem_public_key(public).public_numbers()
    assert outputs['box_refs'] == {'first': ids['text'], 'second': outputs['secret_ref']}
    assert outputs['box_consumers'] == []
    assert outputs['rsa_refs'] == {'private_key': ids['text'], 'public_key': ids['binary']}
    assert outputs['certificate_refs'] == {'certificate': ids['text'], 'private_key': ids['binary']}
    stored = client.secrets.get(ids['binary'])
    assert (stored.algorithm, stored.bit_length, stored.mode, stored.secret_type) == ('aes', 256, 'cbc', 'symmetric')
    # Loaded anew from Heat's database, all is asked of the key manager again.
    assert heat.call('show', who=owner, identity=made['id'])['outputs'] == outputs
    assert heat.call('delete', who=owner, identity=made['id'])['state'] == ['DELETE', 'COMPLETE']
    # What orders have made is not Heat's.
    assert sorted(secret.name for secret in client.secrets.list()) == ['key', 'pair', 'pair']
    assert client.orders.list() == []
    for name in ['text', 'binary']:
        with pytest.raises(barbican_exceptions.HTTPClientError):
            client.secrets.get(ids[name]).status  # noqa: B018


def test_a_stack_with_an_absent_secret(manager, heat, owner):
    """Heat asks for each reference before it begins; 404 makes it say what is wrong."""
    client = manager.barbican()
    reference = client.secrets.create(name='absent', payload='x').store()
    client.secrets.delete(reference)
    box = RESOURCES['box'] | {'properties': {'name': 'box', 'secrets': [{'name': 'first', 'ref': reference}]}}
    with pytest.raises(ServiceError, match='StackValidationFailed.*could not be found'):
        heat.call('create', who=owner, name='keys', definition=template({'box': box}, {}))
    assert client.containers.list() == []
