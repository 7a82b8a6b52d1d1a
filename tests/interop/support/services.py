"""The code of OpenStack's services, as it is released, in processes of an environment of its own.

Not the services: the parts of them that speak to the key manager, each with its service's configuration file and,
where it needs one, its service's database.
"""

import json
import os
import pathlib
import select
import subprocess

from .chatelaine import WORKSPACE
from .identity import Token, User
from .keystone import REGION, Keystone

PYTHON = WORKSPACE / 'target/services-venv/bin/python'
SERVE = WORKSPACE / 'tests/interop/services/serve.py'
#: Making a database and RSA keys takes the longest.
ANSWER_SECONDS = 120
LOG_TAIL_BYTES = 8 << 10


class ServiceError(Exception):
    """What a service's code raised: the name of the class, and the message."""

    def __init__(self, kind: str, message: str):
        super().__init__(f'{kind}: {message}')
        self.kind = kind


def credentials(keystone: Keystone, user: User, project: str = 'service', **more: str) -> dict[str, str]:
    """A service's own user, as services are told it in their configuration files."""
    return {
        'auth_type': 'password',
        'auth_url': keystone.url,
        'username': user.name,
        'password': user.password,
        'project_name': project,
        'user_domain_name': 'Default',
        'project_domain_name': 'Default',
        'region_name': REGION,
        **more,
    }


def castellan(keystone: Keystone) -> dict[str, dict[str, str]]:
    """The sections that lead castellan to the key manager."""
    return {
        'key_manager': {'backend': 'barbican'},
        'barbican': {'auth_endpoint': keystone.url, 'barbican_region_name': REGION},
    }


def caller(token: Token) -> dict:
    """A user as middleware describes it to a service."""
    return {
        'auth_token': token.value,
        'user_id': token.user_id,
        'project_id': token.project_id,
        'roles': [role['name'] for role in token.details['roles']],
    }


class Service:
    """One service's code with its configuration."""

    def __init__(self, module: str, folder: pathlib.Path, sections: dict[str, dict[str, str]]):
        assert PYTHON.is_file(), f'{PYTHON} is missing: cargo xtask interop makes it'
        configuration = folder / f'{module}.conf'
        configuration.touch(mode=0o600)
        lines = []
        for section, values in sections.items():
            lines += [f'[{section}]', *(f'{name} = {value}' for name, value in values.items())]
        configuration.write_text('\n'.join(lines) + '\n')
        self._log = folder / f'{module}.log'
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', '--', PYTHON, '-W', 'ignore', SERVE, module],
                env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', 'HOME': str(folder)},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.call('start', configuration=str(configuration))

    def __enter__(self) -> 'Service':
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def call(self, function: str, **arguments):
        """What a function of the module answers; raises `ServiceError` for what it raises."""
        self._process.stdin.write(json.dumps([function, arguments]) + '\n')
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        line = self._process.stdout.readline() if ready else ''
        assert line, f'no answer to {function}\n{self.log_tail()}'
        answer = json.loads(line)
        if 'error' in answer:
            print(self.log_tail())
            raise ServiceError(*answer['error'])
        return answer['result']

    def log_tail(self) -> str:
        """The last of what it has written."""
        return self._log.read_text(encoding='utf-8', errors='replace')[-LOG_TAIL_BYTES:]
