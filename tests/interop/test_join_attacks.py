"""Attacks on hosts that join and on servers that hand out master keys, over real servers and TPMs. What needs a forged
message in the middle of the cryptography is in the tests of the crates `tpm` (`tests/swtpm`) and `seal` (`tests/tpm`)."""

import pytest
import requests

from support.cluster import Cluster, Interposer, altered, attest
from support.master_key import OPEN_SECONDS, put_keys
from support.servers import wait_until
from support.standalone import SOCKET_SECONDS
from support.tpm import Maker

CHALLENGE, RELEASE, CONFIRM = '/v1/attestation/challenge', '/v1/attestation/release', '/v1/attestation/confirm'


@pytest.fixture
def cluster(tmp_path, standalone):
    made = Cluster(tmp_path, standalone)
    yield made
    made.end()


@pytest.fixture
def holder(cluster):
    return cluster.holder()


@pytest.fixture
def interposer(holder):
    made = Interposer(holder)
    yield made
    made.close()


@pytest.fixture
def two(cluster, holder):
    """Enrolled, and its boot approved; it has not joined."""
    machine = cluster.machine('two')
    cluster.enrol(holder, machine)
    cluster.try_join(holder, machine, expected=4)
    cluster.approve_waiting(holder)
    return machine


def ask(holder, path: str, body: dict) -> requests.Response:
    """As somebody with a stolen token may."""
    token = {'X-Auth-Token': holder.server.token()}
    return requests.post(holder.server.url + path, json=body, headers=token, timeout=SOCKET_SECONDS)


def refusals(holder) -> list[str]:
    return [text for outcome, text in holder.events('allow/master_key') if outcome == 'failure']


def has_nothing(machine) -> bool:
    return not (machine.server.data / 'sealed-keys.json').exists()


def test_a_replayed_answer_gets_nothing(cluster, holder, interposer, two):
    """T-JOIN-REPLAY: recorded requests are sent again, to the same challenge and to another one."""
    cluster.try_join(holder, two, url=interposer.url)
    (hello, _), (answer, _), (said, _) = (interposer.last(path) for path in (CHALLENGE, RELEASE, CONFIRM))
    again = ask(holder, RELEASE, answer)
    assert again.status_code == 403 and 'no such challenge' in again.text
    # Anybody can have the host challenged; the answer is to another one.
    fresh = ask(holder, CHALLENGE, hello)
    assert fresh.status_code == 200
    other = ask(holder, RELEASE, answer | {'id': fresh.json()['id']})
    assert other.status_code == 403
    assert ask(holder, CONFIRM, said).status_code == 403
    assert ask(holder, CONFIRM, said | {'id': fresh.json()['id']}).status_code == 403
    assert all('host two' in text for text in refusals(holder)[2:3])


def test_a_replayed_grant_is_not_taken(cluster, holder, interposer, two):
    """T-JOIN-REPLAY: what was sent to the host earlier, challenge and all, is sent again when it asks for later keys."""
    cluster.try_join(holder, two, url=interposer.url)
    interposer.replies = {path: interposer.last(path)[1] for path in (CHALLENGE, RELEASE)}
    two.server.reconfigure(*cluster.asking(holder, interposer.url))
    two.open()
    before = two.document()

    def problem() -> str:
        return two.house.status()['siblings'][0].get('problem', '')

    wait_until('it is refused', lambda: 'not from the host that made the challenge' in problem(), OPEN_SECONDS)
    assert two.document() == before
    wait_until(
        'it is written down',
        lambda: [outcome for outcome, _ in two.house.events('receive/master_key')] == ['success', 'failure'], OPEN_SECONDS,
    )  # fmt: skip
    interposer.honest()
    wait_until('the truth is taken', lambda: problem() == '', OPEN_SECONDS)


@pytest.mark.parametrize('place', [60, -200, -120, -40, -1])
def test_forged_registers_and_signatures_get_nothing(cluster, holder, interposer, two, place):
    """T-JOIN-BOOT, T-JOIN-REPLAY: quote, signature, values of registers, proof: one bit of the answer is another one."""
    interposer.on_request = lambda path, body: (
        body | {'answer': altered(body['answer'], place)} if path == RELEASE else body
    )
    cluster.try_join(holder, two, url=interposer.url, expected=4)
    assert has_nothing(two)
    assert 'host two' in refusals(holder)[-1]
    interposer.honest()
    cluster.try_join(holder, two, url=interposer.url)


@pytest.mark.parametrize('path,field', [(CHALLENGE, 'challenge'), (RELEASE, 'bundle')])
def test_altered_answers_are_not_taken(cluster, holder, interposer, two, path, field):
    """T-JOIN-REPLAY: somebody in the middle changes what the server sends, at its beginning, middle and end."""
    for place in (30, 150, -1):
        interposer.on_answer = lambda asked, body, place=place: (
            body | {field: altered(body[field], place)} if asked == path else body
        )
        # Refused by this host's TPM, by the server, or by this host.
        cluster.try_join(holder, two, url=interposer.url, expected=(1, 4, 7))
        assert has_nothing(two), f'byte {place} of the {field}'
    interposer.honest()
    cluster.try_join(holder, two, url=interposer.url)


def test_a_grant_for_another_tpm_is_not_taken(cluster, holder, two):
    """T-JOIN-STRANGER: what one host was granted is brought to another, which is enrolled and approved as well."""
    three = cluster.machine('three')
    cluster.enrol(holder, three)
    folder = cluster.folder

    def answered(machine) -> None:
        name = machine.name
        machine.attest('hello', '--output', str(folder / f'{name}-1'))
        attest(holder, 'challenge', '--input', str(folder / f'{name}-1'), '--output', str(folder / f'{name}-2'))
        machine.attest('answer', '--input', str(folder / f'{name}-2'), '--output', str(folder / f'{name}-3'))

    answered(two)
    answered(three)
    # The challenge of one opens in no other TPM.
    three.attest('hello', '--output', str(folder / 'three-1'))
    three.attest('answer', '--input', str(folder / 'two-2'), '--output', str(folder / 'wrong'), expected=1)
    answered(three)
    attest(holder, 'grant', '--input', str(folder / 'two-3'), '--output', str(folder / 'two-4'))
    expect = ('--expect', cluster.fingerprint(holder))
    refused = three.attest('receive', '--input', str(folder / 'two-4'), *expect, expected=7)
    assert 'not from the host that made the challenge' in refused
    assert has_nothing(three)
    two.attest('receive', '--input', str(folder / 'two-4'), *expect)


def test_who_is_not_enrolled_gets_nothing(cluster, holder):
    """T-JOIN-STRANGER: a genuine TPM of the same make and boot; a withdrawn host gets no later keys."""
    maker = Maker(cluster.folder / 'maker')
    two = cluster.join(holder, cluster.machine('two', *cluster.asking(holder), maker=maker)).open()
    stranger = cluster.machine('stranger', maker=maker)
    assert 'not enrolled' in cluster.try_join(holder, stranger, expected=4)
    assert stranger.endorsement_name() in refusals(holder)[-1]
    attest(holder, 'withdraw', '--host', 'two')
    holder.run('rotate')
    problem = wait_until('it is refused', lambda: two.house.status()['siblings'][0].get('problem'), OPEN_SECONDS)
    assert 'not enrolled' in problem
    assert [key['epoch'] for key in two.house.status()['keys']] == [1]


def test_certificates_of_others_and_altered_ones_are_refused(cluster, standalone):
    """T-JOIN-STRANGER: an endorsement certificate of an unknown maker, and one that was changed on its way."""
    ours, others = Maker(cluster.folder / 'ours'), Maker(cluster.folder / 'others')
    two, three = cluster.machine('two', maker=ours), cluster.machine('three', maker=others)
    holder = cluster.holder(f'seal.tpm.makers={ours.trusted(cluster.folder / "trusted")}')
    for machine in (two, three):
        attest(holder, 'enrol', '--host', machine.name, '--endorsement-key', machine.endorsement_name())
    assert 'certificate' in cluster.try_join(holder, three, expected=4)
    assert 'not approved' in cluster.try_join(holder, two, expected=4)
    cluster.approve_waiting(holder)
    interposer = Interposer(holder)
    try:
        certificate_place = 700
        interposer.on_request = lambda path, body: (
            body | {'hello': altered(body['hello'], certificate_place)} if path == CHALLENGE else body
        )
        assert 'certificate' in cluster.try_join(holder, two, url=interposer.url, expected=4)
        interposer.honest()
        cluster.try_join(holder, two, url=interposer.url)
    finally:
        interposer.close()


def test_other_clusters_and_epochs_are_kept_apart(cluster, holder, two):
    """T-JOIN-FOREIGN-KEY, T-JOIN-DOWNGRADE: later keys of another cluster, and an approval of another epoch."""
    other = cluster.holder()
    cluster.try_join(holder, two)
    cluster.enrol(other, two)
    two.server.reconfigure(*cluster.asking(other))
    two.open()
    before = two.document()
    problem = wait_until('it is refused', lambda: two.house.status()['siblings'][0].get('problem'), OPEN_SECONDS)
    assert 'cluster' in problem
    assert two.document() == before

    # One that lies about it: the host asks on, and finds out.
    liar = Interposer(other)
    try:
        cluster_id = holder.status()['cluster']
        liar.on_answer = lambda path, body: (
            body | {'cluster': cluster_id, 'keys': [key | {'epoch': 9} for key in body['keys']]}
            if path.endswith('/keys')
            else body
        )
        two.server.close()
        two.server.reconfigure(*cluster.asking(other, liar.url))
        two.open()
        wait_until('its boot waits', lambda: cluster.waiting(other), OPEN_SECONDS)
        cluster.approve_waiting(other)
        wait_until(
            'it finds out',
            lambda: 'this host belongs to' in two.house.status()['siblings'][0].get('problem', ''), OPEN_SECONDS,
        )  # fmt: skip
        assert two.document() == before
    finally:
        liar.close()

    # What is approved for one epoch is not for the next.
    two.server.close()
    two.server.reconfigure(*cluster.asking(holder))
    two.open()
    holder.run('rotate', '--no-wait')
    wait_until('its boot waits', lambda: cluster.waiting(holder), OPEN_SECONDS)
    [waiting] = cluster.waiting(holder)
    assert waiting['epoch'] == 2
    assert [key['epoch'] for key in two.house.status()['keys']] == [1]


def test_keys_of_an_attacker_are_not_taken(cluster, holder, two):
    """T-JOIN-FOREIGN-KEY: a server with a key of its own, to which the host is enrolled and its boot approved, stands in the
    place of the right one."""
    attacker = cluster.holder()
    cluster.enrol(attacker, two)
    right = cluster.fingerprint(holder)
    cluster.try_join(attacker, two, expected=4, expect=right)
    cluster.approve_waiting(attacker)
    assert 'not the expected master keys' in cluster.try_join(attacker, two, expected=7, expect=right)
    assert has_nothing(two)
    cluster.try_join(holder, two, expect=right)
    two.open()
    put_keys(two.server.keys(), 1)


def test_an_older_server_takes_nothing_back(cluster, holder, two):
    """T-JOIN-DOWNGRADE: a copy of the server from before a rotation is asked; the host keeps what it has."""
    two.server.reconfigure(*cluster.asking(holder))
    cluster.try_join(holder, two)
    two.open()
    old = {name: (holder.server.data / name).read_bytes() for name in ('sealed-keys.json', 'sealing-key')}
    holder.run('approve', '--install', str(cluster.sign(two.house.run('boot-state', '--epoch', '2'))))
    holder.run('rotate')
    wait_until(
        'it follows', lambda: {key['epoch']: key['state'] for key in two.house.status()['keys']}.get(2) == 'active', OPEN_SECONDS
    )  # fmt: skip
    before = two.document()
    copy = cluster.holder()
    copy.server.close()
    for file in (copy.server.data / 'audit').iterdir():
        file.unlink()
    for file in copy.server.data.glob('chatelaine.db*'):
        file.unlink()
    for name, content in old.items():
        (copy.server.data / name).write_bytes(content)
    copy.server.start()
    assert copy.status()['cluster'] == holder.status()['cluster']
    two.server.close()
    two.server.reconfigure(*cluster.asking(copy))
    two.open()
    answered = wait_until('it has asked', lambda: two.house.status()['siblings'][0].get('answered'), OPEN_SECONDS)
    assert answered
    assert two.document() == before

    # In files there is no such question: the keys themselves are refused.
    cluster.try_join(copy, two, expected=6)
    files = [str(cluster.folder / f'file-{number}') for number in range(4)]
    two.attest('hello', '--output', files[0])
    attest(copy, 'challenge', '--input', files[0], '--output', files[1])
    two.attest('answer', '--input', files[1], '--output', files[2])
    approvals = copy.server.data / 'approvals'
    approvals.mkdir(mode=0o700, exist_ok=True)
    for file in (holder.server.data / 'approvals').iterdir():
        (approvals / file.name).write_bytes(file.read_bytes())
    attest(copy, 'grant', '--input', files[2], '--output', files[3])
    assert 'keys are not taken back' in two.attest('receive', '--input', files[3], expected=7)
    assert two.document() == before
