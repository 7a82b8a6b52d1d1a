"""A second server joins: it gets the master keys by its TPM, over the network and in files."""

import json
import os
import pathlib
import subprocess

import pytest

from support.chatelaine import CLI_SECONDS, binary
from support.master_key import House, assert_readable, assert_sealed, put_keys
from support.tpm import Tpm


class Cluster:
    """A server with master keys in a file, a machine with a TPM and nothing else, and the release authority."""

    def __init__(self, folder: pathlib.Path, standalone):
        self.folder, self.office = folder, folder / 'office'
        self.office.mkdir(mode=0o700)
        command('master-key', 'authority', '--output', 'authority', folder=self.office)
        machine = folder / 'machine'
        machine.mkdir()
        self.tpm = Tpm(machine)
        self.tpm.boot()
        authority = f'seal.tpm.authority={self.office}/authority.pub'
        self.holder = House(standalone(authority))
        self.joiner = House(
            standalone(
                authority, 'seal.kind=tpm', 'seal.retry_seconds=1', 'seal.tpm.name=second',
                f'seal.tpm.device={self.tpm.address}', start=False,
            )  # fmt: skip
        )
        self.token = folder / 'token'
        self.token.write_text(self.holder.server.token())
        self.token.chmod(0o600)

    def on(self, house: House, *arguments: str, expected: int = 0) -> str:
        overrides = house.server.overrides()
        return command('--format', 'json', *overrides, 'attest', *arguments, folder=self.folder, expected=expected)

    def fingerprint(self) -> str:
        return self.holder.status()['keys'][0]['fingerprint']

    def enrol(self, *options: str) -> str:
        keys = json.loads(self.on(self.joiner, 'ek'))
        [name] = [key['endorsement_name'] for key in keys if key['kind'] == 'rsa-2048']
        self.on(self.holder, 'enrol', '--host', 'second', '--endorsement-key', name, '--no-certificate', *options)
        return name

    def join(self, *options: str, expected: int = 0) -> str:
        endpoint = ('--endpoint', self.holder.server.url, '--token-file', str(self.token))
        return self.on(self.joiner, 'join', *endpoint, *options, expected=expected)

    def approve_what_waits(self) -> int:
        folder = self.folder / 'states'
        self.on(self.holder, 'pending', '--output', str(folder))
        states = sorted(folder.iterdir())
        for state in states:
            approval = self.office / 'approval.json'
            command(
                'master-key', 'approve', '--authority', 'authority', '--state', str(state), '--output', str(approval),
                folder=self.office,
            )  # fmt: skip
            self.holder.run('approve', '--install', str(approval))
            state.unlink()
        return len(states)


def command(*arguments: str, folder: pathlib.Path, expected: int = 0) -> str:
    done = subprocess.run(
        [binary(), *arguments],
        cwd=folder,
        env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
    )
    assert done.returncode == expected, done
    return done.stdout + (done.stderr if expected else '')


@pytest.fixture
def cluster(tmp_path, standalone):
    made = Cluster(tmp_path, standalone)
    yield made
    made.joiner.server.close()
    made.tpm.power_off()


def test_a_server_joins_over_the_network(cluster):
    cluster.holder.run('rotate')
    assert 'the store is empty' in cluster.join(expected=2)
    expectation = ('--expect', cluster.fingerprint())
    assert 'is not enrolled' in cluster.join(*expectation, expected=4)
    name = cluster.enrol()
    complaint = cluster.join(*expectation, expected=4)
    assert 'not approved' in complaint and 'PCR 8 =' in complaint
    assert cluster.approve_what_waits() == len(cluster.holder.status()['keys'])
    wrong = cluster.join('--expect', '0' * 32, expected=7)
    assert 'not the expected master keys' in wrong
    assert not (cluster.joiner.server.data / 'sealed-keys.json').exists()

    cluster.join(*expectation)
    assert json.loads(cluster.on(cluster.holder, 'list'))['pending'] == []
    assert 'has master keys already' in cluster.join(*expectation, expected=6)
    cluster.joiner.server.start()
    cluster.joiner.wait_until_open()
    status = cluster.joiner.status()
    assert [key['fingerprint'] for key in status['keys']] == [
        key['fingerprint'] for key in cluster.holder.status()['keys']
    ]
    put = put_keys(cluster.joiner.server.keys(), 2)

    # Alone, after the same boot; and not after another one.
    cluster.holder.server.close()
    cluster.joiner.server.close()
    cluster.tpm.reboot()
    cluster.joiner.server.start()
    cluster.joiner.wait_until_open()
    assert_readable(cluster.joiner.server.keys(), put)
    cluster.joiner.server.close()
    cluster.tpm.reboot(pcr4='another loader')
    cluster.joiner.server.start()
    assert_sealed(cluster.joiner)

    # Both trails say what happened.
    enrolled = cluster.holder.events('enable/host')
    assert [outcome for outcome, _ in enrolled] == ['pending', 'success']
    granted = cluster.holder.events('allow/master_key')
    # The last grant was kept.
    assert [outcome for outcome, _ in granted] == ['failure', 'failure', 'success', 'success', 'success']
    assert all(name in text for _, text in granted)
    for part in ('host second', 'boot state', 'reset count', 'TPM firmware', 'epochs'):
        assert part in granted[-2][1]
    assert 'kept up to epoch 2' in granted[-1][1]
    received = cluster.joiner.events('receive/master_key')
    assert [outcome for outcome, _ in received] == ['failure', 'success']


def test_a_server_joins_by_files(cluster):
    cluster.enrol()
    first, second, third, fourth = (str(cluster.folder / name) for name in ('1', '2', '3', '4'))

    def ask(expected: int = 0) -> str:
        cluster.on(cluster.joiner, 'hello', '--output', first)
        cluster.on(cluster.holder, 'challenge', '--input', first, '--output', second)
        cluster.on(cluster.joiner, 'answer', '--input', second, '--output', third)
        return cluster.on(cluster.holder, 'grant', '--input', third, '--output', fourth, expected=expected)

    assert 'not approved' in ask(expected=4)
    assert cluster.approve_what_waits() == 1
    ask()
    # Each step once, and in its order.
    again = cluster.on(cluster.holder, 'grant', '--input', third, '--output', fourth + 'b', expected=4)
    assert 'no such challenge' in again
    assert 'answered already' in cluster.on(
        cluster.joiner, 'answer', '--input', second, '--output', third, expected=1
    )
    state = cluster.joiner.server.data / 'attestation-state'
    assert state.stat().st_mode & 0o777 == 0o600
    altered = json.loads(pathlib.Path(fourth).read_text())
    altered['bundle'] = altered['bundle'][:400] + ('A' if altered['bundle'][400] != 'A' else 'B') + altered['bundle'][401:]
    (cluster.folder / 'altered').write_text(json.dumps(altered))
    expectation = ('--expect', cluster.fingerprint())
    for file, code in ((str(cluster.folder / 'altered'), 7), (first, 2)):
        cluster.on(cluster.joiner, 'receive', '--input', file, *expectation, expected=code)
    cluster.on(cluster.joiner, 'receive', '--input', fourth, *expectation)
    assert not state.exists()
    cluster.joiner.server.start()
    cluster.joiner.wait_until_open()


def test_the_store_tells_the_right_keys(cluster, standalone):
    """A host whose store is there already needs nobody's word; keys of others do not fit it."""
    put = put_keys(cluster.holder.server.keys(), 2)
    cluster.enrol()
    data = cluster.joiner.server.data
    data.mkdir(mode=0o700)
    cluster.holder.server.close()
    for file in cluster.holder.server.data.glob('chatelaine.db*'):
        (data / file.name).write_bytes(file.read_bytes())
    for name in ('identities.toml', 'clouds.yaml'):
        (data / name).write_bytes((cluster.holder.server.data / name).read_bytes())
        (data / name).chmod(0o600)
    cluster.holder.server.start()
    assert 'not approved' in cluster.join(expected=4)
    cluster.approve_what_waits()

    stranger = House(standalone(f'seal.tpm.authority={cluster.office}/authority.pub'))
    right, cluster.holder = cluster.holder, stranger
    token, strange_token = cluster.token.read_text(), stranger.server.token()
    cluster.token.write_text(strange_token)
    cluster.enrol()
    assert 'not approved' in cluster.join(expected=4)
    cluster.approve_what_waits()
    assert 'not the expected master keys' in cluster.join(expected=7)
    assert not (data / 'sealed-keys.json').exists()

    cluster.holder = right
    cluster.token.write_text(token)
    cluster.join()
    cluster.joiner.server.start()
    cluster.joiner.wait_until_open()
    assert_readable(cluster.joiner.server.keys(cluster.holder.server.token()), put)
