"""A real Swift with one disk and encryption: storage servers, a proxy with `kms_keymaster`, Keystone's middleware.

Everything lies in a folder of its own; what Swift looks for under the system's paths when it is not told otherwise is
named here. The storage servers outlive proxies, as objects outlive keys' outages.
"""

import configparser
import pathlib
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping

import pytest
import requests

from .documents import fragment
from .identity import Token, User
from .keystone import BIN, REGION, Keystone
from .servers import Server, free_port

START_SECONDS = 60
RING_SECONDS = 60
TIMEOUT_SECONDS = 30
DEVICE = 'disk'
STORAGE = ['account', 'container', 'object']
PAGE = 'docs/admin/openstack.md'

#: Runs a command of Swift with another `swift.conf` than the system's, which its modules read when they are imported.
LAUNCH = """\
import runpy, sys
from swift.common import utils
utils.SWIFT_CONF_FILE = sys.argv[1]
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""

#: Makes rings of one disk; `name port` are the arguments, after the folder.
RINGS = """\
import os, sys
from swift.common.ring import RingBuilder
folder, device, *rest = sys.argv[1:]
for name, port in zip(rest[::2], map(int, rest[1::2])):
    builder = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
    place = {'ip': '127.0.0.1', 'port': port, 'replication_ip': '127.0.0.1', 'replication_port': port}
    builder.add_dev({'region': 1, 'zone': 1, 'weight': 1, 'device': device, 'meta': '', **place})
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, f'{name}.ring.gz'))
"""

COMMON = """\
[DEFAULT]
swift_dir = {folder}
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
# What goes to the console is kept; nothing for the system's log.
log_udp_host = 127.0.0.1
log_udp_port = {log_port}
"""

STORAGE_SERVER = (
    COMMON
    + """\
devices = {devices}
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = healthcheck {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
[filter:healthcheck]
use = egg:swift#healthcheck
"""
)

PROXY = (
    COMMON
    + """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging authtoken keystoneauth copy
    kms_keymaster encryption proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:copy]
use = egg:swift#copy
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {auth_url}
auth_url = {auth_url}
auth_type = password
username = {username}
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = {region}
delay_auth_decision = true
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:kms_keymaster]
use = egg:swift#kms_keymaster
keymaster_config_path = {keymaster}
[filter:encryption]
use = egg:swift#encryption
"""
)


def write_private(path: pathlib.Path, text: str) -> pathlib.Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


class Swift:
    """Rings and storage servers, and the proxies in front of them."""

    def __init__(self, state: pathlib.Path, keystone: Keystone):
        self.state = state
        self.keystone = keystone
        self.devices = state / 'devices'
        (self.devices / DEVICE).mkdir(parents=True)
        self.configuration = state / 'swift.conf'
        self.configuration.write_text('[swift-hash]\nswift_hash_path_suffix = interop\n')
        self._log_port = free_port()
        ports = {kind: free_port() for kind in STORAGE}
        rings = [part for kind, port in ports.items() for part in (kind, str(port))]
        command = [sys.executable, '-c', RINGS, str(state), DEVICE, *rings]
        made = subprocess.run(command, capture_output=True, text=True, timeout=RING_SECONDS)
        assert made.returncode == 0, made.stderr
        self._servers: list[Server] = []
        try:
            # One after the other: a child ends with the thread that began it, so a pool of threads is no help.
            for kind, port in ports.items():
                text = STORAGE_SERVER.format(
                    folder=state, port=port, log_port=self._log_port, devices=self.devices, kind=kind
                )
                path = write_private(state / f'{kind}-server.conf', text)
                self._servers.append(self.server(f'{kind}-server', path))
                start(self._servers[-1], port)
        except BaseException:
            self.stop()
            raise

    def server(self, command: str, configuration: pathlib.Path, name: str | None = None) -> Server:
        """A server of Swift, not started."""
        line = [sys.executable, '-c', LAUNCH, self.configuration, BIN / f'swift-{command}', configuration, '-v']
        return Server(name or f'swift-{command}', self.state, line, {'HOME': str(self.state)})

    def proxy(self, name: str, user: User, project: str, root_secrets: Mapping[str, str]) -> 'Proxy':
        """A proxy, not started, whose keymaster reads these options as this user of a project."""
        return Proxy(self, name, user, project, root_secrets)

    def proxy_configuration(self, name: str, port: int, keymaster: pathlib.Path) -> pathlib.Path:
        user = self.keystone.users['swift']
        text = PROXY.format(
            folder=self.state,
            port=port,
            log_port=self._log_port,
            keymaster=keymaster,
            auth_url=self.keystone.url,
            username=user.name,
            password=user.password,
            region=REGION,
        )
        return write_private(self.state / f'{name}.conf', text)

    def on_disk(self, content: bytes) -> list[pathlib.Path]:
        """The files of all objects that hold these bytes."""
        return [path for path in self.objects() if content in path.read_bytes()]

    def objects(self) -> list[pathlib.Path]:
        """The files that hold objects' bodies."""
        return [path for path in self.devices.rglob('*.data') if path.is_file()]

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


def start(server: Server, port: int) -> None:
    server.start(f'http://127.0.0.1:{port}/healthcheck', {200}, START_SECONDS)


class Proxy:
    """One proxy with a keymaster of its own."""

    def __init__(self, swift: Swift, name: str, user: User, project: str, root_secrets: Mapping[str, str]):
        self._swift = swift
        self._port = free_port()
        self.url = f'http://127.0.0.1:{self._port}'
        keymaster = configparser.ConfigParser(interpolation=None)
        # As operators are told to write it, with what is another's replaced.
        keymaster.read_string(fragment(PAGE, '[kms_keymaster]'))
        section = keymaster['kms_keymaster']
        del section['key_id']
        own = {
            'auth_endpoint': swift.keystone.url,
            'username': user.name,
            'password': user.password,
            'project_name': project,
            'barbican_region_name': REGION,
        }
        missing = own.keys() - section.keys()
        assert not missing, f'{PAGE} does not tell of {missing}'
        section.update(own | dict(root_secrets))
        path = write_private(swift.state / f'{name}-keymaster.conf', '')
        with path.open('w') as file:
            keymaster.write(file)
        self.server = swift.server('proxy-server', swift.proxy_configuration(name, self._port, path), name)

    def start(self) -> None:
        start(self.server, self._port)

    def stop(self) -> None:
        self.server.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def refuses_to_start(self) -> str:
        """It must end by itself and not serve; what it says about that."""
        before = len(self.server.log_text())
        with pytest.raises(AssertionError, match='instead of serving'):
            self.start()
        return self.server.log_text()[before:]


class Objects:
    """Objects of one account, as a user sees them through a proxy."""

    def __init__(self, proxy: Proxy, token: Token):
        self._url = f'{proxy.url}/v1/AUTH_{token.project_id}'
        self._headers = {'X-Auth-Token': token.value}

    def call(self, method: str, path: str, data: bytes | None = None, **headers: str) -> requests.Response:
        url = f'{self._url}/{urllib.parse.quote(path)}'
        return requests.request(
            method, url, data=data, headers={**self._headers, **headers}, timeout=TIMEOUT_SECONDS
        )

    def put(self, path: str, data: bytes | None = None, **headers: str) -> None:
        answer = self.call('PUT', path, data, **headers)
        assert answer.status_code in (201, 202), f'{answer.status_code}: {answer.text}'

    def get(self, path: str) -> bytes:
        answer = self.call('GET', path)
        assert answer.status_code == 200, f'{answer.status_code}: {answer.text}'
        return answer.content
