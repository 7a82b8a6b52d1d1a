"""The key manager as a process, its command line, and what it writes down."""

import json
import os
import pathlib
import subprocess
from collections.abc import Mapping

from .keystone import Keystone
from .servers import Server, free_port

WORKSPACE = pathlib.Path(__file__).resolve().parents[3]
START_SECONDS = 60
CLI_SECONDS = 60


def binary() -> pathlib.Path:
    given = os.environ.get('CHATELAINE_BINARY')
    path = pathlib.Path(given) if given else WORKSPACE / 'target/debug/chatelaine'
    assert path.is_file(), f'{path} is missing: cargo build -p chatelaine-server --bin chatelaine'
    return path


def to_toml(tables: Mapping[str, Mapping]) -> str:
    """Tables of plain values; a dot in a table's name makes a table inside a table."""
    lines = []
    for name, table in tables.items():
        lines.append(f'[{name}]')
        # Texts, numbers, truth values and lists of them look alike in JSON and TOML.
        lines += [f'{key} = {json.dumps(value)}' for key, value in table.items()]
    return '\n'.join(lines) + '\n'


class Chatelaine:
    """A server in a state folder of its own, which trusts a Keystone and stands in its catalogue."""

    def __init__(self, state: pathlib.Path, keystone: Keystone, settings: Mapping[str, Mapping] | None = None):
        self.state = state
        self.keystone = keystone
        port = free_port()
        self.url = f'http://127.0.0.1:{port}'
        user = keystone.users['chatelaine']
        password_file = state / 'password'
        password_file.touch(mode=0o600)
        password_file.write_text(user.password)
        tables = {
            'server': {'listen': f'127.0.0.1:{port}'},
            'data': {'folder': str(state / 'data')},
            'identity': {'kind': 'keystone'},
            'identity.keystone': {
                'auth_url': keystone.url,
                'username': user.name,
                'password_file': str(password_file),
                'project_name': 'service',
                'user_domain_name': 'Default',
                'project_domain_name': 'Default',
            },
            'policy': {'file': ''},
        }
        for name, table in (settings or {}).items():
            tables[name] = tables.get(name, {}) | dict(table)
        self.configuration = state / 'chatelaine.toml'
        self.configuration.write_text(to_toml(tables))
        command = [binary(), '--config', self.configuration, 'serve']
        self.server = Server('chatelaine', state, command, {'HOME': str(state), 'RUST_BACKTRACE': '1'})
        self.start()
        keystone.set_key_manager(self.url)

    def start(self) -> None:
        self.server.start(f'{self.url}/readyz', {200}, START_SECONDS)

    def stop(self) -> None:
        """An orderly end; anything else is a failure."""
        status = self.server.stop()
        assert status in (0, None), f'it ended with {status}\n{self.server.log_tail()}'

    def restart(self) -> None:
        self.stop()
        self.start()

    def cli(
        self, *arguments: str, environment: Mapping[str, str] | None = None, stdin: bytes = b'', expected: int = 0
    ) -> subprocess.CompletedProcess:
        """Runs a command of a client, with nothing but these variables."""
        done = subprocess.run(
            [binary(), *arguments],
            env={'HOME': str(self.state), 'LANG': 'C.UTF-8', **(environment or {})},
            cwd=self.state,
            input=stdin,
            capture_output=True,
            timeout=CLI_SECONDS,
        )
        message = f'{arguments}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}'
        assert done.returncode == expected, message
        return done

    def audit(self) -> list[dict]:
        """All lines of the audit trail, in their order."""
        lines = []
        # The names hold the number of the first line, with leading zeros.
        for path in sorted((self.state / 'data/audit').glob('*.jsonl')):
            lines += [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
        return lines

    def audit_of(self, request_id: str) -> list[dict]:
        """The lines of one request, by the id its answer carried."""
        return [line for line in self.audit() if line.get('requestid') == request_id]

    def files(self) -> list[pathlib.Path]:
        """Every file it has written, its log and the store included."""
        files = [path for path in (self.state / 'data').rglob('*') if path.is_file()]
        return [*files, self.server.log_path]
