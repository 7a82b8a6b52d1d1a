"""Later master keys: a rotation waits for every host, and each gets the new key by itself, without a restart."""

import json

import pytest

from support.cluster import Cluster, attest
from support.master_key import OPEN_SECONDS, assert_readable, put_keys
from support.servers import wait_until


@pytest.fixture
def cluster(tmp_path, standalone):
    made = Cluster(tmp_path, standalone)
    yield made
    made.end()


def states_of(house) -> dict[int, str]:
    return {key['epoch']: key['state'] for key in house.status()['keys']}


def wait_for_states(house, states: dict[int, str]) -> None:
    wait_until(f'master keys {states}', lambda: states_of(house) == states, OPEN_SECONDS)


def has(holder) -> dict[str, int]:
    """The newest epoch that each host has confirmed."""
    return {host['name']: host['kept'] for host in json.loads(attest(holder, 'list'))['hosts']}


def test_a_rotation_waits_for_every_host(cluster):
    holder = cluster.holder('rotation.keep_retired_seconds=0', 'rotation.every_seconds=1')
    two, three = (
        cluster.join(holder, cluster.machine(name, *cluster.asking(holder))).open() for name in ('two', 'three')
    )
    put = {machine.name: put_keys(machine.server.keys(), 2) for machine in (two, three)}
    at_holder = put_keys(holder.server.keys(), 2)
    before = {machine.name: machine.document() for machine in (two, three)}
    processes = [server.server.process.pid for server in (two.server, three.server)]
    assert has(holder) == {'two': 1, 'three': 1}

    # Handed out first, and only to boots that are approved for it.
    status = holder.run('rotate', '--no-wait')
    assert status['waits_for'] == ['two', 'three']
    assert states_of(holder) == {1: 'active', 2: 'staged'}
    wait_until('both ask', lambda: len(cluster.waiting(holder)) == 2, OPEN_SECONDS)
    problem = wait_until('two says why', lambda: two.house.status()['siblings'][0].get('problem'), OPEN_SECONDS)
    assert 'not approved' in problem
    assert states_of(holder) == {1: 'active', 2: 'staged'}, 'nothing is used that a host does not have'
    # What waits is there after a restart.
    holder.server.close()
    holder.server.start()
    assert holder.status()['waits_for'] == ['two', 'three']
    wait_until('both ask again', lambda: len(cluster.waiting(holder)) == 2, OPEN_SECONDS)
    assert cluster.approve_waiting(holder) == [2, 2]

    # By themselves, and in use everywhere; the former key is destroyed only then.
    for house in (holder, two.house, three.house):
        wait_for_states(house, {1: 'retired', 2: 'active'} if house is not holder else {2: 'active'})
    assert has(holder) == {'two': 2, 'three': 2}
    assert len({cluster.fingerprint(house) for house in (holder, two.house, three.house)}) == 1
    assert [server.server.process.pid for server in (two.server, three.server)] == processes
    for machine in (two, three):
        # What is the host's own stays.
        document = machine.document()
        assert document['audit_key']['id'] == before[machine.name]['audit_key']['id']
        assert document['generation'] > before[machine.name]['generation']
        assert_readable(machine.server.keys(), put[machine.name])
        [came, used] = [text for outcome, text in machine.house.events('receive/master_key') if outcome == 'success'][-2:]
        assert 'epoch 2, staged' in came and 'is the active one now' in used and holder.server.url in came
    assert_readable(holder.server.keys(), at_holder)
    kept = [text for outcome, text in holder.events('allow/master_key') if 'kept up to epoch 2' in text]
    assert {name for name in ('two', 'three') for text in kept if f'host {name},' in text} == {'two', 'three'}

    # Alone after the same boot, with the later key.
    holder.server.close()
    two.server.close()
    two.tpm.reboot()
    two.open()
    assert_readable(two.server.keys(), put['two'])
    two.server.assert_good()


def test_a_host_that_is_away_is_waited_for_or_left_out(cluster):
    holder = cluster.holder('rotation.keep_retired_seconds=2', 'rotation.every_seconds=1')
    two, three = (
        cluster.join(holder, cluster.machine(name, *cluster.asking(holder))).open() for name in ('two', 'three')
    )
    put = put_keys(three.server.keys(), 2)
    three.server.close()
    # Approved beforehand, as an operator who plans it would.
    for state in [two.house.run('boot-state', '--epoch', '2'), two.house.run('boot-state', '--epoch', '3')]:
        holder.run('approve', '--install', str(cluster.sign(state)))
    complaint = holder.run('rotate', '--without', 'nobody', expected=7)
    assert 'nobody' in complaint
    status = holder.run('rotate', '--wait', '4', expected=8)
    assert status['waits_for'] == ['three']
    assert states_of(holder) == {1: 'active', 2: 'staged'} == states_of(two.house)
    [staged] = [key['id'] for key in holder.status()['keys'] if key['state'] == 'staged']
    assert 'other servers may have it' in holder.run('destroy', staged, '--yes', expected=7)

    holder.run('rotate', '--without', 'three')
    wait_for_states(two.house, {1: 'retired', 2: 'active'})
    wait_for_states(holder, {2: 'active'})
    # The next one waits for it again, and keeps what it may need.
    holder.run('rotate', '--without', 'three')
    wait_for_states(two.house, {1: 'retired', 2: 'retired', 3: 'active'})
    assert has(holder) == {'two': 3, 'three': 1}

    # It comes back, and has to be told by a person whose keys these are: what it has is gone there.
    three.start().house.wait_until_open()
    wait_until(
        'nothing shows whose they are',
        lambda: '--expect' in three.house.status()['siblings'][0].get('problem', ''), OPEN_SECONDS,
    )  # fmt: skip
    first, second, third, fourth, fifth = (str(cluster.folder / f'file-{number}') for number in range(5))
    three.attest('hello', '--output', first)
    attest(holder, 'challenge', '--input', first, '--output', second)
    three.attest('answer', '--input', second, '--output', third)
    attest(holder, 'grant', '--input', third, '--output', fourth)
    wrong = three.attest('receive', '--input', fourth, '--expect', '0' * 32, expected=7)
    assert 'not the expected master keys' in wrong
    three.attest('receive', '--input', fourth, '--expect', cluster.fingerprint(holder), '--output', fifth)
    attest(holder, 'confirm', '--input', fifth)
    attest(holder, 'confirm', '--input', fifth, expected=4)
    assert states_of(three.house)[3] == 'active', 'the running server uses it'
    assert has(holder) == {'two': 3, 'three': 3}
    assert_readable(three.server.keys(), put)


def test_a_host_without_a_network_gets_later_keys_in_files(cluster):
    """Whether its server runs or not."""
    holder = cluster.holder()
    two = cluster.join(holder, cluster.machine('two')).open()
    put = put_keys(two.server.keys(), 2)
    files = [str(cluster.folder / f'file-{number}') for number in range(5)]

    def carry(expected: int = 0) -> str:
        two.attest('hello', '--output', files[0])
        attest(holder, 'challenge', '--input', files[0], '--output', files[1])
        two.attest('answer', '--input', files[1], '--output', files[2])
        said = attest(holder, 'grant', '--input', files[2], '--output', files[3], expected=expected)
        if not expected:
            two.attest('receive', '--input', files[3], '--output', files[4])
            attest(holder, 'confirm', '--input', files[4])
        return said

    assert 'siblings.endpoints' in two.attest('update', expected=2)
    for epoch, runs in ((2, True), (3, False)):
        holder.run('rotate', '--no-wait')
        if not runs:
            two.server.close()
        assert 'not approved' in carry(expected=4)
        cluster.approve_waiting(holder)
        carry()
        # Confirmed, so that it is used there; the next files bring that here.
        assert states_of(holder)[epoch] == 'active'
        assert states_of(two.house)[epoch] == 'staged'
        carry()
        assert states_of(two.house)[epoch] == 'active'
    two.open()
    assert_readable(two.server.keys(), put)
    [joined, *later] = [text for outcome, text in two.house.events('receive/master_key') if outcome == 'success']
    assert 'from files' in joined or 'from http' in joined
    assert len(later) == 4
    two.server.assert_good()


def test_a_server_that_gets_its_keys_elsewhere_does_not_rotate_unasked(cluster):
    holder = cluster.holder()
    two = cluster.join(holder, cluster.machine('two', *cluster.asking(holder))).open()
    assert '--alone' in two.house.run('rotate', expected=7)
    assert states_of(two.house) == {1: 'active'}


def share(holder, machine) -> None:
    """A store that both servers work with, and identities that both know."""
    data = machine.server.data
    for name in ('identities.toml', 'clouds.yaml'):
        (data / name).write_bytes((holder.server.data / name).read_bytes())
        (data / name).chmod(0o600)


def seal_problem(house) -> str | None:
    """Why `/readyz` says that the seal is not ready."""
    checks = house.readiness().json()['checks']
    return next((check.get('problem', 'no word') for check in checks if check['name'] == 'seal' and not check['ok']), None)


def test_two_servers_of_one_store(cluster):
    """One store: the second server follows the first, says when it cannot, and gets what it lacks by itself."""
    store = f'store.url=sqlite://{cluster.folder}/shared.db'
    holder = cluster.holder(store, 'rotation.every_seconds=1')
    two = cluster.machine('two', store, *cluster.asking(holder))
    cluster.enrol(holder, two)
    assert 'not approved' in cluster.try_join(holder, two, expected=4)
    cluster.approve_waiting(holder)
    # The store says whose keys these are.
    join = ('join', '--endpoint', holder.server.url, '--token-file', str(cluster.token_of(holder)))
    two.attest(*join)
    share(holder, two)
    two.open()
    put = put_keys(holder.server.keys(), 3)
    token = holder.server.token()
    assert_readable(two.server.keys(token), put)

    # In step.
    holder.run('approve', '--install', str(cluster.sign(two.house.run('boot-state', '--epoch', '2'))))
    holder.run('rotate')
    for house in (holder, two.house):
        wait_until('2 is used', lambda house=house: states_of(house).get(2) == 'active', OPEN_SECONDS)
    put |= put_keys(two.server.keys(token), 2)
    assert_readable(holder.server.keys(), put)
    assert_readable(two.server.keys(token), put)

    # Left out: it says so, and takes itself out of the load balancer's hands; it writes nothing under the former key.
    holder.run('rotate', '--without', 'two')
    wait_until('two sees it', lambda: seal_problem(two.house), OPEN_SECONDS)
    missing = next(key['id'] for key in holder.status()['keys'] if key['state'] == 'active')
    assert missing in seal_problem(two.house) and 'attest update' in seal_problem(two.house)
    assert missing in two.house.status()['missing']
    assert any(missing in line for line in two.server.log_lines('does not hold'))
    # Projects whose keys it has in memory go on.
    put |= put_keys(two.server.keys(token), 1)
    wait_until('its boot waits', lambda: cluster.waiting(holder), OPEN_SECONDS)
    cluster.approve_waiting(holder)
    wait_until('it is ready', lambda: two.house.readiness().status_code == 200, 2 * OPEN_SECONDS)
    assert two.house.status().get('missing', []) == []
    assert_readable(two.server.keys(token), put)
    put |= put_keys(two.server.keys(token), 2)

    # The same while it is off: it starts, waits, and serves when it has the key.
    two.server.close()
    holder.run('rotate', '--without', 'two')
    wait_until('the store follows', lambda: not holder.status()['rotation']['running'], OPEN_SECONDS)
    two.start()
    assert_sealed_for_a_key(two)
    wait_until('its boot waits', lambda: cluster.waiting(holder), OPEN_SECONDS)
    cluster.approve_waiting(holder)
    two.house.wait_until_open()
    assert_readable(two.server.keys(token), put)
    assert_readable(holder.server.keys(), put)


def assert_sealed_for_a_key(machine) -> None:
    """It answers that it lives and is not ready, and why."""
    house = machine.house
    assert house.readiness().status_code == 503
    problem = wait_until('it says why', lambda: seal_problem(house), OPEN_SECONDS)
    assert 'sealed' in problem
    wait_until('it tells of its siblings', lambda: 'not approved' in (house.status().get('problem') or ''), OPEN_SECONDS)
