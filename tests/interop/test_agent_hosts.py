"""Two services on two hosts: the second host gets each service's master key by its TPM, from the agent on the first."""

import json
import pathlib

import pytest

from support.agent import Agent, service_token
from support.cluster import command
from support.servers import wait_until
from support.tpm import Tpm

SERVICES = ('swift', 'cinder')


class Hosts:
    """The first host with files, the second one with a TPM, and the release authority."""

    def __init__(self, folder: pathlib.Path, server, agents):
        self.folder, self.office = folder, folder / 'office'
        self.office.mkdir(mode=0o700)
        command('master-key', 'authority', '--output', 'authority', folder=self.office)
        machine = folder / 'machine'
        machine.mkdir()
        self.tpm = Tpm(machine)
        self.tpm.boot()
        authority = f'seal.tpm.authority={self.office}/authority.pub'
        # Approvals are the host's, whichever service's keys they are for.
        self.approvals = f'seal.tpm.approvals={folder}/approvals'
        sealed = (authority, self.approvals, 'seal.kind=tpm', 'seal.tpm.name=second', f'seal.tpm.device={self.tpm.address}')
        tokens = {service: service_token(server, service) for service in SERVICES}
        self.first: dict[str, Agent] = {
            service: agents(server, service, authority, token=tokens[service], name=f'{service}-first').start()
            for service in SERVICES
        }
        self.keyring: Agent = agents(server, 'swift', *sealed, token=tokens['swift'], name='keyring', init=False)
        self.second: dict[str, Agent] = {
            service: agents(server, service, *sealed, token=tokens[service], name=f'{service}-second', init=False)
            for service in SERVICES
        }

    def attest(self, agent: Agent, *arguments: str, expected: int = 0) -> str:
        return command('--format', 'json', *agent.overrides(), 'attest', *arguments, folder=self.folder, expected=expected)

    def enrol(self, holder: Agent, joiner: Agent) -> None:
        keys = json.loads(self.attest(joiner, 'ek'))
        [name] = [key['endorsement_name'] for key in keys if key['kind'] == 'rsa-2048']
        self.attest(holder, 'enrol', '--host', 'second', '--endorsement-key', name, '--no-certificate')

    def ask(self, holder: Agent, joiner: Agent, expected: int = 0) -> str:
        """All steps but the last; where the keys are on their way."""
        self.attest(joiner, 'hello', '--output', '1')
        self.attest(holder, 'challenge', '--input', '1', '--output', '2')
        self.attest(joiner, 'answer', '--input', '2', '--output', '3')
        return self.attest(holder, 'grant', '--input', '3', '--output', '4', expected=expected)

    def approve(self, holder: Agent) -> None:
        self.attest(holder, 'pending', '--output', 'states')
        for state in sorted((self.folder / 'states').iterdir()):
            approval = str(self.office / 'approval.json')
            command(
                'master-key', 'approve', '--authority', 'authority', '--state', str(state), '--output', approval,
                folder=self.office,
            )  # fmt: skip
            command(*holder.overrides(), 'master-key', 'approve', '--install', approval, folder=self.folder)
            state.unlink()

    def join(self, service: str) -> None:
        self.transfer(self.first[service], self.second[service])
        self.second[service].start()

    def transfer(self, holder: Agent, joiner: Agent) -> None:
        self.enrol(holder, joiner)
        assert 'not approved' in self.ask(holder, joiner, expected=4)
        self.approve(holder)
        self.ask(holder, joiner)
        code, status = holder.cli('master-key', 'status')
        assert code == 0, status
        self.attest(
            joiner, 'receive', '--input', '4', '--expect', status['keys'][0]['fingerprint'], '--output', '5'
        )  # fmt: skip
        self.attest(holder, 'confirm', '--input', '5')


@pytest.fixture
def hosts(tmp_path, standalone, agents):
    made = Hosts(tmp_path, standalone(), agents)
    yield made
    for agent in made.second.values():
        agent.close()
    made.tpm.power_off()


def test_each_service_gets_its_own_master_key_by_the_tpm_and_nobody_elses(hosts):
    """T-SERVICE-OTHER, T-JOIN-STRANGER: the transfer is the servers' one, over the agents' control sockets."""
    swift, cinder = hosts.first['swift'], hosts.first['cinder']
    made = {service: hosts.first[service].socket().made() for service in SERVICES}
    for service in SERVICES:
        hosts.join(service)
    for service in SERVICES:
        key_id, key = made[service]
        assert hosts.second[service].socket().key(key_id) == key
        later, later_key = hosts.second[service].socket().made()
        assert hosts.first[service].socket().key(later) == later_key
    # The other service's agent on the same host, with the same TPM, has another master key.
    assert hosts.second['cinder'].socket().get(made['swift'][0]).status == 404
    ids = {agent.status()['active_master_key'] for agent in (*hosts.first.values(), *hosts.second.values())}
    assert len(ids) == 2
    # After the same boot it opens again, and not after another one.
    for agent in hosts.second.values():
        agent.close()
    hosts.tpm.reboot()
    key_id, key = made['swift']
    assert hosts.second['swift'].start().socket().key(key_id) == key
    hosts.second['swift'].close()
    hosts.tpm.reboot(pcr4='another loader')
    hosts.second['swift'].start(ready=False)
    assert hosts.second['swift'].socket().get(key_id).status == 503
    assert hosts.second['swift'].status()['sealed'] is True
    assert swift.socket().key(key_id) == key and cinder.socket().key(made['cinder'][0]) == made['cinder'][1]


def test_a_cooperating_services_master_key_arrives_the_same_way(hosts):
    """Into a folder of its own, from where the agent opens it beside its own."""
    hosts.join('swift')
    hosts.transfer(hosts.first['cinder'], hosts.keyring)
    swift = hosts.second['swift']
    swift.close()
    swift.reconfigure(f'agent.keyrings.cinder={hosts.keyring.data}/sealed-keys.json')
    swift.start()
    wanted = hosts.first['cinder'].status()['active_master_key']
    wait_until('the keyring', lambda: swift.status()['other_keyrings'].get('cinder') == [wanted], 30)
    # It opens customers' keys. It is not this service's own, and does not open the other's data keys.
    key_id, _ = hosts.first['cinder'].socket().made()
    assert swift.socket().get(key_id).status == 404


def test_hosts_that_are_not_enrolled_get_nothing(hosts):
    hosts.attest(hosts.second['swift'], 'hello', '--output', '1')
    said = hosts.attest(hosts.first['swift'], 'challenge', '--input', '1', '--output', '2', expected=4)
    assert 'is not enrolled' in said
    code, listed = hosts.first['swift'].cli('attest', 'list')
    assert code == 0 and listed['hosts'] == [], listed
