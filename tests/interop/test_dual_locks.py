"""Data keys that need the customer's key and the service's: agents, trusts of a real Keystone, and what each of them is needed for."""

import secrets
import shutil
import time

import pytest

from support.agent import Agent, keystone_settings
from support.native import Keys, expect
from support.servers import wait_until

KEEP_SECONDS = 1
#: The key manager believes a token so long, and the agent a key.
BOUND_SECONDS = 20


class Customer:
    """A user with a project in a domain of their own."""

    def __init__(self, keystone):
        identity, name = keystone.identity, f'customer-{secrets.token_hex(6)}'
        self._keystone = keystone
        self.user = identity.create_user(name)
        self.domain = identity.create_domain(name)
        self.project = identity.create_project(name, self.domain)
        identity.grant(self.user, keystone.roles['member'], f'/projects/{self.project}')
        self.ids = {'user': self.user.id, 'project': self.project, 'domain': self.domain}

    def trust(self, service: str, **more) -> str:
        keystone = self._keystone
        return keystone.identity.create_trust(
            self.user, keystone.users[service], self.project, 'member', more.pop('impersonation', False), **more
        )


@pytest.fixture
def house(keystone, own_chatelaine, tmp_path):
    """A key manager, the identity service's agent, and Cinder's, which was given the identity service's master key."""
    made = []

    def agent(service: str, *settings: str) -> Agent:
        folder = tmp_path / service
        folder.mkdir()
        settings = (*keystone_settings(folder, keystone, server.url, service), *settings)
        made.append(Agent(folder, f'agent.keep_seconds={KEEP_SECONDS}', *settings, name=service))
        return made[-1]

    server = own_chatelaine({'identity.keystone': {'cache_seconds': 1, 'negative_cache_seconds': 1}})
    identity = agent('identity').init().start()
    cinder = agent('cinder').init()
    # A copy; between hosts with TPMs the transfer is attested.
    keyring = tmp_path / 'keyring-identity'
    keyring.mkdir(mode=0o700)
    shutil.copy(identity.data / 'sealed-keys.json', keyring / 'sealed-keys.json')
    (keyring / 'sealed-keys.json').chmod(0o600)
    yield server, identity, cinder, agent, keyring / 'sealed-keys.json'
    for one in made:
        one.remove()


def scope_key(identity: Agent, scope: str, of: str) -> str:
    code, printed = identity.cli('scope-key', 'create', f'--{scope}', of)
    assert code == 0, printed
    return printed['id']


def with_keyring(identity: Agent, cinder: Agent, document) -> Agent:
    """Cinder's agent with the identity service's master keys beside its own."""
    # Both are sealed by the same sealing key, as two agents of one host with one TPM would be.
    cinder.close()
    for name in ('sealed-keys.json', 'sealing-key'):
        path = cinder.data / name
        if path.exists():
            path.unlink()
    shutil.copy(identity.data / 'sealing-key', cinder.data / 'sealing-key')
    (cinder.data / 'sealing-key').chmod(0o600)
    code, printed = cinder.cli('agent', 'init')
    assert code == 0, printed
    cinder.reconfigure(f'agent.keyrings.identity={document}')
    cinder.start()
    wait_until('the keyring', lambda: 'identity' in cinder.status()['other_keyrings'], 30)
    return cinder


@pytest.mark.parametrize('lock', ['dual', 'compound'])
@pytest.mark.parametrize('scope', ['user', 'project', 'domain'])
def test_it_takes_the_trust_the_customers_key_and_both_master_keys(house, keystone, lock, scope):
    """T-DUAL-LOCK: each of the four is needed; what is missing is told in words."""
    server, identity, cinder, _, document = house
    customer = Customer(keystone)
    of = customer.ids[scope]
    cinder.start()
    wanted = {'lock': lock, 'scope': scope, 'scope_id': of}
    client = cinder.socket()
    answer = client.create(**wanted)
    assert answer.status == 403 and 'trust' in answer.message, 'nobody has delegated'
    trust = customer.trust('cinder', impersonation=lock == 'dual')
    wait_until('the trust to be seen', lambda: 'trusts were tried' in client.create(**wanted).message, BOUND_SECONDS)
    key_of_customer = scope_key(identity, scope, of)
    # The trust reaches the key, but the identity service's master key is not here.
    wait_until('the key to be seen', lambda: 'master key' in client.create(**wanted).message, BOUND_SECONDS)
    cinder = with_keyring(identity, cinder, document)
    client = cinder.socket()
    wait_until('all of it', lambda: client.create(**wanted).status == 201, BOUND_SECONDS)
    key_id, key = client.made(**wanted)
    hint = f'?scope={scope}&scope_id={of}'
    time.sleep(KEEP_SECONDS + 0.1)
    assert client.key(key_id, hint) == key
    time.sleep(KEEP_SECONDS + 0.1)
    # The service need not know whose it is.
    assert client.key(key_id) == key
    # Neither the key nor the customer is named beside the data key but in the envelope, which the key manager keeps.
    shown = client.call('GET', f'/v1/keys/{key_id}/metadata').body.decode()
    assert key_of_customer not in shown and of not in shown
    # Without the trust.
    keystone.identity.delete_trust(trust, customer.user)
    wait_until('the end of the trust', lambda: client.get(key_id, query=hint).status == 403, BOUND_SECONDS)
    assert 'trust' in client.get(key_id, query=hint).message
    customer.trust('cinder')
    wait_until('the new trust', lambda: client.get(key_id, query=hint).status == 200, BOUND_SECONDS)
    assert client.key(key_id, hint) == key
    # Without the customer's key: its end is the end of everything under it.
    code, printed = identity.cli('agent', 'status')
    assert code == 0, printed
    keys = Keys(server.url, keystone.token('identity', 'service'))
    expect(keys.delete(key_of_customer), 204)
    wait_until('the shredding', lambda: client.get(key_id, query=hint).status == 403, BOUND_SECONDS)
    assert client.create(**wanted).status == 403


def test_another_services_master_key_does_not_open_it(house, keystone):
    """T-DUAL-LOCK: with the trust, the customer's key and the identity service's master key, but not its own."""
    server, identity, cinder, agent, document = house
    customer = Customer(keystone)
    customer.trust('cinder')
    scope_key(identity, 'project', customer.project)
    cinder = with_keyring(identity, cinder, document)
    wanted = {'lock': 'dual', 'scope': 'project', 'scope_id': customer.project}
    client = cinder.socket()
    wait_until('all of it', lambda: client.create(**wanted).status == 201, BOUND_SECONDS)
    key_id, key = client.made(**wanted)
    assert client.key(key_id) == key
    cinder.close()
    (cinder.data / 'sealed-keys.json').rename(cinder.data / 'away.json')
    code, printed = cinder.cli('agent', 'init')
    assert code == 0, printed
    cinder.start()
    wait_until('the keyring', lambda: 'identity' in cinder.status()['other_keyrings'], 30)
    answer = cinder.socket().get(key_id)
    assert answer.status == 403 and 'master key' in answer.message, answer.body


def test_a_newer_key_of_the_customer_is_used_and_the_older_one_opens(house, keystone):
    server, identity, cinder, _, document = house
    customer = Customer(keystone)
    customer.trust('cinder')
    scope_key(identity, 'project', customer.project)
    cinder = with_keyring(identity, cinder, document)
    wanted = {'lock': 'compound', 'scope': 'project', 'scope_id': customer.project}
    client = cinder.socket()
    wait_until('all of it', lambda: client.create(**wanted).status == 201, BOUND_SECONDS)
    old, old_key = client.made(**wanted)
    scope_key(identity, 'project', customer.project)
    time.sleep(KEEP_SECONDS + 0.1)
    new, new_key = client.made(**wanted)
    time.sleep(KEEP_SECONDS + 0.1)
    assert client.key(old) == old_key and client.key(new) == new_key
    # A rotation of the service's master key needs no customer's key, and leaves the keys what they are.
    code, printed = cinder.cli('agent', 'rotate')
    assert code == 0 and printed['rotation']['failed'] == 0, printed
    time.sleep(KEEP_SECONDS + 0.1)
    assert client.key(old) == old_key and client.key(new) == new_key


def test_services_that_are_not_the_identity_service_put_no_customers_keys(house, keystone):
    _, _, cinder, _, _ = house
    customer = Customer(keystone)
    cinder.start()
    code, printed = cinder.cli('scope-key', 'create', '--project', customer.project)
    assert code != 0, printed
