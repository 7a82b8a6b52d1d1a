"""The same requests to a real Barbican and to ours: the answers are equal, or better on purpose and declared so."""

import pytest

from barbican_cases import CHAPTERS
from support.chatelaine import Chatelaine
from support.differential import Callers, Case, Side
from support.judgement import run
from support.keystone import Keystone

CASES = [pytest.param(case, id=case.name) for cases in CHAPTERS.values() for case in cases]


#: As Barbican comes: payloads of 20,000 bytes, and whoever is in front is believed what the client's scheme was.
ALIKE = {'barbican': {'max_payload_bytes': 20_000}, 'server': {'trusted_proxies': ['127.0.0.1/32']}}


@pytest.fixture(scope='module')
def chatelaine(keystone, tmp_path_factory):
    chatelaine = Chatelaine(tmp_path_factory.mktemp('chatelaine-alike'), keystone, ALIKE)
    yield chatelaine
    chatelaine.stop()


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
