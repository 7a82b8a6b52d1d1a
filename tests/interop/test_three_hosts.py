"""Three machines with TPMs and one cluster: each starts alone after an approved boot, stays out after any other, and no power
cut locks one out."""

import random
import time

import pytest

from support.cluster import Cluster
from support.master_key import OPEN_SECONDS, assert_readable, assert_sealed, put_keys
from support.servers import wait_until

#: What an attacker, or an update, would change: firmware, boot loader, the kernel's command line as GRUB measures it.
CHANGES = ('pcr0', 'pcr4', 'pcr8')
POWER_CUTS = 10
#: Locks a TPM's keys that are under its protection against guessing, so that it shows whether ours are.
TRIES = 3


@pytest.fixture
def cluster(tmp_path, standalone):
    made = Cluster(tmp_path, standalone)
    yield made
    made.end()


def test_three_hosts_start_alone_and_only_after_approved_boots(cluster):
    """T-DISK-STOLEN, T-JOIN-BOOT: for a host that sealed and for hosts that joined."""
    one = cluster.machine('one').start()
    one.approve(*one.house.status()['pending'])
    machines = [one]
    for name in ('two', 'three'):
        machine = cluster.machine(name)
        machines.append(cluster.join(one.house, machine).open())
    fingerprints = {cluster.fingerprint(machine.house) for machine in machines}
    assert len(fingerprints) == 1
    assert len({machine.document()['audit_key']['id'] for machine in machines}) == 3
    put = {machine.name: put_keys(machine.server.keys(), 2) for machine in machines}
    documents = {machine.name: machine.document() for machine in machines}
    for machine in machines:
        machine.server.close()

    # One after the other: nobody else is there to help.
    for machine in machines:
        machine.tpm.reboot()
        machine.open()
        assert_readable(machine.server.keys(), put[machine.name])
        digests = []
        for register in CHANGES:
            machine.reboot(**{register: f'another {register}'})
            assert_sealed(machine.house)
            [state] = machine.house.status()['pending']
            digests.append(state['digest'])
            assert state['digest'] in machine.house.status()['problem']
            assert state['digest'] in machine.diary()
            machine.approve(state)
            machine.house.wait_until_open()
            assert_readable(machine.server.keys(), put[machine.name])
        refused = [text for outcome, text in machine.house.events('unseal') if outcome == 'failure']
        assert len(refused) == len(set(digests)) == len(CHANGES)
        assert all(digest in text for digest, text in zip(digests, refused, strict=True))
        machine.server.assert_good()
        machine.server.close()
        if machine is not one:
            assert machine.document() == documents[machine.name], 'nothing was sealed anew'


def lockout_counter(machine) -> int:
    """How many failures the TPM has counted."""
    text = machine.tpm.tool('tpm2_getcap', 'properties-variable')
    count = next(line for line in text.splitlines() if 'TPM2_PT_LOCKOUT_COUNTER' in line)
    return int(count.split(':')[1], 16)


def test_power_cuts_lock_nobody_out(cluster):
    """TPM and server lose power in the middle of their work, again and again; what counts failures counts them."""
    holder = cluster.holder()
    machine = cluster.join(holder, cluster.machine('two')).open()
    put = put_keys(machine.server.keys(), 2)
    machine.tpm.tool('tpm2_dictionarylockout', '--setup-parameters', f'--max-tries={TRIES}', '--recovery-time=86400')
    waits = random.Random(20261125)
    counters = []
    for cut in range(POWER_CUTS):
        # A key with the default attributes, which count an unorderly end after their use as a failed guess.
        machine.tpm.tool('tpm2_createprimary', '-C', 'o', '-p', 'value', '-c', str(machine.folder / f'guarded-{cut}'))
        try:
            machine.tpm.tool(
                'tpm2_create', '-C', str(machine.folder / f'guarded-{cut}'), '-P', 'value',
                '-u', str(machine.folder / 'public'), '-r', str(machine.folder / 'private'),
            )  # fmt: skip
        except AssertionError as refused:
            # It is locked by now.
            assert '0x921' in str(refused) or 'lockout' in str(refused), refused
        if cut % 2:
            # In the middle of a start.
            machine.server.close()
            machine.server.server.start_without_waiting()
            time.sleep(waits.uniform(0, 0.4))
        machine.server.server.kill()
        machine.tpm.power_off()
        machine.tpm.boot()
        counters.append(lockout_counter(machine))
        machine.open()
        assert_readable(machine.server.keys(), put)
    assert counters[0] > 0 and max(counters) >= TRIES, f'the TPM has not counted: {counters}'
    # In lockout, too, the host proves itself to those that have the keys.
    machine.server.reconfigure(*cluster.asking(holder))
    machine.server.close()
    machine.open()
    [sibling] = wait_until(
        'it is answered',
        lambda: [sibling for sibling in machine.house.status()['siblings'] if sibling.get('answered')], OPEN_SECONDS,
    )  # fmt: skip
    assert sibling.get('problem') is None
    machine.server.assert_good()
