"""Machines with TPMs that share master keys, the authority that approves how they boot, and somebody in between."""

import base64
import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from .chatelaine import CLI_SECONDS, binary
from .master_key import House
from .standalone import SOCKET_SECONDS
from .tpm import Maker, Tpm


def command(*arguments: str, folder: pathlib.Path, expected: int | tuple[int, ...] = 0) -> str:
    done = subprocess.run(
        [binary(), *arguments],
        cwd=folder,
        env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
    )
    assert done.returncode in (expected if isinstance(expected, tuple) else (expected,)), done
    return done.stdout + (done.stderr if done.returncode else '')


class Machine:
    """A machine with a TPM and a server sealed to it; the server is not started yet."""

    def __init__(self, cluster: 'Cluster', name: str, *settings: str, maker: Maker | None = None):
        self.cluster, self.name = cluster, name
        self.folder = cluster.folder / f'machine-{name}'
        self.folder.mkdir()
        self.tpm = Tpm(self.folder, maker)
        self.tpm.boot()
        self.house = House(
            cluster.standalone(
                'seal.kind=tpm', 'seal.retry_seconds=1', f'seal.tpm.name={name}',
                f'seal.tpm.device={self.tpm.address}', cluster.authority, *settings, start=False,
            )  # fmt: skip
        )
        self.server = self.house.server

    def start(self) -> 'Machine':
        self.server.start()
        return self

    def open(self) -> 'Machine':
        self.start().house.wait_until_open()
        return self

    def attest(self, *arguments: str, expected: int | tuple[int, ...] = 0) -> str:
        return attest(self.house, *arguments, expected=expected)

    def endorsement_name(self) -> str:
        keys = json.loads(self.attest('ek'))
        [name] = [key['endorsement_name'] for key in keys if key['kind'] == 'rsa-2048']
        return name

    def approve(self, *states: dict) -> None:
        """The authority approves, and the approvals are installed here."""
        for state in states:
            self.house.run('approve', '--install', str(self.cluster.sign(state)))

    def reboot(self, **measured: str) -> None:
        assert self.server.close() in (0, None)
        self.tpm.reboot(**measured)
        self.start()

    def diary(self) -> str:
        """What is written down while the server is sealed."""
        file = self.server.data / 'sealed-events.jsonl'
        return file.read_text() if file.exists() else ''

    def document(self) -> dict:
        return json.loads((self.server.data / 'sealed-keys.json').read_text())

    def end(self) -> None:
        self.server.close()
        self.tpm.power_off()


def attest(house: House, *arguments: str, expected: int | tuple[int, ...] = 0) -> str:
    overrides = house.server.overrides()
    return command('--format', 'json', *overrides, 'attest', *arguments, folder=house.server.data.parent, expected=expected)


class Cluster:
    """The authority, and the machines that are made."""

    def __init__(self, folder: pathlib.Path, standalone):
        self.folder, self.standalone = folder, standalone
        self.office = folder / 'office'
        self.office.mkdir(mode=0o700)
        self.machines: list[Machine] = []
        command('master-key', 'authority', '--output', 'authority', folder=self.office)
        self.authority = f'seal.tpm.authority={self.office}/authority.pub'

    def machine(self, name: str, *settings: str, maker: Maker | None = None) -> Machine:
        self.machines.append(Machine(self, name, *settings, maker=maker))
        return self.machines[-1]

    def holder(self, *settings: str) -> House:
        """A server with its master keys in a file, which needs no TPM to hand them out."""
        return House(self.standalone(self.authority, *settings))

    def sign(self, state: dict) -> pathlib.Path:
        """The authority's machine: it has its key, the state and nothing else."""
        (self.office / 'state.json').write_text(json.dumps(state))
        approval = self.office / 'approval.json'
        approval.unlink(missing_ok=True)
        arguments = ('approve', '--authority', 'authority', '--state', 'state.json', '--output', 'approval.json')
        command('master-key', *arguments, folder=self.office)
        return approval

    def token_of(self, house: House) -> pathlib.Path:
        token = self.folder / f'token-{house.server.port}'
        token.write_text(house.server.token())
        token.chmod(0o600)
        return token

    def asking(self, holder: House, url: str | None = None) -> list[str]:
        """Settings of a server that asks this one for later master keys."""
        return [
            f'siblings.endpoints=["{url or holder.server.url}"]',
            f'siblings.token_file={self.token_of(holder)}',
            'siblings.every_seconds=1',
        ]

    def enrol(self, holder: House, machine: Machine, *options: str) -> str:
        name = machine.endorsement_name()
        options = options or ('--no-certificate',)
        attest(holder, 'enrol', '--host', machine.name, '--endorsement-key', name, *options)
        return name

    def waiting(self, holder: House) -> list[dict]:
        """Boot states of hosts that wait at a server."""
        return [waiting['state'] for waiting in json.loads(attest(holder, 'pending'))]

    def approve_waiting(self, holder: House) -> list[int]:
        """Approves them; their epochs."""
        states = self.waiting(holder)
        for state in states:
            holder.run('approve', '--install', str(self.sign(state)))
        return sorted(state['epoch'] for state in states)

    def fingerprint(self, holder: House) -> str:
        return next(key['fingerprint'] for key in holder.status()['keys'] if key['state'] == 'active')

    def try_join(
        self,
        holder: House,
        machine: Machine,
        expected: int | tuple[int, ...] = 0,
        url: str | None = None,
        expect: str = '',
    ) -> str:
        return machine.attest(
            'join', '--endpoint', url or holder.server.url, '--token-file', str(self.token_of(holder)),
            '--expect', expect or self.fingerprint(holder), expected=expected,
        )  # fmt: skip

    def join(self, holder: House, machine: Machine, *options: str) -> Machine:
        """Enrols a machine, approves its boot, and lets it join."""
        self.enrol(holder, machine, *options)
        # One that has booted like another one is approved with it.
        if 'not approved' in self.try_join(holder, machine, expected=(0, 4)):
            self.approve_waiting(holder)
            self.try_join(holder, machine)
        return machine

    def end(self) -> None:
        for machine in self.machines:
            machine.end()


class Interposer:
    """Somebody between a host and the server it asks: sees, keeps and changes all that passes."""

    def __init__(self, house: House):
        self.seen: list[tuple[str, dict, dict]] = []
        #: What becomes of a request's and of an answer's body, by path.
        self.on_request: Callable[[str, dict], dict] = lambda path, body: body
        self.on_answer: Callable[[str, dict], dict] = lambda path, body: body
        #: What is answered in the server's place, by path.
        self.replies: dict[str, dict] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._pass('GET', None)

            def do_POST(self):
                length = int(self.headers['Content-Length'])
                self._pass('POST', outer.on_request(self.path, json.loads(self.rfile.read(length))))

            def _pass(self, method: str, body: dict | None):
                if self.path in outer.replies:
                    self._reply(200, outer.replies[self.path])
                    return
                token = {'X-Auth-Token': self.headers['X-Auth-Token']}
                answer = requests.request(
                    method, house.server.url + self.path, json=body, headers=token, timeout=SOCKET_SECONDS
                )
                document = answer.json()
                if answer.status_code == 200:
                    outer.seen.append((self.path, body or {}, document))
                    document = outer.on_answer(self.path, document)
                self._reply(answer.status_code, document)

            def _reply(self, status: int, document: dict) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self._server.server_port}'
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def last(self, path: str) -> tuple[dict, dict]:
        """The last request and answer of a path."""
        return next((body, answer) for seen, body, answer in reversed(self.seen) if seen.endswith(path))

    def honest(self) -> None:
        self.on_request = self.on_answer = lambda path, body: body
        self.replies = {}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def altered(text: str, place: int) -> str:
    """A message in base64 with one bit of one byte changed; a negative place counts from the end."""
    message = bytearray(base64.b64decode(text))
    message[place] ^= 1
    return base64.b64encode(message).decode()
