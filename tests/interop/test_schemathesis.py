"""Whatever the OpenAPI document says can be asked is asked, rightly and wrongly, and every answer is as it says.

For longer than here: FUZZ_EXAMPLES=300 FUZZ_SEED=7 cargo xtask interop -- tests/interop/test_schemathesis.py
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support.chatelaine import to_toml
from support.native import TIMEOUT_SECONDS
from support.standalone import Standalone

HOOKS = pathlib.Path(__file__).parent / 'support/fuzz_hooks.py'
CHECKS = [
    'not_a_server_error',
    'status_code_conformance',
    'content_type_conformance',
    'response_headers_conformance',
    'response_schema_conformance',
    'unsupported_method',
    'allow_header_conformance',
    'ignored_auth',
]
SEED = os.environ.get('FUZZ_SEED', '1')
#: How many requests of each kind of data for each operation, where the whole of it is looked at.
EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', '25'))
#: Far more than they need here.
PATIENCE = max(120, 20 * EXAMPLES)

CHANGES = ['POST', 'PUT', 'PATCH', 'DELETE']
#: What was deleted can be destroyed at once.
NO_WAIT = 'deletion.purge_wait_seconds=0'


@pytest.fixture
def fuzz(standalone, tmp_path):
    """Runs it with a token or without, with a server that must be well afterwards; its report."""
    server = standalone(NO_WAIT)

    def run(token: str | None, *arguments: str, examples: int = EXAMPLES) -> dict:
        configuration = tmp_path / 'schemathesis.toml'
        # Command lines can be seen by everybody.
        configuration.touch(mode=0o600)
        headers = {} if token is None else {'X-Auth-Token': token}
        configuration.write_text(to_toml({'headers': headers}))
        report = tmp_path / 'report.json'
        command = [sys.executable, '-m', 'schemathesis.cli', '--config-file', str(configuration), 'run']
        command += ['--checks', ','.join(CHECKS), '--continue-on-failure', '--seed', SEED]
        command += ['--max-examples', str(examples), '--generation-database', 'none', '--no-color']
        command += ['--report', 'json', '--report-json-path', str(report), *arguments]
        done = subprocess.run(
            [*command, f'{server.url}/v1/openapi.json'],
            cwd=tmp_path,
            env={
                'PATH': os.environ['PATH'],
                'LANG': 'C.UTF-8',
                'HOME': str(tmp_path),
                'SCHEMATHESIS_HOOKS': str(HOOKS),
                'FUZZ_SEED': SEED,
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f'{done.stdout}\n{done.stderr}'
        told = json.loads(report.read_text())
        assert told['complete'] and told['operations']['tested'] == told['operations']['selected'] > 0, told
        assert not told['failures'] and not told['errors'], told
        return told

    run.server = server
    yield run
    ready = requests.get(f'{server.url}/readyz', timeout=TIMEOUT_SECONDS)
    assert ready.status_code == 200 and ready.json()['ready'], ready.text
    for word in [' ERROR ', ' WARN ', 'panic']:
        assert server.log_lines(word) == []
    server.assert_good()


def first_token(server: Standalone, name: str) -> str:
    """One of the two that the first start has made."""
    text = (server.data / 'clouds.yaml').read_text()
    return re.search(rf'^  {name}:$.*?token: "(.*?)"', text, re.MULTILINE | re.DOTALL)[1]


def served(server: Standalone) -> dict[tuple[str, str], set[str]]:
    """The statuses that were answered, by method and route."""
    text = requests.get(f'{server.url}/metrics', timeout=TIMEOUT_SECONDS).text
    statuses: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == 'chatelaine_http_requests_total':
                of = sample.labels
                statuses.setdefault((of['method'], of['route']), set()).add(of['status'])
    return statuses


def succeeds(statuses) -> bool:
    return any(status[0] in '23' for status in statuses)


def test_all_that_is_documented(fuzz):
    server = fuzz.server
    document = requests.get(f'{server.url}/v1/openapi.json', timeout=TIMEOUT_SECONDS).json()
    told = fuzz(first_token(server, 'administrator'))
    operations = {
        (method.upper(), path): operation['responses']
        for path, item in document['paths'].items()
        for method, operation in item.items()
    }
    # All but the one that gives the document.
    assert told['operations']['tested'] == len(operations) - 1
    # Keys are for services only, those of users, projects and domains for the identity service.
    roles = ['--role', 'service', '--role', 'identity_service']
    code, answer = server.cli('identity', 'add', 'identity', '--project', 'service', *roles)
    assert code == 0, answer
    server.reread()
    fuzz(answer['token'], '--include-path-regex', '^/v1/(keys|scope-keys)')
    statuses = served(server)
    # It got beyond the first refusal: whatever can succeed has succeeded, too, but for a few that chance has left out.
    missed = [asked for asked, said in operations.items() if succeeds(said) and not succeeds(statuses.get(asked, set()))]
    # No guess is what a TPM says; test_attestation.py has one.
    missed = [asked for asked in missed if not asked[1].startswith('/v1/attestation/')]
    assert len(missed) <= 3, missed


def test_whoever_may_only_read(fuzz):
    server = fuzz.server
    code, answer = server.cli('identity', 'add', 'clerk', '--project', 'admin', '--role', 'reader')
    assert code == 0, answer
    server.reread()
    fuzz(answer['token'], examples=5)
    done = [asked for asked, said in served(server).items() if asked[0] in CHANGES and succeeds(said)]
    assert done == []


def test_nobody(fuzz):
    fuzz(None, examples=5)
    # Barbican answers OPTIONS to everybody, with nothing.
    asked = served(fuzz.server).items()
    answered = {route for (method, route), said in asked if method in ['GET', *CHANGES] and succeeds(said)}
    assert answered == {'/', '/healthcheck', '/readyz', '/metrics', '/v1/openapi.json'}
