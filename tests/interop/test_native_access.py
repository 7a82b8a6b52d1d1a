"""Who is kept from keys: bad tokens, users without the role, other services; every refusal is in the audit trail."""

import base64
import contextlib
import time

import pytest
import requests

from support.identity import SYSTEM, UNSCOPED, trust_scope
from support.native import REQUEST_ID, Keys, encoded, expect, new_id, random_key, refused
from support.servers import wait_until

CACHE_SECONDS = 2
#: Above what the cache allows, for the machine's own slowness.
SLACK_SECONDS = 2


@pytest.fixture
def key_id(cinder):
    """A key of cinder's."""
    key_id = new_id()
    expect(cinder.put(key_id, random_key()), 201)
    return key_id


def failures(chatelaine, answer: requests.Response) -> list[dict]:
    lines = chatelaine.audit_of(answer.headers[REQUEST_ID])
    assert all(line['outcome'] == 'failure' for line in lines), lines
    return lines


def forged(token) -> str:
    """The same token with one bit flipped in its middle."""
    raw = bytearray(base64.urlsafe_b64decode(token.value + '=' * (-len(token.value) % 4)))
    raw[len(raw) // 2] ^= 1
    return base64.urlsafe_b64encode(raw).decode().rstrip('=')


def no_token(keystone, short_lived):
    return None


def malformed(keystone, short_lived):
    return 'not-a-token'


def oversized(keystone, short_lived):
    return 'a' * 8193


def revoked_token(keystone, short_lived):
    token = keystone.token('cinder', 'service')
    keystone.identity.revoke(token)
    return token


def forged_token(keystone, short_lived):
    return forged(keystone.token('cinder', 'service'))


def expired_token(keystone, short_lived):
    token = keystone.token('cinder', 'service', short_lived)
    wait_until('the end of the token', lambda: not keystone.identity.is_valid(token), seconds=10)
    return token


BAD_TOKENS = [no_token, malformed, oversized, revoked_token, forged_token, expired_token]


@pytest.mark.parametrize('bad', BAD_TOKENS)
def test_a_bad_token_is_refused(keystone, short_lived, chatelaine, key_id, bad):
    keys = Keys(chatelaine.url, bad(keystone, short_lived))
    for answer in [keys.get(key_id), keys.put(new_id(), random_key()), keys.call('GET', '/v1/keys')]:
        refused(answer, 401)
        assert answer.headers['WWW-Authenticate'] == f'Keystone uri="{keystone.url}"'
        (line,) = failures(chatelaine, answer)
        assert line['action'] == 'authenticate'
        assert line['reason']['reasonCode']
        assert line['initiator']['host']['address'] == '127.0.0.1'


def end_user(keystone):
    return keystone.token('demo', 'demo'), keystone.users['demo']


def compute_node(keystone):
    return keystone.token('computenode', 'service'), keystone.users['computenode']


def end_user_by_trust(keystone):
    """A trust hands on the trustor's roles, not the service's."""
    demo, cinder = keystone.users['demo'], keystone.users['cinder']
    trust = keystone.identity.create_trust(demo, cinder, keystone.projects['demo'], 'member', True)
    return keystone.identity.token(cinder, trust_scope(trust)), demo


def system_reader(keystone):
    return keystone.identity.token(keystone.users['auditor'], SYSTEM), keystone.users['auditor']


@pytest.mark.parametrize('who', [end_user, compute_node, end_user_by_trust, system_reader])
def test_who_is_no_service_is_refused(keystone, chatelaine, key_id, who):
    token, user = who(keystone)
    keys = Keys(chatelaine.url, token)
    for answer, target in [
        (keys.get(key_id), key_id),
        (keys.metadata(key_id), key_id),
        (keys.delete(key_id), key_id),
        (keys.create(generate=True, algorithm='aes', bit_length=256), None),
        (keys.call('GET', '/v1/keys'), None),
    ]:
        refused(answer, 403)
        (line,) = failures(chatelaine, answer)
        assert line['initiator']['id'] == user.id
        assert line['reason']['reasonCode']
        if target is not None:
            assert line['target']['id'] == target


def test_an_unscoped_token_is_no_service(keystone, chatelaine, key_id):
    token = keystone.identity.token(keystone.users['cinder'], UNSCOPED)
    answer = Keys(chatelaine.url, token).get(key_id)
    assert answer.status_code in (401, 403), answer.text
    (line,) = failures(chatelaine, answer)
    assert line['reason']['reasonCode']


def test_another_service_finds_nothing(keystone, chatelaine, cinder, swift, key_id):
    swift_id = keystone.users['swift'].id
    unknown = refused(swift.get(new_id()), 404)
    for answer in [
        swift.get(key_id),
        swift.metadata(key_id),
        swift.update(key_id, '"1"', name='mine'),
        swift.revoke(key_id, 'superseded'),
        swift.delete(key_id),
        swift.undelete(key_id),
    ]:
        error = refused(answer, 404)
        assert error['title'] == unknown['title']
        (line,) = failures(chatelaine, answer)
        assert line['initiator']['id'] == swift_id
        assert line['initiator']['project_id'] == keystone.projects['service']
        assert line['target']['id'] == key_id
    # Nor can it take the id.
    refused(swift.put(key_id, random_key()), 409)
    assert expect(cinder.get(key_id), 200)['version'] == 1


def test_access_rules_are_enforced(keystone, chatelaine, key_id):
    cinder, project = keystone.users['cinder'], keystone.projects['service']
    rules = [('key-manager', 'GET', '/v1/keys/**')]
    credential = keystone.identity.create_application_credential(cinder, project, rules)
    keys = Keys(chatelaine.url, keystone.identity.authenticate(credential.proof()))
    expect(keys.get(key_id), 200)
    expect(keys.metadata(key_id), 200)
    for answer in [keys.delete(key_id), keys.call('GET', '/v1/keys'), keys.put(new_id(), random_key())]:
        refused(answer, 401)
        (line,) = failures(chatelaine, answer)
        assert line['reason']['reasonCode']
    expect(keys.get(key_id), 200)


# The cache of validated tokens


def test_a_revoked_token_stops_within_the_cache_time(keystone, own_chatelaine):
    chatelaine = own_chatelaine({'identity.keystone': {'cache_seconds': CACHE_SECONDS}})
    token, key_id = keystone.token('cinder', 'service'), new_id()
    cinder = Keys(chatelaine.url, token)
    expect(cinder.put(key_id, random_key()), 201)
    keystone.identity.revoke(token)
    start = time.monotonic()
    wait_until('401', lambda: cinder.get(key_id).status_code == 401, CACHE_SECONDS + SLACK_SECONDS)
    assert time.monotonic() - start < CACHE_SECONDS + SLACK_SECONDS
    refused(cinder.get(key_id), 401)


def test_the_cache_does_not_outlive_the_token(keystone, short_lived, chatelaine, key_id):
    token = keystone.token('cinder', 'service', short_lived)
    cinder = Keys(chatelaine.url, token)
    expect(cinder.get(key_id), 200)
    wait_until('the end of the token', lambda: not keystone.identity.is_valid(token), seconds=10)
    refused(cinder.get(key_id), 401)


# Outages of Keystone


@contextlib.contextmanager
def outage(begin, end):
    begin()
    try:
        yield
    finally:
        end()


def readiness(chatelaine) -> tuple[int, bool]:
    answer = requests.get(f'{chatelaine.url}/readyz', timeout=20)
    checks = {check['name']: check['ok'] for check in answer.json()['checks']}
    assert answer.json()['ready'] == (answer.status_code == 200)
    return answer.status_code, checks['identity']


@pytest.mark.parametrize('kind', ['refuses connections', 'hangs'])
def test_keystone_is_away(keystone, own_chatelaine, kind):
    chatelaine = own_chatelaine({'identity.keystone': {'timeout': 2}})
    known, new = keystone.token('cinder', 'service'), keystone.token('cinder', 'service')
    key_id, key = new_id(), random_key()
    cinder, newcomer = Keys(chatelaine.url, known), Keys(chatelaine.url, new)
    expect(cinder.put(key_id, key), 201)
    begin, end = (keystone.freeze, keystone.resume) if kind == 'hangs' else (keystone.kill, keystone.start)
    with outage(begin, end):
        assert expect(cinder.get(key_id), 200)['key_string'] == encoded(key)
        start = time.monotonic()
        answer = newcomer.get(key_id)
        refused(answer, 503)
        assert time.monotonic() - start < 4
        assert int(answer.headers['Retry-After']) > 0
        wait_until('not ready', lambda: readiness(chatelaine) == (503, False), seconds=20)
        alive = requests.get(f'{chatelaine.url}/healthcheck', timeout=5)
        assert alive.status_code == 200, 'without Keystone it is not ready, but it lives'
    wait_until('the new token', lambda: newcomer.get(key_id).status_code == 200, seconds=20)
    wait_until('ready', lambda: readiness(chatelaine) == (200, True), seconds=20)
