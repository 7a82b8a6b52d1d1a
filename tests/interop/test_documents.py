"""The commands in README work as they stand there."""

import os
import subprocess

from support.chatelaine import WORKSPACE, binary
from support.servers import Server, free_port

START = 'cargo run --release -- serve'
RUN = 'cargo run --release -- '


def commands(start: str, end: str) -> list[str]:
    text = (WORKSPACE / 'README.md').read_text().split(start, 1)[1].split(end, 1)[0]
    return [line.strip() for line in text.splitlines() if line.startswith('    ')]


def test_readme(tmp_path):
    lines = commands('## Try it', '## Test')
    assert lines[0] == START
    assert any('key put' in line for line in lines) and any('key get' in line for line in lines)
    # The port of the machine's own server may be taken.
    port = free_port()
    environment = {'CHATELAINE_SERVER__LISTEN': f'127.0.0.1:{port}', 'PATH': os.environ['PATH']}
    command = ['sh', '-c', f'cd {tmp_path} && exec {binary()} serve']
    server = Server('readme', tmp_path, command, environment)
    server.start(f'http://127.0.0.1:{port}/healthcheck', {200}, 60)
    try:
        script = 'set -eu\n' + '\n'.join(line.replace(RUN, f'{binary()} ') for line in lines[1:])
        done = subprocess.run(
            ['bash', '-c', script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        key = subprocess.run(['base64', 'volume.key'], cwd=tmp_path, capture_output=True, text=True).stdout.strip()
        assert done.stdout.strip().endswith(key)
    finally:
        assert server.stop() == 0
