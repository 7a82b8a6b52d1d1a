"""What tests of master keys share: the commands, and what a sealed server answers."""

import json
import os
import subprocess
from collections.abc import Mapping

import requests

from .chatelaine import CLI_SECONDS, binary
from .native import Keys, encoded, expect, new_id, random_key
from .servers import wait_until
from .standalone import SOCKET_SECONDS, Standalone

OPEN_SECONDS = 30


class House:
    """A server and the commands for its master keys."""

    def __init__(self, server: Standalone, environment: Mapping[str, str] | None = None):
        self.server = server
        self.environment = dict(environment or {})

    def run(self, *arguments: str, stdin: str = '', expected: int | tuple[int, ...] = 0) -> dict | str:
        """A command; what it printed as JSON, or its complaint."""
        done = subprocess.run(
            [binary(), '--format', 'json', *self.server.overrides(), 'master-key', *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=CLI_SECONDS,
            env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', **self.environment},
        )
        allowed = expected if isinstance(expected, tuple) else (expected,)
        assert done.returncode in allowed, f'{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}'
        return json.loads(done.stdout) if done.stdout.strip() else done.stderr

    def status(self) -> dict:
        return self.run('status', expected=(0, 8))

    def readiness(self) -> requests.Response:
        return requests.get(f'{self.server.url}/readyz', timeout=SOCKET_SECONDS)

    def wait_until_open(self) -> None:
        wait_until('the server opens', lambda: self.readiness().status_code == 200, OPEN_SECONDS)

    def events(self, action: str) -> list[tuple[str, str]]:
        """Outcome and reason of the events of that action in the audit trail."""
        found = [event for event in self.server.trail() if event.get('action') == action]
        return [(event['outcome'], event.get('reason', {}).get('reasonCode', '')) for event in found]


def put_keys(keys: Keys, count: int) -> dict[str, bytes]:
    put = {new_id(): random_key() for _ in range(count)}
    for key_id, key in put.items():
        expect(keys.put(key_id, key), 201)
    return put


def assert_readable(keys: Keys, put: dict[str, bytes]) -> None:
    for key_id, key in put.items():
        assert expect(keys.get(key_id), 200)['key_string'] == encoded(key)


def assert_sealed(house: House) -> None:
    """What a sealed server answers, on every kind of route."""
    url = house.server.url
    answer = requests.get(f'{url}/healthcheck', timeout=SOCKET_SECONDS)
    assert (answer.status_code, answer.text) == (200, 'OK')
    answer = house.readiness()
    assert answer.status_code == 503
    assert int(answer.headers['Retry-After']) > 0
    [check] = answer.json()['checks']
    assert (check['name'], check['ok']) == ('seal', False)
    assert check['problem'].startswith('sealed: ')
    for path in ('/v1/keys', f'/v1/keys/{new_id()}', '/v1/algorithms', '/v1/operator/secrets', '/nowhere'):
        answer = requests.get(url + path, headers={'X-Auth-Token': 'x'}, timeout=SOCKET_SECONDS)
        assert answer.status_code == 503, path
        assert 'sealed' in answer.json()['error']['message']
        assert int(answer.headers['Retry-After']) > 0
        assert answer.headers['X-Openstack-Request-Id'].startswith('req-')
    # Barbican's clients get Barbican's errors.
    answer = requests.get(f'{url}/v1/secrets', headers={'X-Auth-Token': 'x'}, timeout=SOCKET_SECONDS)
    assert answer.status_code == 503
    assert 'sealed' in answer.json()['description']
    assert 'chatelaine_ready{check="seal"} 0' in requests.get(f'{url}/metrics', timeout=SOCKET_SECONDS).text
    status = house.status()
    assert (status['running'], status['sealed']) == (True, True)
