"""What operators and users do at Keystone, by its REST API: users, roles, trusts, credentials, tokens."""

import dataclasses
import datetime
import secrets

import requests

TIMEOUT_SECONDS = 30
DOMAIN = 'default'

UNSCOPED = 'unscoped'
SYSTEM = {'system': {'all': True}}
DOMAIN_SCOPE = {'domain': {'id': DOMAIN}}


def project_scope(project_id: str) -> dict:
    return {'project': {'id': project_id}}


def trust_scope(trust_id: str) -> dict:
    return {'OS-TRUST:trust': {'id': trust_id}}


def in_seconds(seconds: float) -> str:
    """A time from now on, as Keystone writes times."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.strftime('%Y-%m-%dT%H:%M:%S.%fZ')


@dataclasses.dataclass(frozen=True)
class User:
    id: str
    name: str
    password: str = dataclasses.field(repr=False)

    def proof(self) -> dict:
        """The user's part of an authentication request."""
        return {'methods': ['password'], 'password': {'user': {'id': self.id, 'password': self.password}}}


@dataclasses.dataclass(frozen=True)
class ApplicationCredential:
    id: str
    secret: str = dataclasses.field(repr=False)

    def proof(self) -> dict:
        method = 'application_credential'
        return {'methods': [method], method: {'id': self.id, 'secret': self.secret}}


@dataclasses.dataclass(frozen=True)
class Token:
    value: str = dataclasses.field(repr=False)
    details: dict

    @property
    def user_id(self) -> str:
        return self.details['user']['id']

    @property
    def project_id(self) -> str | None:
        return self.details.get('project', {}).get('id')

    @property
    def expires_at(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.details['expires_at'])


class Identity:
    """A client of Keystone that works as the administrator unless another token is given."""

    def __init__(self, url: str, admin: User, admin_project: str = 'admin'):
        self.url = url
        self._admin = admin
        self._admin_project = admin_project
        self._admin_token: Token | None = None

    def call(self, method: str, path: str, body=None, token: Token | None = None, headers=None) -> requests.Response:
        """One request; any status below 400 will do."""
        headers = {'X-Auth-Token': (token or self.admin_token()).value, **(headers or {})}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
        assert answer.status_code < 400, f'{method} {path}: {answer.status_code} {answer.text}'
        return answer

    def admin_token(self) -> Token:
        if self._admin_token is None:
            user = {'name': self._admin.name, 'domain': {'id': DOMAIN}, 'password': self._admin.password}
            proof = {'methods': ['password'], 'password': {'user': user}}
            scope = {'project': {'name': self._admin_project, 'domain': {'id': DOMAIN}}}
            self._admin_token = self.authenticate(proof, scope)
        return self._admin_token

    # Tokens

    def authenticate(self, proof: dict, scope=None, url: str | None = None) -> Token:
        """A token for a proof (of a user, a credential); `url` names another front end of the same Keystone."""
        auth = {'identity': proof}
        if scope is not None:
            auth['scope'] = scope
        path = (url or self.url) + '/auth/tokens'
        answer = requests.post(path, json={'auth': auth}, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 201, f'authentication: {answer.status_code} {answer.text}'
        return Token(answer.headers['X-Subject-Token'], answer.json()['token'])

    def token(self, user: User, scope, url: str | None = None) -> Token:
        return self.authenticate(user.proof(), scope, url)

    def is_valid(self, token: Token) -> bool:
        """What Keystone says about a token, asked by the administrator."""
        headers = {'X-Auth-Token': self.admin_token().value, 'X-Subject-Token': token.value}
        headers['OpenStack-Identity-Access-Rules'] = '1.0'
        answer = requests.get(f'{self.url}/auth/tokens?nocatalog', headers=headers, timeout=TIMEOUT_SECONDS)
        assert answer.status_code in (200, 404), answer.text
        return answer.status_code == 200

    def revoke(self, token: Token) -> None:
        self.call('DELETE', '/auth/tokens', headers={'X-Subject-Token': token.value})

    # People, projects, roles

    def create_role(self, name: str) -> str:
        return self.call('POST', '/roles', {'role': {'name': name}}).json()['role']['id']

    def roles(self) -> dict[str, str]:
        return {role['name']: role['id'] for role in self.call('GET', '/roles').json()['roles']}

    def create_domain(self, name: str) -> str:
        return self.call('POST', '/domains', {'domain': {'name': name}}).json()['domain']['id']

    def create_project(self, name: str, domain: str = DOMAIN) -> str:
        body = {'project': {'name': name, 'domain_id': domain}}
        return self.call('POST', '/projects', body).json()['project']['id']

    def create_user(self, name: str) -> User:
        password = secrets.token_urlsafe(18)
        body = {'user': {'name': name, 'domain_id': DOMAIN, 'password': password}}
        return User(self.call('POST', '/users', body).json()['user']['id'], name, password)

    def grant(self, user: User, role_id: str, place: str) -> None:
        """`place` is `/projects/ID`, `/domains/ID` or `/system`."""
        self.call('PUT', f'{place}/users/{user.id}/roles/{role_id}')

    def take_back(self, user: User, role_id: str, place: str) -> None:
        self.call('DELETE', f'{place}/users/{user.id}/roles/{role_id}')

    def enable(self, user: User, enabled: bool) -> None:
        self.call('PATCH', f'/users/{user.id}', {'user': {'enabled': enabled}})

    def set_password(self, user: User, password: str) -> None:
        """Also ends all tokens the user has."""
        self.call('PATCH', f'/users/{user.id}', {'user': {'password': password}})

    def require_methods(self, user: User, methods: list[str]) -> None:
        """Multi-factor authentication: one method alone no longer does."""
        options = {'multi_factor_auth_enabled': True, 'multi_factor_auth_rules': [methods]}
        self.call('PATCH', f'/users/{user.id}', {'user': {'options': options}})

    def delete_user(self, user: User) -> None:
        self.call('DELETE', f'/users/{user.id}')

    # Delegation

    def create_trust(
        self,
        trustor: User,
        trustee: User,
        project_id: str,
        role: str,
        impersonation: bool,
        seconds: float = 3600,
        redelegations: int = 0,
    ) -> str:
        trust = {
            'trustor_user_id': trustor.id,
            'trustee_user_id': trustee.id,
            'project_id': project_id,
            'roles': [{'name': role}],
            'impersonation': impersonation,
            # Keystone refuses a second trust that is equal to the microsecond, even to one that was deleted.
            'expires_at': in_seconds(seconds),
        }
        if redelegations > 0:
            trust |= {'allow_redelegation': True, 'redelegation_count': redelegations}
        token = self.token(trustor, project_scope(project_id))
        return self.call('POST', '/OS-TRUST/trusts', {'trust': trust}, token).json()['trust']['id']

    def redelegate(self, token: Token, trust_id: str, trustee: User, role: str, seconds: float = 600) -> str:
        """Passes a trust on with a token that was made under it."""
        found = self.call('GET', f'/OS-TRUST/trusts/{trust_id}', token=token).json()['trust']
        trust = {
            'trustor_user_id': token.user_id,
            'trustee_user_id': trustee.id,
            'project_id': found['project_id'],
            'roles': [{'name': role}],
            'impersonation': found['impersonation'],
            'expires_at': in_seconds(seconds),
            'redelegated_trust_id': trust_id,
            'allow_redelegation': False,
        }
        return self.call('POST', '/OS-TRUST/trusts', {'trust': trust}, token).json()['trust']['id']

    def delete_trust(self, trust_id: str, trustor: User) -> None:
        token = self.token(trustor, UNSCOPED)
        self.call('DELETE', f'/OS-TRUST/trusts/{trust_id}', token=token)

    def create_application_credential(
        self, user: User, project_id: str, rules: list[tuple[str, str, str]] | None = None, unrestricted=False
    ) -> ApplicationCredential:
        """`rules` are triples of service type, method and path; None sets no limit."""
        body = {'name': f'credential-{secrets.token_hex(6)}', 'unrestricted': unrestricted}
        if rules is not None:
            body['access_rules'] = [
                {'service': service, 'method': method, 'path': path} for service, method, path in rules
            ]
        token = self.token(user, project_scope(project_id))
        path = f'/users/{user.id}/application_credentials'
        made = self.call('POST', path, {'application_credential': body}, token).json()['application_credential']
        return ApplicationCredential(made['id'], made['secret'])

    def delete_application_credential(self, credential: ApplicationCredential, user: User, project_id: str) -> None:
        token = self.token(user, project_scope(project_id))
        self.call('DELETE', f'/users/{user.id}/application_credentials/{credential.id}', token=token)
