"""Master keys: sealed and unsealed, moved from one seal to another, rotated under load, recovered when all else is lost."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import pty
import random
import re
import select
import signal
import subprocess
import threading
import time

import pytest
import requests

from support.chatelaine import CLI_SECONDS, binary
from support.master_key import House, assert_readable, assert_sealed, put_keys
from support.native import Keys, encoded, expect, new_id, random_key
from support.servers import wait_until
from support.standalone import SOCKET_SECONDS, Standalone

PASSPHRASE = 'correct horse battery staple\n'
#: Argon2id as cheap as it is allowed.
CHEAP = ('seal.passphrase.memory_mib=8', 'seal.passphrase.passes=1', 'seal.passphrase.lanes=1')
ROTATION_SECONDS = 120
WRITERS = 8


@pytest.fixture
def house(standalone):
    """Makes a server with these settings."""

    def make(*settings: str, start: bool = True) -> House:
        return House(standalone(*settings, start=start))

    return make


def test_a_server_without_its_sealing_key_waits_and_opens(house):
    home = house('seal.retry_seconds=1')
    put = put_keys(home.server.keys(), 3)
    home.server.close()
    sealing_key = home.server.data / 'sealing-key'
    away = sealing_key.with_name('elsewhere')
    sealing_key.rename(away)
    home.server.start()
    assert_sealed(home)
    assert 'sealing-key' in home.status()['problem']
    # Connections stay open over the change.
    session = Keys(home.server.url, home.server.token())
    assert session.get(new_id()).status_code == 503
    away.rename(sealing_key)
    home.wait_until_open()
    assert_readable(session, put)
    assert_readable(home.server.keys(), put)
    outcomes = home.events('unseal')
    failures = [text for outcome, text in outcomes if outcome == 'failure']
    assert len(failures) == 1, 'one refusal is written down once, however often it is tried'
    assert 'sealing-key' in failures[0]
    assert outcomes[-1][0] == 'success'
    assert home.status()['sealed'] is False
    home.server.assert_good()


def test_a_sealed_server_ends_when_it_is_told_to(house):
    home = house()
    home.server.close()
    (home.server.data / 'sealing-key').rename(home.server.data / 'elsewhere')
    home.server.start()
    assert_sealed(home)
    # Nobody else begins to wait in the same folder.
    second = subprocess.run(
        [binary(), *home.server.overrides(), '--set', 'server.listen=127.0.0.1:0', 'serve'],
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
        env={'PATH': os.environ['PATH']},
    )
    assert second.returncode == 1
    assert 'another server' in second.stderr or 'uses it' in second.stderr, second.stderr
    assert home.server.close() == 0


def test_a_person_gives_the_passphrase(house):
    home = house('seal.kind=passphrase', 'seal.retry_seconds=1', *CHEAP, start=False)
    home.server.start()
    assert_sealed(home)
    assert 'master-key unseal' in home.status()['problem']
    complaint = home.run('unseal', stdin='short\n', expected=7)
    assert 'at least 12' in complaint
    assert_sealed(home)
    assert home.run('unseal', stdin=PASSPHRASE)['sealed'] is False
    home.wait_until_open()
    put = put_keys(home.server.keys(), 3)
    home.server.close()

    home.server.start()
    assert_sealed(home)
    complaint = home.run('unseal', stdin='incorrect horse battery\n', expected=8)
    assert 'does not open' in complaint
    assert 'incorrect' not in complaint
    assert_sealed(home)
    home.run('unseal', stdin=PASSPHRASE)
    home.wait_until_open()
    assert_readable(home.server.keys(), put)
    # A second one does no harm.
    assert home.run('unseal')['sealed'] is False
    for file in home.server.data.rglob('*'):
        assert not file.is_file() or b'horse' not in file.read_bytes(), file
    assert 'horse' not in home.server.server.log_text()


def test_a_passphrase_of_a_person_is_added_while_serving(house):
    home = house(*CHEAP, 'seal.retry_seconds=1')
    put = put_keys(home.server.keys(), 2)
    assert 'at least 12' in home.run('seal', 'add', 'passphrase', stdin='short\n', expected=7)
    home.run('seal', 'add', 'passphrase', stdin=PASSPHRASE)
    home.server.reconfigure('seal.kind=passphrase')
    home.server.close()
    (home.server.data / 'sealing-key').unlink()
    home.server.start()
    assert_sealed(home)
    home.run('unseal', stdin=PASSPHRASE)
    home.wait_until_open()
    assert_readable(home.server.keys(), put)


def test_whoever_starts_the_server_gives_the_passphrase(house, tmp_path):
    home = house('seal.kind=passphrase', 'seal.passphrase.descriptor=7', *CHEAP, start=False)
    process = home.server.server
    given = tmp_path / 'given'
    plain = process.command

    def start(passphrase: str) -> None:
        given.write_text(passphrase)
        process.command = ['bash', '-c', f'exec 7< <(cat {given}) "$@"', 'bash', *plain]
        home.server.start()

    start(PASSPHRASE)
    home.wait_until_open()
    put = put_keys(home.server.keys(), 2)
    home.server.close()
    start('another horse battery\n')
    assert_sealed(home)
    home.run('unseal', stdin=PASSPHRASE)
    home.wait_until_open()
    home.server.close()
    start(PASSPHRASE)
    home.wait_until_open()
    assert_readable(home.server.keys(), put)


def test_commands_without_a_server_ask_for_the_passphrase(house, tmp_path):
    home = house('seal.kind=passphrase', 'seal.retry_seconds=1', 'deletion.grace_seconds=0', *CHEAP, start=False)
    home.server.start()
    home.run('unseal', stdin=PASSPHRASE)
    home.wait_until_open()
    keys, put = home.server.keys(), put_keys(home.server.keys(), 3)
    gone = put.popitem()[0]
    expect(keys.delete(gone), 204)
    copy = tmp_path / 'copy.db'
    assert ask_nobody(home, 'store', 'backup', str(copy))[0] == 0
    home.server.close()

    commands = {
        ('audit', 'verify'): 'ok',
        ('store', 'check'): 'ok',
        ('reap',): 'purged',
        ('store', 'restore', str(copy)): 'file',
    }
    before = {path: path.read_bytes() for path in home.server.data.rglob('*') if path.is_file()}
    for command in commands:
        for given, words in (('', 'first line of standard input'), ('incorrect horse battery\n', 'does not open')):
            code, printed, errors = ask_nobody(home, *command, stdin=given)
            assert (code, printed) == (1, ''), (command, errors)
            assert words in errors
            assert 'horse' not in errors
    after = {path: path.read_bytes() for path in home.server.data.rglob('*') if path.is_file()}
    assert after == before, 'who has no passphrase changes nothing'
    code, printed, errors = ask_nobody(home, 'doctor')
    [seal] = [check for check in json.loads(printed)['checks'] if check['check'] == 'seal']
    assert (code, seal['result']) == (0, 'warning'), errors
    assert 'nobody gave the passphrase' in seal['text']

    for command, field in commands.items():
        code, printed, errors = ask_nobody(home, *command, stdin=PASSPHRASE)
        assert code == 0, (command, errors)
        assert json.loads(printed)[field], command
    code, printed, _ = ask_nobody(home, 'doctor', stdin=PASSPHRASE)
    checks = {check['check']: check['result'] for check in json.loads(printed)['checks']}
    assert (code, checks['seal'], checks['store'], checks['audit']) == (0, 'ok', 'ok', 'ok'), printed
    # On a terminal it is asked for, and not shown.
    shown = on_a_terminal([str(binary()), *home.server.overrides(), 'audit', 'verify'], PASSPHRASE)
    assert 'Passphrase: ' in shown
    assert 'the trail is whole' in shown
    assert 'horse' not in shown
    home.server.start()
    home.run('unseal', stdin=PASSPHRASE)
    home.wait_until_open()
    assert_readable(home.server.keys(), put)


def test_nobody_is_asked_where_another_seal_opens(house):
    home = house(*CHEAP)
    home.run('seal', 'add', 'passphrase', stdin=PASSPHRASE)
    home.server.reconfigure('seal.kind=passphrase', 'seal.also=["file"]')
    home.server.close()
    for command in (('audit', 'verify'), ('store', 'check'), ('reap',), ('master-key', 'seal', 'add', 'file')):
        code, _, errors = ask_nobody(home, *command)
        assert code == 0, errors


def test_a_document_costs_no_more_than_is_allowed(house, tmp_path):
    """T-SEAL-EDIT: what it asks for is not authenticated before it is paid."""
    passphrase = tmp_path / 'passphrase'
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE)
    home = house('seal.kind=passphrase', f'seal.passphrase.file={passphrase}', 'seal.retry_seconds=1', *CHEAP)
    put = put_keys(home.server.keys(), 1)
    home.server.close()
    document = home.server.data / 'sealed-keys.json'
    whole = document.read_text()
    dear = json.loads(whole)
    dear['keys'][0]['seals'][0]['sealed']['cost']['memory_kib'] = 4 * 1024 * 1024
    document.write_text(json.dumps(dear))
    home.server.start()
    assert_sealed(home)
    assert 'max_memory_mib' in home.status()['problem']
    peak = re.search(r'VmHWM:\s+(\d+) kB', pathlib.Path(f'/proc/{home.server.server.process.pid}/status').read_text())
    assert int(peak[1]) < 1024 * 1024
    document.write_text(whole)
    home.wait_until_open()
    assert_readable(home.server.keys(), put)


def test_keys_move_from_a_file_to_a_passphrase(house, tmp_path):
    passphrase = tmp_path / 'passphrase'
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE)
    settings = [f'seal.passphrase.file={passphrase}', *CHEAP]
    home = house(*settings)
    put = put_keys(home.server.keys(), 3)
    complaint = home.run('seal', 'remove', 'file', expected=7)
    assert 'the last one' in complaint
    status = home.run('seal', 'add', 'passphrase')
    assert [seal['kind'] for seal in status['keys'][0]['seals']] == ['file', 'passphrase']
    home.server.close()

    home.server.reconfigure('seal.kind=passphrase')
    (home.server.data / 'sealing-key').unlink()
    home.server.start()
    home.wait_until_open()
    assert_readable(home.server.keys(), put)
    status = home.run('seal', 'remove', 'file')
    assert [seal['kind'] for seal in status['keys'][0]['seals']] == ['passphrase']
    complaint = home.run('seal', 'remove', 'file', expected=7)
    assert 'has sealed no key' in complaint
    home.server.close()
    # The same without a server.
    home.run('seal', 'add', 'file')
    assert 'the last one that opens' in home.run('seal', 'remove', 'passphrase', expected=2)
    home.server.reconfigure('seal.kind=file')
    home.run('seal', 'remove', 'passphrase')
    assert home.run('status')['keys'][0]['seals'][0]['kind'] == 'file'
    home.server.start()
    home.wait_until_open()
    assert_readable(home.server.keys(), put)
    reasons = [text for outcome, text in home.events('seal') if outcome == 'success']
    assert any('passphrase in' in text for text in reasons)
    assert any('no master key by passphrase' in text for text in reasons), reasons
    home.server.assert_good()


@pytest.mark.parametrize('shared', [False, True], ids=['whole', 'shares'])
def test_the_recovery_key_opens_when_every_seal_is_lost(house, tmp_path, shared):
    """T-LOCKED-OUT."""
    home = house('seal.retry_seconds=3600')
    put = put_keys(home.server.keys(), 3)
    folder = tmp_path / 'paper'
    options = ['--shares', '5', '--threshold', '3'] if shared else []
    home.run('recovery', 'create', *options, '--output', str(folder))
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ([f'share-{n}' for n in range(1, 6)] if shared else ['recovery-key'])
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    # Also master keys that are made later.
    home.run('rotate')
    used = [str(file) for file in random.sample(files, 3 if shared else 1)]
    assert len(home.run('recovery', 'check', '--from', *used)['opens']) == 2
    if shared:
        assert '2 different ones were given' in home.run('recovery', 'check', '--from', *used[:2], expected=2)
    complaint = home.run('recover', '--from', *used, expected=6)
    assert 'are open' in complaint
    home.server.close()

    (home.server.data / 'sealing-key').unlink()
    home.server.start()
    assert_sealed(home)
    wrong = tmp_path / 'wrong'
    wrong.write_text(files[0].read_text().swapcase().replace('1', '2', 1))
    home.run('recover', '--from', str(wrong), expected=2)
    assert_sealed(home)
    text = '\n'.join(pathlib.Path(file).read_text() for file in used)
    home.run('recover', stdin=text)
    home.wait_until_open()
    assert_readable(home.server.keys(), put)
    assert [outcome for outcome, _ in home.events('recover/master_key')] == ['pending', 'success']
    home.server.close()
    home.server.start()
    home.wait_until_open()
    for file in home.server.data.rglob('*'):
        content = file.read_bytes() if file.is_file() else b''
        assert not any(paper.read_text().strip().encode() in content for paper in files), file
    home.server.assert_good()


def test_a_changed_document_is_refused(house):
    """T-SEAL-EDIT."""
    home = house()
    home.server.close()
    document = home.server.data / 'sealed-keys.json'
    whole = document.read_text()
    document.write_text(whole.replace('"generation": 1', '"generation": 2'))
    done = subprocess.run(
        home.server.server.command, capture_output=True, text=True, timeout=CLI_SECONDS, env={'PATH': os.environ['PATH']}
    )
    assert done.returncode == 1
    assert 'sealed-keys.json' in done.stderr + done.stdout
    assert 'restore the file from its backup' in done.stderr + done.stdout
    document.write_text(whole)
    home.server.start()
    home.wait_until_open()


def ask_nobody(home: House, *arguments: str, stdin: str = '') -> tuple[int, str, str]:
    """A command whose standard input is this and no terminal."""
    done = subprocess.run(
        [binary(), '--format', 'json', *home.server.overrides(), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=CLI_SECONDS,
        env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'},
    )
    return done.returncode, done.stdout, done.stderr


def on_a_terminal(command: list[str], typed: str) -> str:
    """What a person sees who types this when the first question comes."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, {'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'})
    shown = b''
    deadline = time.monotonic() + CLI_SECONDS
    while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
        if typed and shown.endswith(b': '):
            os.write(terminal, typed.encode())
            typed = ''
    os.close(terminal)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    text = shown.decode()
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, text
    return text


class Loop:
    """Reads and writes without a pause until it is told to stop; what a crash of the server answers is no failure."""

    def __init__(self, server: Standalone, put: dict[str, bytes]):
        self.server, self.put, self.wrong = server, dict(put), []
        self.reads = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        keys = self.server.keys()
        ids = list(self.put)
        while not self._stop.is_set():
            try:
                key_id = random.choice(ids)
                answer = keys.get(key_id)
                if answer.status_code != 200 or answer.json()['key_string'] != encoded(self.put[key_id]):
                    self.wrong.append(answer.text)
                self.reads += 1
                if self.reads % 10 == 0:
                    key_id, key = new_id(), random_key()
                    if keys.put(key_id, key).status_code == 201:
                        self.put[key_id] = key
                        ids.append(key_id)
            except requests.ConnectionError:
                self._stop.wait(0.05)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(SOCKET_SECONDS)
        assert not self._thread.is_alive()
        assert self.wrong == []
        assert self.reads > 0


def retired(home: House) -> list[str]:
    return [key['id'] for key in home.status()['keys'] if key['state'] == 'retired']


def test_rotation_goes_on_while_everything_else_does(house):
    home = house('rotation.keep_retired_seconds=0')
    first = home.status()['keys'][0]['id']
    loop = Loop(home.server, put_keys(home.server.keys(), 20))
    for _ in range(3):
        status = home.run('rotate')
        assert status['rotation']['running'] is False
        assert (status['rotation']['corrupt'], status['rotation'].get('problem')) == (0, None)
        assert status['rotation']['total'] > 0
    loop.stop()
    [key] = home.status()['keys']
    assert (key['epoch'], key['state']) == (4, 'active')
    assert first not in (home.server.data / 'sealed-keys.json').read_text()
    home.server.close()
    home.server.start()
    home.wait_until_open()
    assert_readable(home.server.keys(), loop.put)
    destroyed = [text for outcome, text in home.events('delete/master_key') if outcome == 'success']
    assert any(first in text for text in destroyed)
    home.server.assert_good()


def test_retired_keys_are_kept_for_backups_until_they_are_destroyed(house):
    home = house()
    put = put_keys(home.server.keys(), 3)
    home.run('rotate')
    [old] = retired(home)
    active = home.status()['keys'][0]['id']
    assert 'active' in home.run('destroy', active, '--yes', expected=7)
    assert 'id' in home.run('destroy', 'nonsense', '--yes', expected=2)
    home.run('destroy', new_id(), '--yes', expected=7)
    assert 'confirm' in home.run('destroy', old, expected=2)
    home.run('destroy', old, '--yes')
    assert retired(home) == []
    home.server.close()
    home.server.start()
    home.wait_until_open()
    assert_readable(home.server.keys(), put)


def test_a_rotation_survives_kills_at_any_moment(house):
    """Killed at random moments of rotations, with readers and writers: nothing is lost, and the end is reached."""
    home = house('rotation.keep_retired_seconds=0', 'rotation.pause_milliseconds=20')
    loop = Loop(home.server, put_keys(home.server.keys(), 20))
    for _ in range(6):
        rotation = threading.Thread(target=home.run, args=('rotate', '--no-wait'), kwargs={'expected': tuple(range(10))})
        rotation.start()
        threading.Event().wait(random.uniform(0, 0.3))
        home.server.server.kill()
        rotation.join()
        home.server.start()
        home.wait_until_open()
    home.run('rotate')
    wait_until('the retired keys are gone', lambda: retired(home) == [], ROTATION_SECONDS)
    loop.stop()
    assert_readable(home.server.keys(), loop.put)
    home.server.assert_good()


class Tenants:
    """Projects with a token each, in the file of static identities, some thousands at a time."""

    def __init__(self, home: House):
        self.home = home
        self.file = home.server.data / 'identities.toml'
        self.first = self.file.read_text()

    def admit(self, names: list[str]) -> None:
        """Lets these in, and nobody else but the first ones."""
        entries = [
            f'[[identity]]\ntoken_sha256 = "{hashlib.sha256(self.token(name).encode()).hexdigest()}"\n'
            f'user_id = "user"\nuser_name = "user"\nproject_id = "{name}"\nroles = ["service"]\n'
            for name in names
        ]
        self.file.write_text(self.first + '\n' + '\n'.join(entries))
        self.home.server.reread()

    @staticmethod
    def token(name: str) -> str:
        return f'chatelaine_{hashlib.sha256(name.encode()).hexdigest()}'

    def put(self, names: list[str]) -> dict[str, tuple[str, bytes]]:
        """A key for each project; the first one of a project makes the project's own key."""
        self.admit(names)
        put: dict[str, tuple[str, bytes]] = {}

        def work(part: list[str]) -> None:
            keys = Keys(self.home.server.url)
            for name in part:
                key_id, key = new_id(), random_key()
                keys._session.headers['X-Auth-Token'] = self.token(name)
                expect(keys.put(key_id, key), 201)
                put[name] = key_id, key

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(work, [names[start::WRITERS] for start in range(WRITERS)]))
        return put

    def assert_readable(self, put: dict[str, tuple[str, bytes]]) -> None:
        self.admit(list(put))
        keys = Keys(self.home.server.url)
        for name, (key_id, key) in put.items():
            keys._session.headers['X-Auth-Token'] = self.token(name)
            assert expect(keys.get(key_id), 200)['key_string'] == encoded(key)


def test_ten_thousand_projects_are_rotated_under_load_and_kills(house):
    home = house('rotation.keep_retired_seconds=0', 'rotation.pause_milliseconds=10')
    tenants = Tenants(home)
    halves = [[f'tenant-{number}' for number in range(start, start + 5_000)] for start in (0, 5_000)]
    put = [tenants.put(half) for half in halves]
    first = home.status()['keys'][0]['id']
    loop = Loop(home.server, put_keys(home.server.keys(), 5))
    home.run('rotate', '--no-wait')
    kills = 0
    for _ in range(4):
        threading.Event().wait(random.uniform(0.1, 0.8))
        if not retired(home):
            break
        home.server.server.kill()
        kills += 1
        home.server.start()
        home.wait_until_open()
    assert kills > 0, 'the rotation ended before it could be disturbed'
    wait_until('the retired key is gone', lambda: retired(home) == [], ROTATION_SECONDS)
    loop.stop()
    assert home.status()['rotation']['corrupt'] == 0
    assert home.status()['keys'][0]['id'] != first
    home.server.close()
    home.server.start()
    for half in put:
        tenants.assert_readable(dict(random.sample(sorted(half.items()), 200)))
    home.server.assert_good()


def test_commands_say_what_is_missing(house):
    home = house(start=False)
    assert 'no server runs' in home.run('rotate', expected=8)
    assert 'no server runs' in home.run('unseal', expected=8)
    assert 'no sealed master keys' in home.run('seal', 'add', 'passphrase', expected=5)
    home.server.start()
    assert 'chatelaine-recovery-' in home.run('recovery', 'create')['secrets'][0]
    assert 'there is nobody to confirm' in home.run('recovery', 'remove', expected=2)
    home.run('recovery', 'remove', '--yes')
    assert 'recovery' not in home.status()
    assert 'impossible' not in home.run('recovery', 'create', '--shares', '3', '--threshold', '4', expected=2)
