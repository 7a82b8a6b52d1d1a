"""The same requests to a real Barbican and to ours: the answers are equal, or better on purpose and declared so."""

import pytest

from barbican_cases import CHAPTERS
from support.differential import Callers, Case, Side, run
from support.keystone import Keystone

CASES = [pytest.param(case, id=case.name) for cases in CHAPTERS.values() for case in cases]


@pytest.fixture(scope='module')
def callers(keystone):
    return Callers(keystone)


def project_of(case: Case, keystone: Keystone) -> str:
    return keystone.new_project(('demo', 'member'), ('key_admin', 'admin')) if case.alone else 'demo'


@pytest.mark.parametrize('case', CASES)
def test_same_answers(keystone, barbican, chatelaine, callers, case):
    project = project_of(case, keystone)
    sides = [Side('Barbican', barbican.url, callers, project), Side('Chatelaine', chatelaine.url, callers, project)]
    assert run(case, *sides) == []


def test_the_cases_are_many():
    """Names are unique, and nothing was left out by mistake."""
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names)
    assert sum(len(case.values[0].steps) for case in CASES) >= 300
