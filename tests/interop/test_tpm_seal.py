"""Master keys in a TPM: servers on machines that boot as approved, and on machines that do not."""

import json
import os
import pathlib
import subprocess

import pytest

from support.chatelaine import CLI_SECONDS, binary
from support.master_key import House, assert_readable, assert_sealed, put_keys
from support.servers import wait_until
from support.tpm import Tpm


class Machine:
    """A TPM and a server sealed to it, approved by an authority on another machine."""

    def __init__(self, folder: pathlib.Path, standalone, office: pathlib.Path, *settings: str):
        folder.mkdir()
        self.office = office
        self.tpm = Tpm(folder)
        self.tpm.boot()
        settings = (
            'seal.kind=tpm',
            'seal.retry_seconds=1',
            f'seal.tpm.device={self.tpm.address}',
            f'seal.tpm.authority={office}/authority.pub',
            'seal.tpm.name=first',
            *settings,
        )
        self.house = House(standalone(*settings))
        self.server = self.house.server

    def sign(self, state: dict, *options: str, expected: int = 0) -> pathlib.Path:
        """The authority's machine: it has its key, the state and nothing else."""
        (self.office / 'state.json').write_text(json.dumps(state))
        approval = self.office / 'approval.json'
        approval.unlink(missing_ok=True)
        arguments = ['approve', '--authority', 'authority', '--state', 'state.json', '--output', 'approval.json', *options]
        office(self.office, *arguments, expected=expected)
        return approval

    def approve(self, state: dict, *options: str) -> None:
        self.house.run('approve', '--install', str(self.sign(state, *options)))

    def state(self, *options: str) -> dict:
        return self.house.run('boot-state', *options)

    def reboot(self, **measured: str) -> None:
        assert self.server.close() in (0, None)
        self.tpm.reboot(**measured)
        self.server.start()


def office(folder: pathlib.Path, *arguments: str, expected: int = 0) -> str:
    done = subprocess.run(
        [binary(), 'master-key', *arguments],
        cwd=folder,
        env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
    )
    assert done.returncode == expected, done
    return done.stdout + done.stderr


@pytest.fixture
def machines(tmp_path, standalone):
    """Makes machines of one authority; their TPMs end with the test."""
    made = []
    folder = tmp_path / 'office'
    folder.mkdir(mode=0o700)
    office(folder, 'authority', '--output', 'authority')

    def make(*settings: str) -> Machine:
        made.append(Machine(tmp_path / f'machine-{len(made)}', standalone, folder, *settings))
        return made[-1]

    yield make
    for machine in made:
        machine.server.close()
        machine.tpm.power_off()


def test_a_changed_boot_stays_sealed_until_it_is_approved(machines):
    machine = machines()
    put = put_keys(machine.server.keys(), 3)
    # The first key is in use, and the machine says what to approve before it is rebooted.
    [state] = machine.house.status()['pending']
    assert state == machine.state()
    machine.approve(state)
    document = (machine.server.data / 'sealed-keys.json').read_bytes()
    machine.reboot()
    machine.house.wait_until_open()
    assert machine.house.status().get('pending', []) == []
    assert_readable(machine.server.keys(), put)

    for register in ('pcr0', 'pcr4', 'pcr8'):
        machine.reboot(**{register: f'another {register}'})
        assert_sealed(machine.house)
        [state] = machine.house.status()['pending']
        assert state['digest'] in machine.house.status()['problem']
        # What waits is written down where it can be read while the server is sealed.
        diary = (machine.server.data / 'sealed-events.jsonl').read_text()
        assert state['digest'] in diary
        machine.approve(state)
        machine.house.wait_until_open()
        assert_readable(machine.server.keys(), put)
    assert (machine.server.data / 'sealed-keys.json').read_bytes() == document, 'nothing was sealed anew'
    refused = [text for outcome, text in machine.house.events('unseal') if outcome == 'failure']
    assert len(refused) == 3
    assert all('PCR 0 =' in text for text in refused)
    assert len(machine.house.events('approve')) == 4
    machine.server.assert_good()


def test_an_update_is_approved_before_it_comes(machines):
    machine = machines()
    put = put_keys(machine.server.keys(), 1)
    state = machine.state()
    machine.approve(state)
    # As the firmware's maker would publish it.
    machine.reboot(pcr0='firmware 2')
    value = machine.state()['values']['0']
    machine.reboot()
    machine.house.wait_until_open()
    machine.approve(state, '--pcr', f'0={value}')
    machine.reboot(pcr0='firmware 2')
    machine.house.wait_until_open()
    assert_readable(machine.server.keys(), put)


def test_a_rotation_needs_the_approval_of_its_epoch(machines):
    machine = machines('rotation.keep_retired_seconds=0')
    put = put_keys(machine.server.keys(), 3)
    machine.approve(machine.state())
    assert 'not approved' in machine.house.run('rotate', expected=(1, 6, 7, 8))
    assert len(machine.house.status()['keys']) == 1
    machine.approve(machine.state('--epoch', '2'))
    machine.house.run('rotate')
    machine.reboot()
    machine.house.wait_until_open()
    assert_readable(machine.server.keys(), put)
    assert [key['epoch'] for key in machine.house.status()['keys']] == [2]


def test_what_is_no_approval_is_refused(machines):
    machine = machines()
    state = machine.state()
    other = state | {'cluster': '6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7'}
    assert 'this is' in machine.house.run('approve', '--install', str(machine.sign(other)), expected=2)
    stranger = machine.office / 'stranger'
    stranger.mkdir(mode=0o700)
    office(stranger, 'authority', '--output', 'authority')
    (stranger / 'state.json').write_text(json.dumps(state))
    office(stranger, 'approve', '--authority', 'authority', '--state', 'state.json', '--output', 'approval.json')
    complaint = machine.house.run('approve', '--install', str(stranger / 'approval.json'), expected=2)
    assert 'not signed by the configured release authority' in complaint
    machine.sign(state | {'digest': '00' * 32}, expected=2)
    machine.sign(state, '--pcr', '23=00', expected=2)
    zeros = state | {'values': {number: '00' * 32 for number in state['values']}}
    machine.sign(zeros, expected=2)
    # Put there by hand, they count for nothing either.
    folder = machine.server.data / 'approvals'
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / '1-forged.json').write_bytes((stranger / 'approval.json').read_bytes())
    (folder / '1-garbage.json').write_text('{')
    machine.reboot()
    assert_sealed(machine.house)
    machine.approve(state)
    machine.house.wait_until_open()


def test_a_tpm_that_is_away_or_another_opens_nothing(machines):
    machine = machines()
    put = put_keys(machine.server.keys(), 1)
    machine.approve(machine.state())
    paper = machine.office / 'paper'
    machine.house.run('recovery', 'create', '--output', str(paper))
    machine.server.close()
    machine.tpm.power_off()
    machine.server.start()
    assert_sealed(machine.house)
    assert 'not available' in machine.house.status()['problem']
    machine.tpm.boot()
    machine.house.wait_until_open()
    machine.server.close()

    # The board is replaced: everything that its TPM had is gone.
    machine.tpm.power_off()
    for file in machine.tpm.state.iterdir():
        file.unlink()
    machine.tpm.boot()
    machine.server.start()
    assert_sealed(machine.house)
    assert 'another TPM' in machine.house.status()['problem']
    machine.house.run('recover', '--from', str(paper / 'recovery-key'))
    machine.house.wait_until_open()
    assert_readable(machine.server.keys(), put)


def test_a_machine_without_measured_boot_is_refused(machines):
    machine = machines()
    machine.server.close()
    for file in machine.server.data.iterdir():
        if file.name in ('sealed-keys.json', 'chatelaine.db', 'sealed-events.jsonl'):
            file.unlink()
    (machine.server.data / 'audit').rename(machine.server.data / 'old-audit')
    machine.tpm.power_off()
    machine.tpm.power_on()
    machine.server.start()
    assert_sealed(machine.house)
    assert 'measured boot' in machine.house.status()['problem']
    machine.tpm.reboot()
    machine.house.wait_until_open()


def test_keys_move_into_the_tpm(tmp_path, standalone):
    folder, paper = tmp_path / 'machine', tmp_path / 'office'
    folder.mkdir()
    paper.mkdir(mode=0o700)
    office(paper, 'authority', '--output', 'authority')
    tpm = Tpm(folder)
    tpm.boot()
    try:
        settings = [f'seal.tpm.device={tpm.address}', f'seal.tpm.authority={paper}/authority.pub']
        house = House(standalone(*settings))
        put = put_keys(house.server.keys(), 2)
        house.run('seal', 'add', 'tpm')
        house.run('approve', '--authority', str(paper / 'authority'))
        house.server.reconfigure('seal.kind=tpm')
        house.server.close()
        (house.server.data / 'sealing-key').unlink()
        house.server.start()
        house.wait_until_open()
        house.run('seal', 'remove', 'file')
        assert_readable(house.server.keys(), put)
        wait_until('no handles are left', lambda: tpm.tool('tpm2_getcap', 'handles-transient').strip() == '', 5)
    finally:
        tpm.power_off()


def test_a_capped_boot_opens_nothing_again(machines, tmp_path):
    machine = machines('seal.tpm.cap_register=9')
    house, server = machine.house, machine.server
    put = put_keys(server.keys(), 2)
    before = machine.tpm.tool('tpm2_pcrread', 'sha256:9')
    # The first start made the keys and needed nothing opened.
    machine.approve(house.status()['pending'][0])
    assert machine.tpm.tool('tpm2_pcrread', 'sha256:9') == before
    server.close()
    server.start()
    house.wait_until_open()
    assert machine.tpm.tool('tpm2_pcrread', 'sha256:9') != before
    assert_readable(server.keys(), put)
    # It serves; nothing else opens the keys, and nobody is led to approve or seal what will not be again.
    assert 'was capped' in house.run('boot-state', expected=1)
    assert 'was capped' in house.run('rotate', expected=(1, 6, 7, 8))
    code, report = server.cli('audit', 'verify')
    assert code == 1
    assert 'was capped' in report['errors']
    code, report = server.cli('doctor')
    checks = {check['check']: check for check in report['checks']}
    assert code == 0
    assert (checks['seal']['result'], checks['cap']['result']) == ('warning', 'warning'), report
    assert 'No other seal is configured' in checks['cap']['text']
    assert 'No other seal is configured' in warnings(server)
    server.close()
    server.start()
    assert_sealed(house)
    status = house.status()
    assert 'PCR 9 was capped' in status['problem']
    assert status.get('pending', []) == []
    machine.reboot()
    house.wait_until_open()
    assert_readable(server.keys(), put)
    capped = [text for outcome, text in house.events('seal') if outcome == 'success' and 'PCR 9 is extended' in text]
    assert len(capped) == 2
    # Another seal opens in a capped boot, and is not followed by another cap.
    passphrase = tmp_path / 'passphrase'
    passphrase.touch(mode=0o600)
    passphrase.write_text('correct horse battery\n')
    server.reconfigure('seal.tpm.cap_register=-1', 'seal.also=["passphrase"]', f'seal.passphrase.file={passphrase}')
    machine.reboot()
    house.wait_until_open()
    house.run('seal', 'add', 'passphrase')
    server.reconfigure('seal.tpm.cap_register=9')
    machine.reboot()
    house.wait_until_open()
    after = machine.tpm.tool('tpm2_pcrread', 'sha256:9')
    server.close()
    server.start()
    house.wait_until_open()
    assert machine.tpm.tool('tpm2_pcrread', 'sha256:9') == after
    assert_readable(server.keys(), put)
    server.assert_good()


def warnings(server) -> str:
    done = subprocess.run(
        [binary(), *server.overrides(), 'config', 'check'],
        env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
    )
    assert done.returncode == 0, done
    return done.stderr
