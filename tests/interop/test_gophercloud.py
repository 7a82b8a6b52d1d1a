"""gophercloud, the library of Terraform's provider: all of its key manager packages, with a real Barbican and with ours."""

import json
import os
import subprocess

import pytest

from support.chatelaine import WORKSPACE
from support.key_manager import USER
from support.keystone import REGION

SOURCE = WORKSPACE / 'tests/interop/gophercloud/keymanager.go'
#: Where Debian's packages put the sources of libraries.
LIBRARIES = '/usr/share/gocode'
BUILD_SECONDS = 300
RUN_SECONDS = 120
STEPS = ['secrets', 'listings', 'metadata', 'containers', 'orders', 'access lists']


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    """Built from Debian's sources, without the network; the compiler's cache makes the next time short."""
    target = tmp_path_factory.mktemp('gophercloud') / 'keymanager'
    environment = {
        'PATH': os.environ['PATH'],
        'GO111MODULE': 'off',
        'GOPATH': LIBRARIES,
        'GOCACHE': str(WORKSPACE / 'target/go-cache'),
        'GOFLAGS': '',
        'CGO_ENABLED': '0',
    }
    built = subprocess.run(
        ['go', 'build', '-o', target, SOURCE],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert built.returncode == 0, built.stderr
    return target


def test_everything_gophercloud_can_do(manager, program):
    user = manager.keystone.users[USER]
    who = {
        'auth_url': manager.keystone.url,
        'user_id': user.id,
        'password': user.password,
        'project_id': manager.keystone.projects[manager.project],
        'region': REGION,
        'other_user_id': manager.keystone.users['nova'].id,
    }
    done = subprocess.run(
        [program],
        env={'PATH': os.environ['PATH']},
        input=json.dumps(who),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == STEPS
    client = manager.barbican()
    assert (client.secrets.list(), client.containers.list(), client.orders.list()) == ([], [], [])
