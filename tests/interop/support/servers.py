"""Servers as child processes: free ports, log files, bounded waits, and no process left behind.

Each server runs in a session of its own, so that signals reach its workers too, and ends when the tests' process
does, however that ends. Its output goes to a file in its state folder; the last lines of it are shown when a test fails.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence

import requests

POLL_SECONDS = 0.05
STOP_SECONDS = 10
LOG_TAIL_BYTES = 8 << 10

#: Those that run now, for the report of a failed test.
running: list['Server'] = []
_given_ports: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, never the same one twice."""
    while True:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def wait_until(what: str, condition, seconds: float):
    """Asks again and again, until the answer is true; that answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f'{what}: not within {seconds} s')
        time.sleep(POLL_SECONDS)


class Server:
    """One server and its log."""

    def __init__(self, name: str, state: pathlib.Path, command: Sequence[str], environment: Mapping[str, str]):
        self.name = name
        self.log_path = state / f'{name}.log'
        self.command = [str(part) for part in command]
        self.environment = dict(environment)
        #: How `requests` shall ask it: the certificates to trust and to show.
        self.trust: dict = {}
        self.process: subprocess.Popen | None = None

    def start(self, url: str, statuses: Collection[int], seconds: float) -> None:
        """Starts it and waits until `url` answers with one of `statuses`."""
        self.start_without_waiting()
        try:
            wait_until(f'{self.name} at {url}', lambda: self._answers(url, statuses), seconds)
        except BaseException:
            self.kill()
            print(self.log_tail())
            raise

    def start_without_waiting(self) -> None:
        """Starts it, for callers who know in another way whether it is there."""
        assert self.process is None, f'{self.name} runs already'
        with self.log_path.open('ab') as log:
            self.process = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', '--', *self.command],
                env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running.append(self)

    def _answers(self, url: str, statuses: Collection[int]) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f'{self.name} ended with {self.process.returncode} instead of serving')
        try:
            return requests.get(url, timeout=2, **self.trust).status_code in statuses
        except requests.RequestException:
            return False

    def stop(self) -> int | None:
        """Asks it to end, and makes it end when it does not; its exit status."""
        if self.process is None:
            return None
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        return self.kill()

    def kill(self) -> int | None:
        """Ends it and its workers without asking."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        running.remove(self)
        self._signal(process, signal.SIGKILL)
        return process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """Lets it hang: connections are still taken, nothing answers."""
        self._signal(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        """Ends the hanging."""
        self._signal(self.process, signal.SIGCONT)

    @staticmethod
    def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
        try:
            # The session's first process leads a group of the same number.
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server alone."""
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for an end that comes by itself; the exit status."""
        status = self.process.wait(seconds)
        self.kill()
        return status

    def log_text(self) -> str:
        """All it has written."""
        return self.log_path.read_text(encoding='utf-8', errors='replace') if self.log_path.exists() else ''

    def log_tail(self) -> str:
        """The last of what it has written."""
        return f'--- end of {self.log_path} ---\n{self.log_text()[-LOG_TAIL_BYTES:]}'
