"""What an operator works with: metrics, signals, files that change, the control socket, the systemd unit."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support.chatelaine import WORKSPACE, binary
from support.native import REQUEST_ID, Keys, expect, new_id, random_key, refused
from support.servers import wait_until
from support.standalone import SOCKET_SECONDS, Standalone

UNITS = [WORKSPACE / 'docs/install' / name for name in ('chatelaine.service', 'agent@.service')]
#: Where systemd-analyze sees no danger any more begins at 2.0 of 10.
MOST_EXPOSURE = 2.0
#: Twice and more what the server takes to see that a file has changed.
NOTICED_SECONDS = 10


# Metrics

LABELS = {'method', 'route', 'status', 'le', 'check', 'result'}
ROUTES = {
    '/v1/keys',
    '/v1/keys/{key_id}',
    '/v1/keys/{key_id}/metadata',
    '/v1/keys/{key_id}/undelete',
    '/v1/keys/{key_id}/revoke',
    '/healthcheck',
    '/readyz',
    '/metrics',
    # Of the control socket.
    '/reap',
    'unknown',
}


class Figures:
    """What /metrics says at one moment."""

    def __init__(self, house: Standalone):
        answer = requests.get(f'{house.url}/metrics', timeout=SOCKET_SECONDS)
        assert answer.status_code == 200
        assert answer.headers['Content-Type'].startswith('application/openmetrics-text; version=1.0.0')
        self.text = answer.text
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}

    def samples(self, name: str) -> dict[tuple, float]:
        """Values by labels, in the alphabetic order of the labels' names."""
        found = [sample for family in self.families.values() for sample in family.samples if sample.name == name]
        return {tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value for sample in found}

    def value(self, name: str, *labels: str) -> float:
        return self.samples(name)[labels]

    def since(self, before: 'Figures', name: str) -> dict[tuple, float]:
        """What was added since then."""
        earlier = before.samples(name)
        changes = {labels: value - earlier.get(labels, 0) for labels, value in self.samples(name).items()}
        return {labels: change for labels, change in changes.items() if change}


def test_metrics_count_what_was_done(standalone):
    server = standalone('deletion.grace_seconds=0')
    keys, stranger = server.keys(), Keys(server.url, 'chatelaine_' + 64 * '0')
    first, second = new_id(), new_id()
    before = Figures(server)
    for _ in range(2):
        expect(keys.put(new_id(), random_key(), name='a name'), 201)
    expect(keys.put(first, random_key()), 201)
    refused(keys.put(first, random_key()), 409)
    for _ in range(3):
        expect(keys.get(first), 200)
    refused(keys.get(second), 404)
    for _ in range(2):
        refused(stranger.get(first), 401)
    refused(keys.update(first, None, name='x'), 428)
    expect(keys.metadata(first), 200)
    expect(keys.delete(first), 204)
    expect(keys.call('GET', '/readyz'), 200)
    assert keys.call('GET', f'/v1/{second}').status_code == 404
    assert keys.call('BREW', '/v1/keys').status_code == 405
    assert len(keys.pages()) == 1
    after = Figures(server)

    key, answers = '/v1/keys/{key_id}', 'chatelaine_http_requests_total'
    expected = {
        ('PUT', key, '201'): 3,
        ('PUT', key, '409'): 1,
        ('GET', key, '200'): 3,
        ('GET', key, '404'): 1,
        ('GET', key, '401'): 2,
        ('PATCH', key, '428'): 1,
        ('DELETE', key, '204'): 1,
        ('GET', f'{key}/metadata', '200'): 1,
        ('GET', '/v1/keys', '200'): 1,
        ('other', '/v1/keys', '405'): 1,
        ('GET', '/readyz', '200'): 1,
        ('GET', 'unknown', '404'): 1,
        ('GET', '/metrics', '200'): 1,
    }
    assert after.since(before, answers) == expected

    # Every answer is in the histogram of its route, whatever its status.
    durations = 'chatelaine_http_request_duration_seconds'
    by_route = {}
    for (method, route, _), count in expected.items():
        by_route[method, route] = by_route.get((method, route), 0) + count
    assert after.since(before, f'{durations}_count') == by_route
    assert set(after.since(before, f'{durations}_sum')) == set(by_route)
    buckets = after.samples(f'{durations}_bucket')
    for labels, total in after.samples(f'{durations}_count').items():
        # Their labels are `le`, method, route.
        own = sorted((float(le), count) for (le, *rest), count in buckets.items() if tuple(rest) == labels)
        counts = [count for _, count in own]
        assert counts == sorted(counts)
        assert own[-1] == (float('inf'), total)
        assert len(own) > 5

    assert after.value('chatelaine_http_requests_in_flight') == 1, 'that is the one that asks'
    assert after.since(before, 'chatelaine_identity_refused_tokens_total') == {(): 2}
    assert after.value('chatelaine_identity', 'cached_tokens') == 2
    for result in ['cache_hit', 'cache_miss', 'negative_cache_hit', 'validation', 'validation_failure']:
        assert after.value('chatelaine_identity', result) == 0
    assert after.samples('chatelaine_ready') == {(check,): 1 for check in ['store', 'seal', 'audit', 'identity']}
    assert after.value('chatelaine_audit_events') == server.trail()[-1]['seq']
    assert after.value('chatelaine_audit_events') > before.value('chatelaine_audit_events')
    assert after.value('chatelaine_process_resident_memory_bytes') > 1 << 20

    # The reaper, which here has one key to destroy.
    code, report = server.cli('reap')
    assert (code, report['purged']) == (0, 1)
    reaped = Figures(server)
    assert reaped.value('chatelaine_reaper_runs_total', 'success') == 1
    assert reaped.since(after, 'chatelaine_reaper_keys_total') == {('purged',): 1}

    # Labels have few values, and those are nobody's.
    for family in reaped.families.values():
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
            assert sample.labels.get('route', 'unknown') in ROUTES, sample
            assert re.fullmatch(r'\d{3}', sample.labels.get('status', '200')), sample
    _, identities = server.cli('identity', 'list')
    names = {value for one in identities for value in (one['user_id'], one['project_id'], one['token'])}
    for private in [first, second, 'a name', server.token(), server.token()[-16:], *names]:
        assert private not in reaped.text


def test_metrics_are_for_their_networks(standalone):
    server = standalone('server.metrics_networks=["192.0.2.0/24"]')
    refused(requests.get(f'{server.url}/metrics', timeout=SOCKET_SECONDS), 403)
    # What a client says of itself counts for nothing.
    forged = {'X-Forwarded-For': '192.0.2.1'}
    refused(requests.get(f'{server.url}/metrics', headers=forged, timeout=SOCKET_SECONDS), 403)
    behind = standalone('server.metrics_networks=["192.0.2.0/24"]', 'server.trusted_proxies=["127.0.0.0/8"]')
    assert requests.get(f'{behind.url}/metrics', headers=forged, timeout=SOCKET_SECONDS).status_code == 200
    refused(requests.get(f'{behind.url}/metrics', timeout=SOCKET_SECONDS), 403)


def test_a_request_that_was_broken_off_is_not_counted_as_running(standalone):
    server = standalone()
    with server.connect() as connection:
        fields = f'X-Auth-Token: {server.token()}\r\nContent-Type: application/json\r\nContent-Length: 50'
        request = f'PUT /v1/keys/{new_id()} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{{'
        connection.sendall(request.encode())

        def running() -> float:
            return Figures(server).value('chatelaine_http_requests_in_flight')

        wait_until('the request to run', lambda: running() == 2, SOCKET_SECONDS)
    wait_until('the request to end', lambda: running() == 1, SOCKET_SECONDS)


# Files that change


def add_identity(server: Standalone, user: str) -> str:
    code, answer = server.cli('identity', 'add', user, '--project', 'service', '--role', 'service')
    assert code == 0, answer
    return answer['token']


def works(server: Standalone, token: str) -> bool:
    status = server.keys(token).call('GET', '/v1/keys').status_code
    assert status in (200, 401)
    return status == 200


def test_sighup_rereads_the_identities(standalone):
    server = standalone()
    token = add_identity(server, 'cinder')
    server.reread()
    assert works(server, token)
    assert server.cli('identity', 'remove', 'cinder') == (0, {'removed': 1})
    server.reread()
    assert not works(server, token)
    assert works(server, server.token())


def test_changed_identities_are_noticed_and_broken_ones_are_not_believed(standalone):
    server = standalone()
    path = server.data / 'identities.toml'
    token = add_identity(server, 'cinder')
    wait_until('the new token', lambda: works(server, token), NOTICED_SECONDS)
    good = path.read_bytes()
    told = 'identities have changed and cannot be used'
    for number, broken in enumerate([good[:-20], good + b'\n[[identity]]\n', b'\xff\xfe', b'colour = "blue"\n'], 1):
        path.write_bytes(broken)
        # Requests are what makes it look; all of them are answered as before.
        wait_until(
            'the log', lambda: works(server, token) and len(server.log_lines(told)) == number, NOTICED_SECONDS
        )
        for _ in range(10):
            assert works(server, token)
        (line,) = server.log_lines(told)[number - 1 :]
        assert 'ERROR' in line and str(path) in line
        assert works(server, server.token())
    not_ready = wait_until('/readyz', lambda: is_not_ready(server), NOTICED_SECONDS)
    assert [check['name'] for check in not_ready['checks'] if not check['ok']] == ['identity']
    path.write_bytes(good)
    assert server.cli('identity', 'remove', 'cinder') == (0, {'removed': 1})
    wait_until('the removed token', lambda: not works(server, token), NOTICED_SECONDS)
    wait_until('/readyz', lambda: is_not_ready(server) is None, NOTICED_SECONDS)


def is_not_ready(server: Standalone) -> dict | None:
    answer = requests.get(f'{server.url}/readyz', timeout=SOCKET_SECONDS)
    assert answer.status_code in (200, 503)
    assert answer.json()['ready'] == (answer.status_code == 200)
    return None if answer.status_code == 200 else answer.json()


def test_a_changed_policy_is_in_force_soon_and_a_broken_one_never(standalone, tmp_path):
    policy = tmp_path / 'policy.yaml'
    policy.write_text('{}\n')
    server = standalone(f'policy.file={policy}')
    keys = server.keys()
    kept, in_force = 'the old rules stay in force', 'is in force'

    def may_put() -> bool:
        status = keys.put(new_id(), random_key()).status_code
        assert status in (201, 403)
        return status == 201

    assert may_put()
    policy.write_text('# nobody\n"key:create": "role:nobody"\n')
    wait_until('the new rule', lambda: not may_put(), NOTICED_SECONDS)
    # Broken ones, of YAML and of the rules' language: the file and the line, or the rule, are told.
    broken = {
        '"key:create": "role:service"\n"key:get": "role:\n': 'line',
        '# one\n# two\n"key:create": "role:service or"\n': 'key:create',
        '"key:create": ["role:service"\n': 'line',
    }
    for number, (text, place) in enumerate(broken.items(), 1):
        policy.write_text(text)
        lines = wait_until('the log', lambda: server.log_lines(kept)[number - 1 :], NOTICED_SECONDS)
        assert len(lines) == 1, text
        assert 'ERROR' in lines[0] and str(policy) in lines[0] and place in lines[0], lines[0]
        assert not may_put(), text
    policy.unlink()
    wait_until('the log', lambda: len(server.log_lines(kept)) == len(broken) + 1, NOTICED_SECONDS)
    assert not may_put()
    # As editors do it: a new file takes the old one's place.
    (tmp_path / 'new').write_text('"key:create": "role:service"\n')
    (tmp_path / 'new').rename(policy)
    wait_until('the last rule', may_put, NOTICED_SECONDS)
    assert len(server.log_lines(kept)) == len(broken) + 1
    # SIGHUP does not wait for the next look.
    policy.write_text('"key:create": "!"\n')
    before = len(server.log_lines(in_force))
    server.reread()
    assert len(server.log_lines(in_force)) > before
    assert not may_put()


# The control socket


def control_socket(server: Standalone):
    (path,) = [path for path in server.data.iterdir() if path.is_socket()]
    return path


def ask_control(server: Standalone, request: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SOCKET_SECONDS)
        connection.connect(str(control_socket(server)))
        connection.sendall(f'{request} HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n'.encode())
        answer = b''
        while part := connection.recv(65536):
            answer += part
    return answer.decode()


def test_the_control_socket_is_its_users_alone(standalone):
    server = standalone()
    path = control_socket(server)
    assert path.stat().st_mode & 0o777 == 0o600
    code, report = server.cli('reap')
    assert code == 0
    assert set(report) == {'purged', 'restored', 'cleared', 'remade', 'waiting', 'expired', 'corrupt'}
    assert ask_control(server, 'POST /reap').startswith('HTTP/1.1 200')
    for request, status in [('GET /reap', 405), ('GET /v1/keys', 404), ('GET /metrics', 404), ('POST /stop', 404)]:
        answer = ask_control(server, request)
        assert answer.startswith(f'HTTP/1.1 {status}'), answer
        assert REQUEST_ID.lower() in answer.lower()
    # Reaping is no request of the network.
    assert requests.post(f'{server.url}/reap', timeout=SOCKET_SECONDS).status_code == 404
    # Even if the file's mode were wrong, who connects is looked at.
    server.data.chmod(0o711)
    path.chmod(0o666)
    script = f'import socket; s = socket.socket(socket.AF_UNIX); s.settimeout({SOCKET_SECONDS})\n'
    script += f's.connect({path.name!r})\n'
    script += 'try:\n s.sendall(b"POST /reap HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); print(s.recv(100))\n'
    script += 'except ConnectionError: print(b"")'
    nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--', '/usr/bin/env']
    done = subprocess.run(
        [*nobody, 'python3', '-c', script], cwd=server.data, capture_output=True, text=True, timeout=SOCKET_SECONDS
    )
    assert (done.returncode, done.stdout) == (0, "b''\n"), done
    wait_until('the log', lambda: server.log_lines('another user was refused'), SOCKET_SECONDS)
    server.data.chmod(0o700)
    assert server.close() == 0
    assert not path.exists()


# The process and systemd


def test_no_core_is_dumped(standalone, tmp_path):
    """Whatever the limits are that it is started with."""
    unlimited = ['prlimit', '--core=unlimited:unlimited', '--']
    # That this system would write one, and that it would be seen here.
    sleeper = subprocess.Popen([*unlimited, 'sleep', '60'], cwd=tmp_path, stdin=subprocess.DEVNULL)
    wait_until('exec', lambda: 'sleep' in pathlib.Path(f'/proc/{sleeper.pid}/comm').read_text(), SOCKET_SECONDS)
    sleeper.send_signal(signal.SIGABRT)
    _, status = os.waitpid(sleeper.pid, 0)
    sleeper.returncode = -signal.SIGABRT
    assert os.WCOREDUMP(status), 'this system writes no core at all, so that nothing could be seen'
    server = standalone()
    assert server.close() == 0
    server.server.command = [*unlimited, *server.server.command]
    server.start()
    process = server.server.process
    limits = pathlib.Path(f'/proc/{process.pid}/limits').read_text()
    assert re.search(r'^Max core file size\s+0\s+0\s', limits, re.MULTILINE)
    server.server.signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGABRT
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    server.server.kill()


class ServiceManager:
    """The end of systemd's notification socket."""

    def __init__(self, folder):
        self.path = folder / 'notify'
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SOCKET_SECONDS)
        self._socket.bind(str(self.path))

    def next(self, but: str = '') -> str:
        """The next word, apart from this one."""
        while True:
            word = self._socket.recv(4096).decode().strip()
            if word != but:
                return word

    def close(self) -> None:
        self._socket.close()


def test_systemd_is_told(standalone, tmp_path):
    manager = ServiceManager(tmp_path)
    watchdog = 'WATCHDOG=1'
    environment = {'NOTIFY_SOCKET': str(manager.path), 'WATCHDOG_USEC': '600000'}
    try:
        server = standalone(environment=environment)
        assert manager.next(but=watchdog) == 'READY=1\nSTATUS=serving'
        assert [manager.next() for _ in range(2)] == [watchdog] * 2
        server.server.signal(signal.SIGHUP)
        assert manager.next(but=watchdog).startswith('RELOADING=1')
        assert manager.next(but=watchdog) == 'READY=1'
        server.server.signal(signal.SIGTERM)
        assert manager.next(but=watchdog) == 'STOPPING=1'
        assert server.server.wait() == 0
    finally:
        manager.close()


@pytest.mark.parametrize('installed_unit', UNITS, ids=lambda unit: unit.name)
def test_the_units_are_good_and_tight(tmp_path, installed_unit):
    """With the binary of these tests in the place where the guide installs it."""
    text = installed_unit.read_text()
    installed = '/usr/local/bin/chatelaine'
    assert text.count(f'ExecStart={installed} ') == 1
    assert installed in (WORKSPACE / 'docs/install/README.md').read_text()
    unit = tmp_path / installed_unit.name
    unit.write_text(text.replace(installed, str(binary())))
    environment = {'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', 'SYSTEMD_COLORS': '0'}

    def analyze(*arguments: str) -> str:
        command = ['systemd-analyze', '--no-pager', *arguments, str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert analyze('verify', '--man=no') == ''
    told = analyze('security', '--offline=true', f'--threshold={int(MOST_EXPOSURE * 10)}')
    assert float(re.search(r'Overall exposure level for [^:]+: ([\d.]+)', told)[1]) < MOST_EXPOSURE
    # That the analysis would see it: a setting that does not exist, and a unit without its protection.
    unit.write_text(unit.read_text().replace('NoNewPrivileges=yes', 'NoNewPrivilege=yes'))
    with pytest.raises(AssertionError, match='NoNewPrivilege'):
        assert analyze('verify', '--man=no') == ''
    lines = [line for line in text.splitlines() if not re.match('(Protect|Restrict|System|Private|Cap)', line)]
    unit.write_text('\n'.join(lines).replace(installed, sys.executable))
    with pytest.raises(AssertionError):
        analyze('security', '--offline=true', f'--threshold={int(MOST_EXPOSURE * 10)}')
