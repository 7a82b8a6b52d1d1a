"""Drives `keystone_probe`, the example of `chatelaine-client` that asks Keystone as the server does."""

import json
import os
import pathlib
import select
import subprocess

from .identity import Token

WORKSPACE = pathlib.Path(__file__).resolve().parents[3]
ANSWER_SECONDS = 60
TIMEOUT_MILLISECONDS = 5000


def binary() -> pathlib.Path:
    given = os.environ.get('CHATELAINE_KEYSTONE_PROBE')
    path = pathlib.Path(given) if given else WORKSPACE / 'target/debug/examples/keystone_probe'
    assert path.is_file(), f'{path} is missing: cargo build -p chatelaine-client --example keystone_probe'
    return path


class Probe:
    """One client of Keystone; close it, or use it in a `with` statement."""

    def __init__(self, environment: dict[str, str], folder: pathlib.Path, cloud: str | None = None, timeout=None):
        self._process = subprocess.Popen(
            [binary()],
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        command = {'environment': environment, 'cloud': cloud, 'working_folder': str(folder)}
        self.connected = self._ask('connect', timeout_milliseconds=timeout or TIMEOUT_MILLISECONDS, **command)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=10)

    def _ask(self, what: str, **parts) -> dict:
        self._process.stdin.write(json.dumps({'do': what, **parts}) + '\n')
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        assert ready, f'no answer to {what}'
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f'the probe ended at {what}: {self._process.communicate(timeout=10)[1]}')
        return json.loads(line)

    def authenticate(self) -> dict:
        return self._ask('authenticate')

    def validate(
        self, token: Token | str, allow_expired: bool = False, method: str = 'GET', path: str = '/v1/keys'
    ) -> dict:
        value = token.value if isinstance(token, Token) else token
        answer = self._ask('validate', token=value, allow_expired=allow_expired, method=method, path=path)
        assert len(value) < 8 or value not in json.dumps(answer), 'the answer holds the token'
        return answer

    def endpoint(self, interface: str = 'public', region: str | None = None) -> dict:
        return self._ask('endpoint', interface=interface, region=region)

    def reachable(self) -> dict:
        return self._ask('reachable')
