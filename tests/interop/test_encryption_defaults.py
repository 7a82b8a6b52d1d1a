"""Encryption defaults of users, projects and domains, set by real people of a Keystone and read by services."""

import secrets

import pytest
import requests

from support.identity import project_scope, trust_scope
from support.native import Keys, expect, refused

DUAL = {'algorithm': 'aes-256-gcm', 'lock': 'dual', 'scope': 'project'}
SINGLE = {'algorithm': 'aes-256-xts', 'lock': 'single'}


class Defaults:
    """`/v1/encryption-defaults` as one token sees it."""

    def __init__(self, chatelaine, token, service=None):
        self._keys = Keys(chatelaine.url, token, service=service)

    def ask(self, method: str, level: str, of: str, body=None, version: int | None = None) -> requests.Response:
        headers = {} if version is None else {'If-Match': f'"{version}"'}
        return self._keys.call(method, f'/v1/encryption-defaults/{level}/{of}', body, headers)

    def effective(self, **of: str) -> requests.Response:
        query = '&'.join(f'{name}_id={value}' for name, value in of.items())
        return self._keys.call('GET', f'/v1/encryption-defaults/effective?{query}')


class House:
    """A domain with its manager, a project with its manager, and a member."""

    def __init__(self, keystone):
        identity, name = keystone.identity, f'house-{secrets.token_hex(6)}'
        self.domain = identity.create_domain(name)
        self.project = identity.create_project(name, self.domain)
        self.users = {role: identity.create_user(f'{role}-{name}') for role in ['member', 'manager', 'domain_manager']}
        for role, granted in [('member', 'member'), ('manager', 'manager')]:
            identity.grant(self.users[role], keystone.roles[granted], f'/projects/{self.project}')
        identity.grant(self.users['domain_manager'], keystone.roles['manager'], f'/domains/{self.domain}')
        self.tokens = {
            'member': identity.token(self.users['member'], project_scope(self.project)),
            'manager': identity.token(self.users['manager'], project_scope(self.project)),
            'domain_manager': identity.token(self.users['domain_manager'], {'domain': {'id': self.domain}}),
            'admin': keystone.token('key_admin', 'demo'),
            'service': keystone.token('cinder', 'service'),
        }
        self.places = {
            'user': ('users', self.users['member'].id),
            'project': ('projects', self.project),
            'domain': ('domains', self.domain),
        }

    def ids(self) -> dict[str, str]:
        return {'user': self.users['member'].id, 'project': self.project, 'domain': self.domain}


@pytest.fixture
def house(keystone):
    return House(keystone)


MAY = {'member': {'user'}, 'manager': {'project'}, 'domain_manager': {'domain'}, 'service': set()}
MAY['admin'] = {'user', 'project', 'domain'}


@pytest.mark.parametrize('who', MAY)
def test_who_sets_them(chatelaine, house, who):
    defaults = Defaults(chatelaine, house.tokens[who])
    for level, place in house.places.items():
        for method, body, status in [('PUT', DUAL, 201), ('GET', None, 200), ('DELETE', None, 204)]:
            answer = defaults.ask(method, *place, body)
            if level in MAY[who]:
                expect(answer, status)
            else:
                refused(answer, 403)
                (line,) = chatelaine.audit_of(answer.headers['X-Openstack-Request-Id'])
                assert line['outcome'] == 'failure'
                assert line['target']['id'] == f'{level}:{place[1]}'


def test_others_of_the_same_kind_are_strangers(keystone, chatelaine, house):
    other = House(keystone)
    for who in ['member', 'manager', 'domain_manager']:
        defaults = Defaults(chatelaine, house.tokens[who])
        for place in other.places.values():
            refused(defaults.ask('PUT', *place, DUAL), 403)
            refused(defaults.ask('GET', *place), 403)
        refused(defaults.effective(**other.ids()), 403)


def test_the_narrowest_counts_as_a_whole(chatelaine, house):
    admin = Defaults(chatelaine, house.tokens['admin'])
    service, member = (Defaults(chatelaine, house.tokens[who]) for who in ['service', 'member'])
    own = {'algorithm': 'aes-256-gcm', 'lock': 'single', 'source': {'level': 'service'}}
    assert expect(service.effective(**house.ids()), 200) == own
    bodies = {'domain': DUAL | {'lock': 'compound', 'scope': 'domain'}, 'project': DUAL, 'user': SINGLE}
    for level, body in bodies.items():
        expect(admin.ask('PUT', *house.places[level], body), 201)
        expected = body | {'source': {'level': level, 'id': house.places[level][1]}}
        assert expect(service.effective(**house.ids()), 200) == expected
        # The user sees the same, without having to say who it is.
        assert expect(member.effective(), 200) == expected
    # A manager of the domain sees the domain's.
    found = expect(Defaults(chatelaine, house.tokens['domain_manager']).effective(), 200)
    assert found['source'] == {'level': 'domain', 'id': house.domain}
    for level in ['user', 'project', 'domain']:
        expect(admin.ask('DELETE', *house.places[level]), 204)
    assert expect(service.effective(**house.ids()), 200) == own


def test_the_configuration_is_the_last_word(keystone, own_chatelaine, house):
    settings = {'algorithm': 'aes-256-ctr', 'lock': 'dual', 'scope': 'user'}
    chatelaine = own_chatelaine({'encryption_defaults': settings})
    found = expect(Defaults(chatelaine, house.tokens['service']).effective(), 200)
    assert found == settings | {'source': {'level': 'service'}}


def test_changes_name_their_version(chatelaine, house):
    member, place = Defaults(chatelaine, house.tokens['member']), house.places['user']
    made = member.ask('PUT', *place, DUAL)
    assert expect(made, 201)['version'] == 1 and made.headers['ETag'] == '"1"'
    refused(member.ask('PUT', *place, SINGLE), 428)
    refused(member.ask('PUT', *place, SINGLE, version=2), 412)
    assert expect(member.ask('PUT', *place, SINGLE, version=1), 200)['version'] == 2
    refused(member.ask('DELETE', *place, version=1), 412)
    expect(member.ask('DELETE', *place, version=2), 204)
    refused(member.ask('DELETE', *place), 404)
    refused(member.ask('GET', *place), 404)


def test_they_survive_a_restart(chatelaine, house):
    member, place = Defaults(chatelaine, house.tokens['member']), house.places['user']
    made = expect(member.ask('PUT', *place, DUAL), 201)
    chatelaine.restart()
    assert expect(member.ask('GET', *place), 200) == made


def test_a_trust_sets_nothing_for_the_user(keystone, chatelaine, house):
    """Who acts for a user in one project does not decide how that user's data is protected everywhere."""
    cinder = keystone.users['cinder']
    trust = keystone.identity.create_trust(house.users['member'], cinder, house.project, 'member', True)
    token = keystone.identity.token(cinder, trust_scope(trust))
    assert token.user_id == house.users['member'].id
    for service in [None, house.tokens['service']]:
        delegate = Defaults(chatelaine, token, service)
        refused(delegate.ask('PUT', *house.places['user'], SINGLE), 403)
        expect(delegate.effective(), 200)


def test_the_command_line(keystone, chatelaine, house):
    environment = keystone.environment(house.users['member'], 'demo') | {'OS_PROJECT_ID': house.project}
    # The catalogue may name another server by now.
    environment['CHATELAINE_ENDPOINT'] = chatelaine.url
    del environment['OS_PROJECT_NAME'], environment['OS_PROJECT_DOMAIN_NAME']

    def cli(*arguments: str, expected: int = 0) -> str:
        done = chatelaine.cli('encryption-defaults', *arguments, environment=environment, expected=expected)
        return (done.stdout + done.stderr).decode()

    user = house.users['member'].id
    assert 'effective' in cli('show', '--user', user, expected=5)
    dual = ['--algorithm', 'aes-256-gcm', '--lock', 'dual', '--scope', 'user']
    assert 'dual' in cli('set', '--user', user, *dual)
    assert 'aes-256-xts' in cli('set', '--user', user, '--algorithm', 'aes-256-xts', '--lock', 'single')
    assert user in cli('effective')
    assert 'aes-256-gcm' in cli('set', '--user', user, '--algorithm', 'rot13', '--lock', 'single', expected=7)
    assert 'encryption_default' in cli('set', '--project', house.project, *dual, expected=4)
    cli('unset', '--user', user)
    assert 'service' in cli('effective')
