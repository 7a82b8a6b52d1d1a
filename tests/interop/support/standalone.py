"""The key manager without any neighbour: embedded store, static identities, a folder of its own."""

import json
import os
import pathlib
import subprocess

from .chatelaine import CLI_SECONDS, START_SECONDS, binary
from .native import Keys
from .servers import Server, free_port


class Standalone:
    """A server with one service's token."""

    def __init__(self, folder: pathlib.Path, *settings: str):
        self.data = folder / 'data'
        port = free_port()
        self.url = f'http://127.0.0.1:{port}'
        self.settings = [f'server.listen=127.0.0.1:{port}', f'data.folder={self.data}', *settings]
        command = [binary(), *self._overrides(), 'serve']
        # In the tests' folder, since the data folder may be full.
        logs = folder.parent / f'{folder.name}-logs'
        logs.mkdir(exist_ok=True)
        self.server = Server('chatelaine', logs, command, {})

    def _overrides(self) -> list[str]:
        return [part for setting in self.settings for part in ('--set', setting)]

    def start(self) -> 'Standalone':
        self.server.start(f'{self.url}/healthcheck', {200}, START_SECONDS)
        return self

    def token(self) -> str:
        text = (self.data / 'clouds.yaml').read_text()
        return text.split('service:', 1)[1].split('token: "', 1)[1].split('"', 1)[0]

    def keys(self) -> Keys:
        return Keys(self.url, self.token())

    def cli(self, *arguments: str) -> tuple[int, dict]:
        """Runs a command; its exit code and what it printed as JSON."""
        done = subprocess.run(
            [binary(), '--format', 'json', *self._overrides(), *arguments],
            capture_output=True,
            text=True,
            timeout=CLI_SECONDS,
            env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
        )
        printed = json.loads(done.stdout) if done.stdout.strip() else {}
        assert done.returncode in (0, 1) or not printed, done
        return done.returncode, printed or {'errors': done.stderr}

    def findings(self) -> list[str]:
        code, report = self.cli('store', 'check')
        assert 'findings' in report, report
        problems = [finding['problem'] for finding in report['findings']]
        assert code == (1 if problems else 0), report
        return problems

    def assert_good(self) -> None:
        assert self.findings() == []
        code, report = self.cli('audit', 'verify')
        assert code == 0 and report['ok'], report
