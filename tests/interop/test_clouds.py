"""Credentials from `OS_*` variables and `clouds.yaml`: understood as the `openstack` command understands them."""

import concurrent.futures
import json
import pathlib
import subprocess
import sys

import pytest

from support.identity import UNSCOPED
from support.keystone import REGION
from support.probe import Probe

OPENSTACK = pathlib.Path(sys.executable).parent / 'openstack'

CLOUDS = """\
clouds:
  by-name:
    auth:
      auth_url: {url}
      username: demo
      password: "{password}"
      user_domain_name: Default
      project_name: demo
      project_domain_id: default
    region_name: {region}
    interface: internal
  other-project:
    auth:
      auth_url: {url}
      user_id: {user_id}
      password: "{password}"
      project_id: {alt_demo}
  domain:
    auth:
      auth_url: {url}
      username: demo
      password: "{password}"
      default_domain_id: default
      domain_id: default
  credential:
    auth_type: v3applicationcredential
    auth:
      auth_url: {url}
      application_credential_id: {credential_id}
  split:
    auth:
      auth_url: {url}
      username: demo
      user_domain_id: default
      project_name: alt_demo
      project_domain_name: Default
"""

SECURE = """\
clouds:
  split:
    auth:
      password: "{password}"
  credential:
    auth:
      application_credential_secret: "{credential_secret}"
"""

NAMES = ['by-name', 'other-project', 'domain', 'credential', 'split']


@pytest.fixture(scope='module')
def cases(keystone, tmp_path_factory):
    """Name → variables; all of them may be used in the folder under `HOME`."""
    folder = tmp_path_factory.mktemp('clouds')
    demo, identity = keystone.users['demo'], keystone.identity
    credential = identity.create_application_credential(demo, keystone.projects['demo'])
    facts = {
        'url': keystone.url,
        'region': REGION,
        'user_id': demo.id,
        'password': demo.password,
        'alt_demo': keystone.projects['alt_demo'],
        'credential_id': credential.id,
        'credential_secret': credential.secret,
    }
    settings = folder / '.config' / 'openstack'
    settings.mkdir(parents=True)
    (settings / 'clouds.yaml').write_text(CLOUDS.format(**facts))
    (settings / 'secure.yaml').write_text(SECURE.format(**facts))
    home = {'HOME': str(folder)}
    environment = home | keystone.environment(demo, 'demo')
    auditor = home | keystone.environment(keystone.users['auditor'], 'demo')
    no_project = {'OS_PROJECT_NAME': '', 'OS_PROJECT_DOMAIN_NAME': ''}
    cases = {f'cloud {name}': home | {'OS_CLOUD': name} for name in NAMES}
    cases['variables'] = environment
    cases['cloud wins over variables'] = environment | {'OS_CLOUD': 'other-project'}
    cases['system'] = auditor | no_project | {'OS_SYSTEM_SCOPE': 'all'}
    cases['application credential'] = home | {
        'OS_AUTH_TYPE': 'v3applicationcredential',
        'OS_AUTH_URL': keystone.url,
        'OS_APPLICATION_CREDENTIAL_ID': credential.id,
        'OS_APPLICATION_CREDENTIAL_SECRET': credential.secret,
    }
    cases['token'] = home | {
        'OS_AUTH_TYPE': 'v3token',
        'OS_AUTH_URL': keystone.url,
        'OS_TOKEN': identity.token(demo, UNSCOPED).value,
        'OS_PROJECT_NAME': 'demo',
        'OS_PROJECT_DOMAIN_NAME': 'Default',
    }
    return folder, cases


def issued_by_openstack(folder, environment) -> dict:
    done = subprocess.run(
        [OPENSTACK, 'token', 'issue', '--format', 'json'],
        env={name: value for name, value in environment.items() if value},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_openstack_command_gets_the_same_scope(cases):
    folder, cases = cases
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        issued = dict(zip(cases, pool.map(lambda case: issued_by_openstack(folder, case), cases.values())))
    seen = set()
    for name, environment in cases.items():
        with Probe(environment, folder) as probe:
            ours = probe.authenticate()
        assert 'error' not in ours, (name, ours)
        theirs = issued[name]
        scope = ours['scope']
        assert ours['user']['id'] == theirs['user_id'], name
        assert (scope['id'] if scope['kind'] == 'project' else None) == theirs.get('project_id'), name
        assert (scope['id'] if scope['kind'] == 'domain' else None) == theirs.get('domain_id'), name
        seen.add((scope['kind'], scope.get('name')))
    assert seen == {('project', 'demo'), ('project', 'alt_demo'), ('domain', 'Default'), ('system', None)}


def test_where_the_key_manager_is(keystone, cases):
    folder, cases = cases
    keystone.set_key_manager('http://127.0.0.1:19311')
    with Probe(cases['cloud by-name'], folder) as probe:
        assert probe.connected['cloud'] == 'by-name'
        assert probe.connected['interface'] == 'internal'
        assert probe.connected['region'] == REGION
        for interface in ['public', 'internal', 'admin']:
            assert probe.endpoint(interface, REGION)['url'] == 'http://127.0.0.1:19311'
        answer = probe.endpoint('public', 'Mars')
        assert answer['error'] == 'NoEndpoint'
        assert REGION in answer['message']


def test_what_is_missing_is_named(keystone, tmp_path):
    environment = keystone.environment(keystone.users['demo'], 'demo')
    for variable in ['OS_USER_DOMAIN_NAME', 'OS_PASSWORD', 'OS_AUTH_URL']:
        with Probe(environment | {variable: ''}, tmp_path) as probe:
            assert probe.connected['error'] == 'Clouds'
            assert variable in probe.connected['message']
