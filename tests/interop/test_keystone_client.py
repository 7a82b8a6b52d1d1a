"""The server's client of Keystone against a real one: every kind of token, every way it ends, every outage."""

import base64
import contextlib
import dataclasses
import datetime
import time

import pytest

from support.identity import DOMAIN, DOMAIN_SCOPE, SYSTEM, UNSCOPED, project_scope, trust_scope
from support.probe import Probe
from support.servers import free_port, wait_until


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('probe')


@pytest.fixture
def asker(keystone, folder):
    """Gives a client that asks as one of the users, in the project `service` unless another is named."""
    with contextlib.ExitStack() as stack:

        def connect(user='chatelaine', project='service', url=None, timeout=None):
            user = keystone.users[user] if isinstance(user, str) else user
            environment = keystone.environment(user, project, url)
            return stack.enter_context(Probe(environment, folder, timeout=timeout))

        yield connect


@pytest.fixture
def probe(asker):
    return asker()


# What valid tokens say


def test_project_token(keystone, probe):
    token = keystone.token('demo', 'demo')
    answer = probe.validate(token)
    assert answer['user'] == {'id': keystone.users['demo'].id, 'name': 'demo', 'domain': DOMAIN}
    assert answer['scope'] == {
        'kind': 'project',
        'id': keystone.projects['demo'],
        'name': 'demo',
        'domain': DOMAIN,
    }
    assert sorted(answer['roles']) == ['member', 'reader']
    assert answer['methods'] == ['password']
    assert datetime.datetime.fromisoformat(answer['expires_at']) == token.expires_at
    assert answer['trust'] is None
    assert answer['application_credential'] is None


def test_a_service_role_of_a_service_user(keystone, probe):
    answer = probe.validate(keystone.token('computenode', 'service'))
    assert sorted(answer['roles']) == ['compute', 'service']


def test_system_token(keystone, probe):
    token = keystone.identity.token(keystone.users['auditor'], SYSTEM)
    answer = probe.validate(token)
    assert answer['scope'] == {'kind': 'system'}
    assert answer['roles'] == ['reader']


def test_domain_token(keystone, probe):
    token = keystone.identity.token(keystone.users['demo'], DOMAIN_SCOPE)
    assert probe.validate(token)['scope'] == {'kind': 'domain', 'id': DOMAIN, 'name': 'Default'}


def test_unscoped_token(keystone, probe):
    answer = probe.validate(keystone.identity.token(keystone.users['demo'], UNSCOPED))
    assert answer['scope'] == {'kind': 'unscoped'}
    assert answer['roles'] == []


def test_a_token_made_from_a_token(keystone, probe):
    first = keystone.identity.token(keystone.users['demo'], UNSCOPED)
    proof = {'methods': ['token'], 'token': {'id': first.value}}
    token = keystone.identity.authenticate(proof, project_scope(keystone.projects['alt_demo']))
    answer = probe.validate(token)
    assert answer['scope']['name'] == 'alt_demo'
    assert 'token' in answer['methods']
    assert datetime.datetime.fromisoformat(answer['expires_at']) == first.expires_at


# Trusts


@pytest.mark.parametrize('impersonation', [True, False])
def test_trust_token(keystone, probe, impersonation):
    demo, cinder = keystone.users['demo'], keystone.users['cinder']
    project = keystone.projects['demo']
    trust = keystone.identity.create_trust(demo, cinder, project, 'member', impersonation)
    token = keystone.identity.token(cinder, trust_scope(trust))
    answer = probe.validate(token)
    expected = {'id': trust, 'impersonation': impersonation, 'trustor': demo.id, 'trustee': cinder.id}
    assert answer['trust'] == expected
    assert answer['user']['id'] == (demo.id if impersonation else cinder.id)
    assert answer['scope']['id'] == project
    assert sorted(answer['roles']) == ['member', 'reader']
    keystone.identity.delete_trust(trust, demo)
    assert probe.validate(token)['error'] == 'NotValid'


def test_a_trust_by_variables_and_no_exchange(keystone, folder):
    demo, cinder = keystone.users['demo'], keystone.users['cinder']
    trust = keystone.identity.create_trust(demo, cinder, keystone.projects['demo'], 'member', True)
    environment = keystone.environment(cinder, 'service')
    scope = {'OS_TRUST_ID': trust, 'OS_PROJECT_NAME': '', 'OS_PROJECT_DOMAIN_NAME': ''}
    with Probe(environment | scope, folder) as probe:
        answer = probe.authenticate()
        assert answer['trust']['id'] == trust
        assert answer['user']['id'] == demo.id
    token = keystone.identity.token(cinder, trust_scope(trust))
    exchange = {
        'OS_AUTH_TYPE': 'v3token',
        'OS_AUTH_URL': keystone.url,
        'OS_TOKEN': token.value,
        'OS_PROJECT_ID': keystone.projects['demo'],
    }
    with Probe(exchange, folder) as probe:
        assert probe.authenticate()['error'] == 'NotAllowed'


# Application credentials


def test_application_credential(keystone, probe):
    demo, project = keystone.users['demo'], keystone.projects['demo']
    credential = keystone.identity.create_application_credential(demo, project)
    token = keystone.identity.authenticate(credential.proof())
    answer = probe.validate(token, method='DELETE', path='/v1/keys/x')
    assert answer['application_credential'] == {'id': credential.id, 'restricted': True, 'rules': None}
    assert answer['user']['id'] == demo.id
    assert answer['methods'] == ['application_credential']
    assert answer['permitted']
    keystone.identity.delete_application_credential(credential, demo, project)
    assert probe.validate(token)['error'] == 'NotValid'


def test_access_rules(keystone, probe):
    demo, project = keystone.users['demo'], keystone.projects['demo']
    rules = [('key-manager', 'GET', '/v1/keys/**'), ('volume', 'DELETE', '/v1/keys/**')]
    credential = keystone.identity.create_application_credential(demo, project, rules, unrestricted=True)
    token = keystone.identity.authenticate(credential.proof())
    answer = probe.validate(token, method='GET', path='/v1/keys/abc/metadata')
    assert answer['application_credential'] == {'id': credential.id, 'restricted': False, 'rules': 2}
    assert answer['permitted']
    for method, path in [('POST', '/v1/keys/abc'), ('DELETE', '/v1/keys/abc'), ('GET', '/v1/keys')]:
        assert probe.validate(token, method=method, path=path)['permitted'] is False, (method, path)


# How tokens end


def test_revoked_token(keystone, probe):
    token = keystone.token('demo', 'demo')
    assert 'error' not in probe.validate(token)
    keystone.identity.revoke(token)
    assert probe.validate(token)['error'] == 'NotValid'
    assert probe.validate(token, allow_expired=True)['error'] == 'NotValid'


def test_expired_token(keystone, short_lived, probe):
    token = keystone.token('demo', 'demo', short_lived)
    assert 'error' not in probe.validate(token)
    wait_until('the end of the token', lambda: not keystone.identity.is_valid(token), seconds=10)
    assert probe.validate(token)['error'] == 'NotValid'
    answer = probe.validate(token, allow_expired=True)
    assert answer['user']['name'] == 'demo'
    assert datetime.datetime.fromisoformat(answer['expires_at']) <= datetime.datetime.now(datetime.UTC)


def user_disabled(keystone, user):
    keystone.identity.enable(user, False)


def user_deleted(keystone, user):
    keystone.identity.delete_user(user)


def role_taken_back(keystone, user):
    keystone.identity.take_back(user, keystone.roles['member'], f'/projects/{keystone.projects["demo"]}')


def password_changed(keystone, user):
    keystone.identity.set_password(user, 'another-password')


@pytest.mark.parametrize('event', [user_disabled, user_deleted, role_taken_back, password_changed])
def test_a_token_ends_with_what_it_rests_on(keystone, probe, event):
    user = keystone.new_user(('member', 'demo'))
    token = keystone.identity.token(user, project_scope(keystone.projects['demo']))
    assert 'error' not in probe.validate(token)
    event(keystone, user)
    assert probe.validate(token)['error'] == 'NotValid'
    assert probe.validate(token, allow_expired=True)['error'] == 'NotValid'


# What never was a token


@pytest.mark.parametrize(
    'text',
    [
        'x',
        'not-a-token',
        '0123456789abcdef' * 2,
        'gAAAAA' + 'A' * 177,
        'a' * 8192,
        'a' * 8193,
        'two words',
        'line\nbreak',
        'tab\t',
        'é',
        '%00',
        "' OR 1=1 --",
        '../../../users',
    ],
    ids=lambda text: ascii(text[:16]),
)
def test_malformed_token(probe, text):
    assert probe.validate(text)['error'] == 'NotValid'


def test_forged_token(keystone, probe):
    value = keystone.token('demo', 'demo').value
    real = base64.urlsafe_b64decode(value + '=' * (-len(value) % 4))
    for position in range(0, len(real), 9):
        forged = bytearray(real)
        forged[position] ^= 1 << position % 8
        text = base64.urlsafe_b64encode(forged).decode().rstrip('=')
        assert probe.validate(text)['error'] == 'NotValid', position
    assert probe.validate(value[:-4])['error'] == 'NotValid'
    assert 'error' not in probe.validate(value)


# Who asks


def test_who_asks_needs_the_right(keystone, asker):
    token = keystone.token('nova', 'service')
    answer = asker('demo', 'demo').validate(token)
    assert answer['error'] == 'NotAllowed'
    assert 'service' in answer['message']


def healed(probe, token) -> bool:
    """Whether an answer comes; until then it may only be said that the trouble is ours, not the token's."""
    answer = probe.validate(token)
    assert answer.get('error') in (None, 'OwnCredentials'), answer
    return 'error' not in answer


def test_own_token_revoked(keystone, asker):
    user = keystone.new_user(('service', 'service'))
    probe = asker(user)
    token = keystone.token('demo', 'demo')
    assert 'error' not in probe.validate(token)
    keystone.identity.set_password(user, 'another-password')
    keystone.identity.set_password(user, user.password)
    # A token from the very second in which Keystone revoked all of a user's does not count either.
    wait_until('a new token of our own', lambda: healed(probe, token), seconds=5)


def test_own_password_wrong(keystone, asker):
    user = keystone.new_user(('service', 'service'))
    probe = asker(user)
    token = keystone.token('demo', 'demo')
    assert 'error' not in probe.validate(token)
    keystone.identity.set_password(user, 'another-password')
    answer = probe.validate(token)
    assert answer['error'] == 'OwnCredentials', 'a problem of ours must not look like a bad token'
    assert user.name in answer['message']
    assert user.password not in answer['message']
    keystone.identity.set_password(user, user.password)
    # It pauses between attempts, so that a wrong password does not lock the account.
    wait_until('the right password', lambda: healed(probe, token), seconds=15)


def test_unusual_names(keystone, folder):
    created = keystone.identity.create_user('Zoë "the keeper" Ünal')
    user = dataclasses.replace(created, password='pässwörd "with" \\ and 🔑')
    keystone.identity.set_password(user, user.password)
    project = keystone.identity.create_project('Küche / 1st floor')
    keystone.identity.grant(user, keystone.roles['member'], f'/projects/{project}')
    with Probe(keystone.environment(user, 'Küche / 1st floor'), folder) as probe:
        answer = probe.authenticate()
    assert answer['user']['name'] == user.name
    assert answer['scope']['name'] == 'Küche / 1st floor'


def test_why_we_get_no_token(keystone, folder):
    user = keystone.new_user(('service', 'service'))
    right = keystone.environment(user, 'service')
    wrong = {
        'Refused': [{'OS_PASSWORD': 'wrong-password'}, {'OS_USERNAME': 'nobody'}, {'OS_PROJECT_NAME': 'demo'}],
        'NotKeystone': [{'OS_AUTH_URL': keystone.url.removesuffix('/v3') + '/elsewhere'}],
        'Unavailable': [{'OS_AUTH_URL': f'http://127.0.0.1:{free_port()}/v3'}],
    }
    for kind, variables in wrong.items():
        for variable in variables:
            with Probe(right | variable, folder) as probe:
                answer = probe.authenticate()
            assert answer['error'] == kind, variable
            assert 'wrong-password' not in answer['message']
    keystone.identity.require_methods(user, ['password', 'totp'])
    with Probe(right, folder) as probe:
        assert probe.authenticate()['error'] == 'MoreMethods'


def test_own_token_is_renewed_in_time(keystone, asker, short_lived):
    """Its tokens live two seconds; whoever asks for five seconds must never notice."""
    probe = asker(url=short_lived)
    token = keystone.token('demo', 'demo')
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert 'error' not in probe.validate(token)


# Outages


@contextlib.contextmanager
def outage(begin, end):
    begin()
    try:
        yield
    finally:
        end()


def test_keystone_refuses_connections(keystone, asker):
    token = keystone.token('demo', 'demo')
    knows_it, new = asker(), asker()
    assert 'error' not in knows_it.validate(token)
    with outage(keystone.kill, keystone.start):
        for probe in [knows_it, new]:
            answer = probe.validate(token)
            assert answer['error'] == 'Unavailable'
            assert answer['milliseconds'] < 1000
            assert probe.reachable()['error'] == 'Unavailable'
    for probe in [knows_it, new]:
        assert probe.validate(token)['user']['name'] == 'demo'
        assert probe.reachable()['reachable']


def test_keystone_hangs(keystone, asker):
    token = keystone.token('demo', 'demo')
    knows_it, new = asker(timeout=1000), asker(timeout=1000)
    assert 'error' not in knows_it.validate(token)
    with outage(keystone.freeze, keystone.resume):
        for probe in [knows_it, new]:
            answer = probe.validate(token)
            assert answer['error'] == 'Unavailable'
            assert 900 < answer['milliseconds'] < 2000
    for probe in [knows_it, new]:
        assert probe.validate(token)['user']['name'] == 'demo'


def test_no_keystone_at_the_address(keystone, asker):
    token = keystone.token('demo', 'demo')
    root = keystone.url.removesuffix('/v3')
    # Keystone's own root is understood: the version is added.
    assert 'error' not in asker(url=root).validate(token)
    answer = asker(url=f'{root}/elsewhere').validate(token)
    assert answer['error'] == 'OwnCredentials'
    assert 'auth_url' in answer['message']
