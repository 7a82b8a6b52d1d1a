"""A real Keystone: SQLite, Fernet tokens, uwsgi, and the people of a small cloud.

| user | on project `service` | on project `demo` | elsewhere |
| --- | --- | --- | --- |
| admin | | | admin on `admin` and the system |
| chatelaine, barbican, cinder, swift, nova | service | | |
| identity | service, identity_service | | |
| computenode | service, compute | | |
| demo | | member | member on `alt_demo` and the domain |
| auditor | | audit | reader on the system |
| key_owner | | member, creator | |
| key_creator | | creator | |
| key_reader, key_listed | | reader | |
| key_observer | | observer | |
| key_service_admin | | key-manager:service-admin | |
| key_admin | | admin | admin on the system |
| alt_admin, alt_member, alt_creator, alt_listed | | | admin, member, creator, compute on `alt_demo` |
"""

import concurrent.futures
import grp
import os
import pathlib
import pwd
import secrets
import subprocess
import sys

from .identity import DOMAIN, Identity, User, project_scope
from .servers import Server, free_port

BIN = pathlib.Path(sys.executable).parent
SETUP_SECONDS = 120
START_SECONDS = 60
REGION = 'RegionOne'

#: Roles beyond those that bootstrapping makes (admin, manager, member, reader, service).
ROLES = ['compute', 'identity_service', 'creator', 'observer', 'audit', 'key-manager:service-admin']
PROJECTS = ['service', 'demo', 'alt_demo']
GRANTS = {
    'chatelaine': [('service', 'service')],
    'barbican': [('service', 'service')],
    'cinder': [('service', 'service')],
    'swift': [('service', 'service')],
    'nova': [('service', 'service')],
    'identity': [('service', 'service'), ('identity_service', 'service')],
    'computenode': [('service', 'service'), ('compute', 'service')],
    'demo': [('member', 'demo'), ('member', 'alt_demo')],
    'auditor': [('audit', 'demo')],
    'key_owner': [('member', 'demo'), ('creator', 'demo')],
    'key_creator': [('creator', 'demo')],
    'key_reader': [('reader', 'demo')],
    'key_listed': [('reader', 'demo')],
    'key_observer': [('observer', 'demo')],
    'key_service_admin': [('key-manager:service-admin', 'demo')],
    'key_admin': [('admin', 'demo')],
    'alt_admin': [('admin', 'alt_demo')],
    'alt_member': [('member', 'alt_demo')],
    'alt_creator': [('creator', 'alt_demo')],
    # A role that no rule of keys knows.
    'alt_listed': [('compute', 'alt_demo')],
}

CONFIGURATION = """\
[DEFAULT]
public_endpoint = {endpoint}
[database]
connection = sqlite:///{state}/keystone.db
sqlite_synchronous = false
[token]
provider = fernet
expiration = {expiration}
[auth]
methods = password,token,application_credential,totp
[identity]
password_hash_rounds = 4
# As many as its hash looks at; more and it warns at each login.
max_password_length = 72
[fernet_tokens]
key_repository = {state}/fernet-keys
[fernet_receipts]
key_repository = {state}/receipt-keys
[credential]
key_repository = {state}/credential-keys
[oslo_policy]
enforce_scope = true
enforce_new_defaults = true
"""


class Keystone:
    """One Keystone with its people; further front ends share its database and keys."""

    def __init__(self, state: pathlib.Path, expiration: int = 3600):
        self.state = state
        self._port = free_port()
        self.url = f'http://127.0.0.1:{self._port}/v3'
        self._configuration = self._configure('keystone', expiration)
        self.admin = User('', 'admin', secrets.token_urlsafe(18))
        self._set_up()
        self.server = self._server('keystone', self._configuration, self._port, processes=2)
        self.start()
        self.identity = Identity(self.url, self.admin)
        self.users: dict[str, User] = {}
        self.projects: dict[str, str] = {}
        self.roles: dict[str, str] = {}
        try:
            self._seed()
        except BaseException:
            self.server.kill()
            raise

    # Life and outages

    def start(self) -> None:
        self.server.start(self.url, {200}, START_SECONDS)

    def stop(self) -> None:
        """Connections are refused from now on."""
        self.server.stop()

    def kill(self) -> None:
        """As after a power cut."""
        self.server.kill()

    def restart(self) -> None:
        self.server.stop()
        self.start()

    def freeze(self) -> None:
        """Connections are accepted, no answer comes."""
        self.server.freeze()

    def resume(self) -> None:
        self.server.resume()

    def front_end(self, name: str, expiration: int) -> tuple[Server, str]:
        """Another front end, running, whose tokens live `expiration` seconds, and its URL; the caller stops it."""
        port = free_port()
        server = self._server(name, self._configure(name, expiration), port, processes=1)
        url = f'http://127.0.0.1:{port}/v3'
        server.start(url, {200}, START_SECONDS)
        return server, url

    # People

    def token(self, user: str, project: str, url: str | None = None):
        """A project token of one of the users above."""
        return self.identity.token(self.users[user], project_scope(self.projects[project]), url)

    def new_user(self, *grants: tuple[str, str]) -> User:
        """A user nobody else uses, with roles on projects."""
        user = self.identity.create_user(f'user-{secrets.token_hex(6)}')
        for role, project in grants:
            self.identity.grant(user, self.roles[role], f'/projects/{self.projects[project]}')
        return user

    def new_project(self, *grants: tuple[str, str]) -> str:
        """The name of a project nobody else uses, where these users have these roles."""
        name = f'project-{secrets.token_hex(6)}'
        self.projects[name] = self.identity.create_project(name)
        for user, role in grants:
            self.identity.grant(self.users[user], self.roles[role], f'/projects/{self.projects[name]}')
        return name

    def environment(self, user: User, project: str, url: str | None = None) -> dict[str, str]:
        """The `OS_*` variables of a user."""
        return {
            'OS_AUTH_URL': url or self.url,
            'OS_USERNAME': user.name,
            'OS_PASSWORD': user.password,
            'OS_USER_DOMAIN_NAME': 'Default',
            'OS_PROJECT_NAME': project,
            'OS_PROJECT_DOMAIN_NAME': 'Default',
            'OS_IDENTITY_API_VERSION': '3',
            'OS_REGION_NAME': REGION,
        }

    def set_key_manager(self, endpoint: str) -> None:
        """Makes the catalogue's key manager be at this URL."""
        for interface, path in self._key_manager.items():
            self.identity.call('PATCH', path, {'endpoint': {'interface': interface, 'url': endpoint}})

    # Bringing it up

    def _configure(self, name: str, expiration: int) -> pathlib.Path:
        path = self.state / f'{name}.conf'
        endpoint = self.url.removesuffix('/v3')
        path.write_text(CONFIGURATION.format(endpoint=endpoint, state=self.state, expiration=expiration))
        return path

    def _server(self, name: str, configuration: pathlib.Path, port: int, processes: int) -> Server:
        command = [
            BIN / 'uwsgi',
            *('--http-socket', f'127.0.0.1:{port}', '--module', 'keystone.wsgi.api:application'),
            *('--virtualenv', sys.prefix, '--master', '--processes', processes, '--lazy-apps', '--need-app'),
            # A kept connection would hold a worker.
            *('--buffer-size', 65535, '--add-header', 'Connection: close', '--die-on-term', '--no-orphans'),
            *('--disable-logging', '--log-4xx', '--log-5xx'),
        ]
        return Server(name, self.state, command, {'OS_KEYSTONE_CONFIG_FILES': str(configuration)})

    def _set_up(self) -> None:
        owner = ['--keystone-user', pwd.getpwuid(os.geteuid()).pw_name]
        owner += ['--keystone-group', grp.getgrgid(os.getegid()).gr_name]
        # Each spends its time on loading, none needs another.
        steps = [['db_sync'], ['fernet_setup', *owner], ['credential_setup', *owner]]
        with concurrent.futures.ThreadPoolExecutor(len(steps)) as pool:
            list(pool.map(lambda step: self._manage(*step), steps))
        urls = [part for face in ['admin', 'internal', 'public'] for part in (f'--bootstrap-{face}-url', self.url)]
        environment = {'OS_BOOTSTRAP_PASSWORD': self.admin.password}
        self._manage('bootstrap', '--bootstrap-region-id', REGION, *urls, environment=environment)

    def _manage(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        log_path = self.state / f'keystone-manage-{arguments[0]}.log'
        with log_path.open('wb') as log:
            done = subprocess.run(
                [BIN / 'keystone-manage', '--config-file', self._configuration, *arguments],
                env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SETUP_SECONDS,
            )
        assert done.returncode == 0, f'keystone-manage {arguments[0]}:\n{log_path.read_text()[-4096:]}'

    def _seed(self) -> None:
        identity = self.identity
        self.roles = identity.roles()
        self.roles |= {name: identity.create_role(name) for name in ROLES}
        self.projects = {name: identity.create_project(name) for name in PROJECTS}
        for name, grants in GRANTS.items():
            self.users[name] = identity.create_user(name)
            for role, project in grants:
                identity.grant(self.users[name], self.roles[role], f'/projects/{self.projects[project]}')
        identity.grant(self.users['demo'], self.roles['member'], f'/domains/{DOMAIN}')
        identity.grant(self.users['auditor'], self.roles['reader'], '/system')
        identity.grant(self.users['key_admin'], self.roles['admin'], '/system')
        service = {'type': 'key-manager', 'name': 'chatelaine'}
        service_id = identity.call('POST', '/services', {'service': service}).json()['service']['id']
        self._key_manager: dict[str, str] = {}
        for interface in ['public', 'internal', 'admin']:
            endpoint = {'service_id': service_id, 'interface': interface, 'region_id': REGION}
            endpoint['url'] = 'http://127.0.0.1:9311'
            made = identity.call('POST', '/endpoints', {'endpoint': endpoint}).json()['endpoint']
            self._key_manager[interface] = f'/endpoints/{made["id"]}'
