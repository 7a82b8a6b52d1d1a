"""Chatelaine's rule language against the real oslo.policy, answer by answer.

``generate_cases.py`` asks oslo.policy; the example binary ``policy_cases`` of ``chatelaine-core`` asks Chatelaine.
Set ``CHATELAINE_POLICY_CASES_BIN`` to use a binary that is already built.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
WORKSPACE = HERE.parents[2]
AT_LEAST = {'true': 1000, 'false': 1000, 'fault': 200, 'refused': 1000}


@pytest.fixture(scope='module')
def binary():
    given = os.environ.get('CHATELAINE_POLICY_CASES_BIN')
    if given:
        return given
    build = subprocess.run(
        ['cargo', 'build', '-p', 'chatelaine-core', '--example', 'policy_cases', '--message-format=json'],
        cwd=WORKSPACE,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=1800,
    )
    for line in build.stdout.splitlines():
        message = json.loads(line)
        if message.get('executable') and message.get('target', {}).get('name') == 'policy_cases':
            return message['executable']
    raise AssertionError('cargo built no policy_cases')


@pytest.fixture(scope='module')
def lines():
    generated = subprocess.run(
        [sys.executable, str(HERE / 'generate_cases.py')],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        encoding='utf-8',
        timeout=600,
    )
    return generated.stdout.splitlines()


@pytest.fixture(scope='module')
def answers(binary, lines):
    checked = subprocess.run(
        [binary],
        input='\n'.join(lines) + '\n',
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        encoding='utf-8',
        timeout=600,
    )
    return checked.stdout.splitlines()


def test_every_kind_of_answer_is_covered(lines):
    count = collections.Counter(json.loads(line)['expected'] for line in lines)
    assert {kind: count[kind] for kind, least in AT_LEAST.items() if count[kind] < least} == {}


def test_every_deviation_is_covered(lines):
    count = collections.Counter(case['why'] for case in map(json.loads, lines) if case['expected'] == 'refused')
    documented = {'not a rule', 'syntax', 'remote', 'quoted as a whole', 'format', 'subject', 'circle'}
    assert set(count) == documented


def test_answers_are_those_of_oslo_policy(lines, answers):
    assert len(answers) == len(lines)
    different = []
    for line, answer in zip(lines, answers):
        case = json.loads(line)
        # `fault: why` and `refused: why` count by their first word.
        if answer.split(':', 1)[0] != case['expected']:
            different.append(f'{answer!r} for {line}')
    assert not different, f'{len(different)} of {len(lines)} differ, the first ones:\n' + '\n'.join(different[:20])
