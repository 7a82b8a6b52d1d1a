"""The key manager without any neighbour: embedded store, static identities, a folder of its own."""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
from collections.abc import Mapping

from .certificates import Authority, Issued
from .chatelaine import CLI_SECONDS, START_SECONDS, binary
from .native import Keys
from .servers import Server, free_port, wait_until

SOCKET_SECONDS = 20
READ_AGAIN = 'read again after SIGHUP'


class Standalone:
    """A server with one service's token; with a certificate, it speaks TLS."""

    def __init__(
        self,
        folder: pathlib.Path,
        *settings: str,
        certificate: Issued | None = None,
        address: str = '127.0.0.1',
        environment: Mapping[str, str] | None = None,
    ):
        self._opened: list[socket.socket] = []
        self.data = folder / 'data'
        self.port = port = free_port()
        scheme = 'http' if certificate is None else 'https'
        self.url = f'{scheme}://127.0.0.1:{port}'
        self.settings = [f'server.listen={address}:{port}', f'data.folder={self.data}']
        if certificate is not None:
            self.settings += [f'server.tls.cert={certificate.certificate}', f'server.tls.key={certificate.key}']
        # The last setting of a name counts.
        self.settings += settings
        command = [binary(), *self.overrides(), 'serve']
        # In the tests' folder, since the data folder may be full.
        logs = folder.parent / f'{folder.name}-logs'
        logs.mkdir(exist_ok=True)
        self.server = Server('chatelaine', logs, command, environment or {})

    def overrides(self) -> list[str]:
        return [part for setting in self.settings for part in ('--set', setting)]

    def reconfigure(self, *settings: str) -> None:
        """Other settings from the next start on; the last one of a name counts."""
        self.settings += settings
        self.server.command = [str(binary()), *self.overrides(), 'serve']

    def trusting(self, authority: Authority, client: Issued | None = None) -> 'Standalone':
        """Its clients trust this authority and show this certificate."""
        self.server.trust = {'verify': str(authority.file), 'cert': client and client.files}
        return self

    def start(self) -> 'Standalone':
        self.server.start(f'{self.url}/healthcheck', {200}, START_SECONDS)
        return self

    def token(self) -> str:
        text = (self.data / 'clouds.yaml').read_text()
        return text.split('service:', 1)[1].split('token: "', 1)[1].split('"', 1)[0]

    def keys(self, token: str | None = None) -> Keys:
        return Keys(self.url, token or self.token(), **self.server.trust)

    def connect(self) -> socket.socket:
        """A plain connection, closed by `close` at the latest; whoever waits on it for long fails."""
        self._opened.append(socket.create_connection(('127.0.0.1', self.port), timeout=SOCKET_SECONDS))
        return self._opened[-1]

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection with TLS, likewise."""
        self._opened.append(context.wrap_socket(self.connect(), server_hostname='127.0.0.1'))
        return self._opened[-1]

    def close(self) -> int | None:
        """Ends the server and all connections; its exit status, unless it had ended before."""
        status = self.server.stop()
        while self._opened:
            self._opened.pop().close()
        return status

    def reread(self) -> None:
        """Sends SIGHUP and waits until everything was read again."""
        before = self.server.log_text().count(READ_AGAIN)
        self.server.signal(signal.SIGHUP)
        wait_until('SIGHUP', lambda: self.server.log_text().count(READ_AGAIN) > before, SOCKET_SECONDS)

    def cli(self, *arguments: str) -> tuple[int, dict]:
        """Runs a command; its exit code and what it printed as JSON."""
        done = subprocess.run(
            [binary(), '--format', 'json', *self.overrides(), *arguments],
            capture_output=True,
            text=True,
            timeout=CLI_SECONDS,
            env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', **self.server.environment},
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

    def trail(self) -> list[dict]:
        """All events of the audit trail, in their order."""
        files = sorted((self.data / 'audit').glob('*.jsonl'))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def log_lines(self, words: str) -> list[str]:
        """The lines of the log that hold these words."""
        return [line for line in self.server.log_text().splitlines() if words in line]

    def assert_good(self) -> None:
        assert self.findings() == []
        code, report = self.cli('audit', 'verify')
        assert code == 0 and report['ok'], report
