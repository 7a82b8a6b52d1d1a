"""What `cargo xtask bench barbican` compares: our server and a real Barbican, which trust one Keystone.

`neighbours.py FOLDER` starts them, writes to FOLDER a token for each project, prints their addresses as one line of
JSON, and ends them when its input ends or it is told to end. Barbican has two processes and a MariaDB; Keystone's
middleware keeps its tokens in the processes' memory, which costs it less than asking a memcached.
"""

import contextlib
import json
import pathlib
import signal
import sys

from support.barbican import Barbican
from support.chatelaine import Chatelaine
from support.databases import MariaDb
from support.keystone import Keystone

USER = 'demo'
#: Projects: one where the measured secrets come and go, one with few that stay, one with many.
PROJECTS = ['changing', 'few', 'many']
#: Tokens outlast the longest run.
TOKEN_SECONDS = 24 * 3600
PROCESSES = 2

SETTINGS = {'limits': {'requests_per_second': 0}, 'log': {'level': 'warn'}}


def serve(folder: pathlib.Path, stack: contextlib.ExitStack) -> dict:
    """Starts all; where they are."""

    def state(name: str) -> pathlib.Path:
        path = folder / name
        path.mkdir(mode=0o700)
        return path

    keystone = Keystone(state('keystone'), expiration=TOKEN_SECONDS)
    stack.callback(keystone.stop)
    for name in PROJECTS:
        project = keystone.new_project((USER, 'member'))
        path = folder / f'token-{name}'
        path.touch(mode=0o600)
        path.write_text(keystone.token(USER, project).value)
    database = MariaDb(state('database'), durable=True)
    stack.callback(database.stop)
    barbican = Barbican(state('barbican'), keystone, connection=database.connection, processes=PROCESSES)
    stack.callback(barbican.stop)
    chatelaine = Chatelaine(state('chatelaine'), keystone, SETTINGS)
    stack.callback(chatelaine.stop)
    return {'barbican': barbican.url, 'chatelaine': chatelaine.url}


def main() -> None:
    # What the neighbours say goes where errors go: the output is for the one line.
    output, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        print(json.dumps(serve(pathlib.Path(sys.argv[1]), stack)), file=output, flush=True)
        sys.stdin.read()


main()
