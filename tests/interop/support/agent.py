"""An agent beside a key manager, and a client of its socket with the standard library alone."""

import base64
import http.client
import json
import os
import pathlib
import socket
import subprocess
import tempfile

from .chatelaine import CLI_SECONDS, START_SECONDS, binary
from .native import Keys, new_id
from .servers import Server, wait_until

TIMEOUT_SECONDS = 30


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__('agent', timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


class Answer:
    """A status, headers and a body."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.json()['error']['message']


class Socket:
    """The agent's socket as a process of the service uses it. Not to be shared between threads."""

    def __init__(self, path: pathlib.Path):
        self._connection = _Connection(str(path))

    def call(self, method: str, path: str, body=None, token: str | None = None) -> Answer:
        headers = {} if token is None else {'X-Auth-Token': token}
        text = None
        if body is not None:
            headers['Content-Type'] = 'application/json'
            text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        try:
            self._connection.request(method, path, text, headers)
            return Answer(self._connection.getresponse())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            raise

    def create(self, algorithm: str = 'aes', token: str | None = None, **fields) -> Answer:
        return self.call('POST', '/v1/keys', {'algorithm': algorithm, **fields}, token)

    def made(self, algorithm: str = 'aes', **fields) -> tuple[str, bytes]:
        """The id of a new key, and the key."""
        answer = self.create(algorithm, return_key=True, **fields)
        assert answer.status == 201, answer.body
        return answer.json()['id'], base64.b64decode(answer.json()['key_string'])

    def get(self, key_id: str, token: str | None = None, query: str = '') -> Answer:
        return self.call('GET', f'/v1/keys/{key_id}{query}', token=token)

    def key(self, key_id: str, query: str = '') -> bytes:
        answer = self.get(key_id, query=query)
        assert answer.status == 200, answer.body
        return base64.b64decode(answer.json()['key_string'])

    def delete(self, key_id: str) -> Answer:
        return self.call('DELETE', f'/v1/keys/{key_id}')

    def close(self) -> None:
        self._connection.close()


def keystone_settings(folder: pathlib.Path, keystone, endpoint: str, service: str) -> list[str]:
    """The settings of an agent whose service has Keystone credentials."""
    user = keystone.users[service]
    clouds = folder / f'clouds-{service}.yaml'
    clouds.touch(mode=0o600)
    auth = {
        'auth_url': keystone.url,
        'username': user.name,
        'password': user.password,
        'user_domain_name': 'Default',
        'project_name': 'service',
        'project_domain_name': 'Default',
    }
    # JSON is YAML.
    clouds.write_text(json.dumps({'clouds': {service: {'auth': auth}}}))
    return [f'key_manager.endpoint={endpoint}', f'key_manager.cloud={service}', f'key_manager.clouds_file={clouds}']


def service_token(server, name: str) -> str:
    """The token of another service of the same key manager."""
    code, printed = server.cli('identity', 'add', name, '--project', 'service', '--role', 'service')
    assert code == 0, printed
    keys = Keys(server.url, printed['token'])
    wait_until('the identity', lambda: keys.get(new_id()).status_code == 404, 10)
    return printed['token']


class Agent:
    """An agent process with a data folder and a socket of its own."""

    def __init__(self, folder: pathlib.Path, *settings: str, name: str = 'agent'):
        self.data = folder / name
        # Paths of sockets are short.
        self._short = tempfile.TemporaryDirectory(prefix='agent-', dir='/tmp')
        self.socket_path = pathlib.Path(self._short.name) / 's'
        self.settings = [
            f'data.folder={self.data}',
            f'agent.socket={self.socket_path}',
            f'agent.peers=["uid:{os.geteuid()}"]',
            'seal.retry_seconds=1',
            *settings,
        ]
        logs = folder / f'{name}-logs'
        logs.mkdir(exist_ok=True)
        self.server = Server(name, logs, [str(binary()), *self.overrides(), 'agent'], {})
        self._sockets: list[Socket] = []

    def overrides(self) -> list[str]:
        return [part for setting in self.settings for part in ('--set', setting)]

    def reconfigure(self, *settings: str) -> None:
        """Other settings from the next start on; the last one of a name counts."""
        self.settings += settings
        self.server.command = [str(binary()), *self.overrides(), 'agent']

    def init(self) -> 'Agent':
        code, printed = self.cli('agent', 'init')
        assert code == 0, printed
        return self

    def start(self, ready: bool = True) -> 'Agent':
        self.server.start_without_waiting()
        wait_until('the agent', self._answers, START_SECONDS)
        if ready:
            wait_until('the agent to be ready', lambda: self.call('GET', '/readyz').status == 200, START_SECONDS)
        return self

    def _answers(self) -> bool:
        assert self.server.process.poll() is None, self.server.log_tail()
        try:
            # Whoever is not on the list is told so.
            return self.call('GET', '/healthcheck').status in (200, 403)
        except OSError:
            return False

    def call(self, method: str, path: str, body=None) -> Answer:
        """One request over a connection of its own."""
        client = Socket(self.socket_path)
        try:
            return client.call(method, path, body)
        finally:
            client.close()

    def socket(self) -> Socket:
        self._sockets.append(Socket(self.socket_path))
        return self._sockets[-1]

    def status(self) -> dict:
        code, printed = self.cli('agent', 'status')
        assert code in (0, 8), printed
        return printed

    def metric(self, name: str) -> int:
        text = self.call('GET', '/metrics').body.decode()
        return int(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))

    def cli(self, *arguments: str, stdin: str = '') -> tuple[int, dict]:
        """Runs a command on the agent's configuration; its exit code and what it printed as JSON."""
        done = subprocess.run(
            [binary(), '--format', 'json', *self.overrides(), *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=CLI_SECONDS,
            env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
        )
        printed = json.loads(done.stdout) if done.stdout.strip() else {}
        return done.returncode, printed or {'errors': done.stderr}

    def close(self) -> int | None:
        while self._sockets:
            self._sockets.pop().close()
        return self.server.stop()

    def remove(self) -> None:
        self.close()
        self._short.cleanup()
