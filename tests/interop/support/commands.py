"""The `openstack` command: its entry point in a process of its own, which loads all plug-ins once for many commands."""

import json
import os
import select
import subprocess
import sys

ANSWER_SECONDS = 60

#: Reads arguments as lines of JSON; answers each with the exit status, what was printed, and what was complained.
LOOP = """\
import contextlib, io, json, logging, sys
from openstackclient import shell
answers = sys.stdout
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = shell.main(json.loads(line))
        except SystemExit as end:
            status = end.code
    # Each command sets up the log anew.
    logging.getLogger().handlers.clear()
    print(json.dumps([status, out.getvalue(), err.getvalue()]), file=answers, flush=True)
"""


class Commands:
    """Commands of one user, whose `OS_*` variables are given."""

    def __init__(self, environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, '-c', LOOP],
            env={'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8', **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> 'Commands':
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def run(self, *arguments: str, json_output: bool = True):
        """Runs a command that must succeed; what it printed, as JSON unless it prints none."""
        arguments = (*arguments, '-f', 'json') if json_output else arguments
        self._process.stdin.write(json.dumps(arguments) + '\n')
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        assert ready, f'no answer to {arguments}'
        line = self._process.stdout.readline()
        assert line, f'the process ended at {arguments}'
        status, out, err = json.loads(line)
        assert status == 0, f'{arguments}: {status}\n{out}\n{err}'
        return json.loads(out) if json_output else out
