"""Keys of users, projects and domains, and the trusts of a real Keystone by which services reach them."""

import secrets
import time

import pytest
import requests

from support.identity import DOMAIN, project_scope, trust_scope
from support.native import Keys, encoded, expect, new_id, random_key, refused
from support.servers import wait_until

CACHE_SECONDS = 1
#: Above what the cache allows, for the machine's own slowness.
SLACK_SECONDS = 3


@pytest.fixture
def keystone_keys(keystone, chatelaine):
    """The keys of the identity service."""
    return Keys(chatelaine.url, keystone.token('identity', 'service'))


class Customer:
    """A user with a project in a domain of their own, whose keys the identity service has put."""

    def __init__(self, keystone, keys: Keys):
        identity, name = keystone.identity, f'customer-{secrets.token_hex(6)}'
        self._keystone = keystone
        self.user = identity.create_user(name)
        self.domain = identity.create_domain(name)
        self.project = identity.create_project(name, self.domain)
        identity.grant(self.user, keystone.roles['member'], f'/projects/{self.project}')
        self.ids = {'user': self.user.id, 'project': self.project, 'domain': self.domain}
        self.key_ids = {scope: new_id() for scope in self.ids}
        self.keys = {scope: random_key() for scope in self.ids}
        for scope, of in self.ids.items():
            answer = keys.put(self.key_ids[scope], self.keys[scope], scope=scope, scope_id=of)
            assert expect(answer, 201)['scope_id'] == of

    def trust(self, trustee: str, impersonation: bool, **more) -> str:
        keystone = self._keystone
        trustee = keystone.users[trustee]
        return keystone.identity.create_trust(self.user, trustee, self.project, 'member', impersonation, **more)

    def token(self, trust: str, trustee: str = 'cinder', url=None):
        return self._keystone.identity.token(self._keystone.users[trustee], trust_scope(trust), url)


@pytest.fixture
def customer(keystone, keystone_keys):
    return Customer(keystone, keystone_keys)


@pytest.fixture
def by_trust(keystone, chatelaine, customer):
    """Cinder with the token of a trust of the customer's, and its own."""

    def make(impersonation: bool, url: str | None = None, **more) -> Keys:
        token = customer.token(customer.trust('cinder', impersonation, **more))
        return Keys(url or chatelaine.url, token, service=keystone.token('cinder', 'service'))

    return make


def all_ways(keys: Keys, customer: Customer, scope: str) -> list[requests.Response]:
    """Every route by which a key could be read."""
    key_id = customer.key_ids[scope]
    return [keys.scope_key(scope, customer.ids[scope]), keys.get(key_id), keys.metadata(key_id)]


def opens(keys: Keys, customer: Customer, scope: str) -> None:
    newest, got, metadata = (expect(answer, 200) for answer in all_ways(keys, customer, scope))
    assert newest['key_string'] == got['key_string'] == encoded(customer.keys[scope])
    assert 'key_string' not in metadata and metadata['id'] == newest['id'] == customer.key_ids[scope]


def stays_shut(keys: Keys, customer: Customer, scope: str, status: int) -> None:
    """Refused, and in the same words for a customer and key that do not exist."""
    told = [refused(answer, status) for answer in all_ways(keys, customer, scope)]
    unknown, strange = new_id(), secrets.token_hex(16)
    none = [keys.scope_key(scope, strange), keys.get(unknown), keys.metadata(unknown)]
    for error, answer in zip(told, none, strict=True):
        other = refused(answer, status)
        for word, stands_for in [(unknown, customer.key_ids[scope]), (strange, customer.ids[scope])]:
            other['message'] = other['message'].replace(word, stands_for)
        assert other['message'] == error['message']


SCOPES = ['user', 'project', 'domain']


@pytest.mark.parametrize('impersonation', [True, False])
@pytest.mark.parametrize('scope', SCOPES)
def test_a_trust_opens_what_it_speaks_for(keystone, chatelaine, customer, by_trust, scope, impersonation):
    keys = by_trust(impersonation)
    opens(keys, customer, scope)
    answer = keys.scope_key(scope, customer.ids[scope])
    (line,) = chatelaine.audit_of(answer.headers['X-Openstack-Request-Id'])
    cinder = keystone.users['cinder'].id
    who = line['initiator']
    assert who['id'] == (customer.user.id if impersonation else cinder)
    assert who['service_id'] == cinder
    assert who['trust']['trustor_id'] == customer.user.id and who['trust']['trustee_id'] == cinder
    assert who['trust']['id']
    assert line['target']['id'] == customer.key_ids[scope]
    assert (line['action'], line['outcome']) == ('read/key_material', 'success')
    # It reads, and does nothing else.
    for answer in [
        keys.delete(customer.key_ids[scope]),
        keys.revoke(customer.key_ids[scope], 'superseded'),
        keys.update(customer.key_ids[scope], '"1"', name='mine'),
        keys.call('GET', '/v1/scope-keys'),
        keys.call('GET', '/v1/keys'),
        keys.put(new_id(), random_key(), scope=scope, scope_id=customer.ids[scope]),
    ]:
        refused(answer, 403)


@pytest.mark.parametrize('impersonation', [True, False])
@pytest.mark.parametrize('scope', SCOPES)
def test_half_of_it_opens_nothing(keystone, chatelaine, customer, scope, impersonation):
    token = customer.token(customer.trust('cinder', impersonation))
    own = keystone.token('cinder', 'service')
    # The token of the trust, stolen.
    stays_shut(Keys(chatelaine.url, token), customer, scope, 403)
    # With another service's, or one that is none's.
    stays_shut(Keys(chatelaine.url, token, service=keystone.token('swift', 'service')), customer, scope, 403)
    stays_shut(Keys(chatelaine.url, token, service=keystone.token('computenode', 'service')), customer, scope, 403)
    for answer in all_ways(Keys(chatelaine.url, token, service=keystone.token('demo', 'demo')), customer, scope):
        refused(answer, 401)
    # The service's own, stolen.
    stays_shut(Keys(chatelaine.url, own), customer, scope, 404)
    stays_shut(Keys(chatelaine.url, own, service=own), customer, scope, 404)
    # The customer in person, with a service that vouches.
    person = keystone.identity.token(customer.user, project_scope(customer.project))
    stays_shut(Keys(chatelaine.url, person), customer, scope, 403)
    stays_shut(Keys(chatelaine.url, person, service=own), customer, scope, 403)


@pytest.mark.parametrize('impersonation', [True, False])
def test_a_trust_of_somebody_else_opens_nothing(keystone, chatelaine, keystone_keys, customer, impersonation):
    other = Customer(keystone, keystone_keys)
    token = other.token(other.trust('cinder', impersonation))
    keys = Keys(chatelaine.url, token, service=keystone.token('cinder', 'service'))
    for scope in SCOPES:
        opens(keys, other, scope)
        stays_shut(keys, customer, scope, 404)


def test_each_scope_takes_its_own(keystone, chatelaine, customer, by_trust):
    """Another project of the same domain and user: the project's key stays shut, the others open."""
    identity = keystone.identity
    second = identity.create_project(f'second-{secrets.token_hex(6)}', customer.domain)
    third = identity.create_project(f'third-{secrets.token_hex(6)}')
    cinder, own = keystone.users['cinder'], keystone.token('cinder', 'service')
    for project, shut in [(second, {'project'}), (third, {'project', 'domain'})]:
        identity.grant(customer.user, keystone.roles['member'], f'/projects/{project}')
        trust = identity.create_trust(customer.user, cinder, project, 'member', True)
        keys = Keys(chatelaine.url, identity.token(cinder, trust_scope(trust)), service=own)
        for scope in SCOPES:
            if scope in shut:
                stays_shut(keys, customer, scope, 404)
            else:
                opens(keys, customer, scope)
    # A key of the service's own does not become a customer's by a trust.
    cinder_keys, key_id = Keys(chatelaine.url, own), new_id()
    expect(cinder_keys.put(key_id, random_key()), 201)
    refused(by_trust(True).get(key_id), 404)
    expect(cinder_keys.get(key_id), 200)


@pytest.mark.parametrize('impersonation', [True, False])
def test_a_revoked_trust_ends_within_the_cache_time(keystone, own_chatelaine, impersonation):
    chatelaine = own_chatelaine({'identity.keystone': {'cache_seconds': CACHE_SECONDS, 'negative_cache_seconds': 0}})
    customer = Customer(keystone, Keys(chatelaine.url, keystone.token('identity', 'service')))
    trust = customer.trust('cinder', impersonation)
    token, own = customer.token(trust), keystone.token('cinder', 'service')
    keys = Keys(chatelaine.url, token, service=own)
    opens(keys, customer, 'project')
    keystone.identity.delete_trust(trust, customer.user)
    start = time.monotonic()
    newest = lambda: keys.scope_key('project', customer.project).status_code == 401  # noqa: E731
    wait_until('401', newest, CACHE_SECONDS + SLACK_SECONDS)
    assert time.monotonic() - start < CACHE_SECONDS + SLACK_SECONDS
    for answer in all_ways(keys, customer, 'project'):
        refused(answer, 401)


@pytest.mark.parametrize('impersonation', [True, False])
def test_an_expired_trust_ends(keystone, own_chatelaine, impersonation):
    chatelaine = own_chatelaine({'identity.keystone': {'cache_seconds': 300}})
    customer = Customer(keystone, Keys(chatelaine.url, keystone.token('identity', 'service')))
    trust = customer.trust('cinder', impersonation, seconds=6)
    keys = Keys(chatelaine.url, customer.token(trust), service=keystone.token('cinder', 'service'))
    opens(keys, customer, 'project')
    newest = lambda: keys.scope_key('project', customer.project).status_code  # noqa: E731
    # Its end is the end of its tokens, however long they would be believed.
    wait_until('its end', lambda: newest() != 200, 6 + SLACK_SECONDS)
    for answer in all_ways(keys, customer, 'project'):
        assert answer.status_code in (401, 403), answer.text


def test_an_expired_token_of_a_trust_opens_nothing(keystone, short_lived, chatelaine, customer):
    """A service's token lets an expired one of a user pass elsewhere, and not here."""
    token = customer.token(customer.trust('cinder', True), url=short_lived)
    keys = Keys(chatelaine.url, token, service=keystone.token('cinder', 'service'))
    opens(keys, customer, 'project')
    wait_until('the end of the token', lambda: not keystone.identity.is_valid(token), seconds=10)
    for answer in all_ways(keys, customer, 'project'):
        assert answer.status_code in (401, 403), answer.text


def test_a_trust_that_was_passed_on(keystone, chatelaine, customer):
    """To swift by cinder, both in the customer's name: swift's own token is what counts now."""
    trust = customer.trust('cinder', True, redelegations=1)
    first = customer.token(trust)
    second = keystone.identity.redelegate(first, trust, keystone.users['swift'], 'member')
    token = customer.token(second, 'swift')
    swift, cinder = keystone.token('swift', 'service'), keystone.token('cinder', 'service')
    keys = Keys(chatelaine.url, token, service=swift)
    for scope in SCOPES:
        opens(keys, customer, scope)
        stays_shut(Keys(chatelaine.url, token, service=cinder), customer, scope, 403)
        stays_shut(Keys(chatelaine.url, first, service=swift), customer, scope, 403)


def test_a_trust_passed_on_in_the_services_own_name_speaks_for_no_user(keystone, chatelaine, customer):
    """Then the trustor is the service that passed it on; Keystone gives a token only if it has the role itself."""
    trust = customer.trust('cinder', False, redelegations=1)
    second = keystone.identity.redelegate(customer.token(trust), trust, keystone.users['swift'], 'member')
    with pytest.raises(AssertionError, match='403'):
        customer.token(second, 'swift')
    place = f'/projects/{customer.project}'
    keystone.identity.grant(keystone.users['cinder'], keystone.roles['member'], place)
    keys = Keys(chatelaine.url, customer.token(second, 'swift'), service=keystone.token('swift', 'service'))
    for scope in ['project', 'domain']:
        opens(keys, customer, scope)
    stays_shut(keys, customer, 'user', 404)


def test_keys_are_rotated_and_destroyed(keystone, chatelaine, keystone_keys, customer, by_trust):
    keys, project = by_trust(True), customer.project
    old = customer.key_ids['project']
    new, key = new_id(), random_key()
    expect(keystone_keys.put(new, key, scope='project', scope_id=project), 201)
    assert expect(keys.scope_key('project', project), 200)['key_string'] == encoded(key)
    # The older one still opens what is there.
    assert expect(keys.get(old), 200)['key_string'] == encoded(customer.keys['project'])
    listed = expect(keystone_keys.call('GET', f'/v1/scope-keys?scope=project&scope_id={project}'), 200)
    assert [entry['id'] for entry in listed['keys']] == [old, new]

    # The catalogue may name another server by now.
    here = {'CHATELAINE_ENDPOINT': chatelaine.url}
    environment = keystone.environment(keystone.users['identity'], 'service') | here
    shown = chatelaine.cli('--format', 'json', 'scope-key', 'show', '--project', project, environment=environment)
    assert new in shown.stdout.decode()
    done = chatelaine.cli('scope-key', 'destroy', '--project', project, '--yes', environment=environment)
    assert old in done.stdout.decode() and 'CAN BE UNDELETED UNTIL' in done.stdout.decode()
    refused(keys.scope_key('project', project), 404)
    for gone in [old, new]:
        refused(keys.get(gone), 404)
        refused(keys.undelete(gone), 403)
    chatelaine.cli('key', 'undelete', new, environment=environment)
    assert expect(keys.scope_key('project', project), 200)['id'] == new
    # Whose credentials are no identity service's lists and destroys nothing.
    stranger = keystone.environment(keystone.users['cinder'], 'service') | here
    denied = chatelaine.cli('scope-key', 'destroy', '--project', project, '--yes', environment=stranger, expected=4)
    assert b'identity_service' in denied.stderr
    expect(keys.scope_key('project', project), 200)


def test_who_puts_them(keystone, chatelaine, cinder):
    for scope in SCOPES:
        refused(cinder.put(new_id(), random_key(), scope=scope, scope_id=DOMAIN), 403)
    refused(cinder.call('GET', '/v1/scope-keys'), 403)


def test_rules_narrow_what_a_trust_opens(keystone, own_chatelaine, tmp_path):
    policy = tmp_path / 'policy.yaml'
    policy.write_text('"scope_key:get": "rule:service_caller and \'project\':%(target.scope_key.scope)s"\n')
    chatelaine = own_chatelaine({'policy': {'file': str(policy)}})
    customer = Customer(keystone, Keys(chatelaine.url, keystone.token('identity', 'service')))
    token = customer.token(customer.trust('cinder', True))
    keys = Keys(chatelaine.url, token, service=keystone.token('cinder', 'service'))
    opens(keys, customer, 'project')
    for scope in ['user', 'domain']:
        stays_shut(keys, customer, scope, 404)
