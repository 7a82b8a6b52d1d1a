"""What docs/admin/openstack.md tells operators works as it stands there, with a real Keystone and real clients."""

import configparser
import os
import pathlib
import subprocess
import sys

import pytest
import requests
from castellan import key_manager as castellan_key_manager
from castellan.common.credentials.keystone_password import KeystonePassword
from oslo_config import cfg

from support.chatelaine import binary
from support.documents import fragment, section
from support.keystone import REGION
from support.native import REQUEST_ID, Keys, expect

PAGE = 'docs/admin/openstack.md'
ADDRESS = 'https://keys.example.org:9311'
KEYSTONE = 'https://keystone.example.org:5000/v3'
SAMPLE_ID = '6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7'
#: Shells run several commands, each of which loads all of OpenStack's plug-ins.
SECONDS = 120

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)


class Shell:
    """A user's shell, in which `openstack` and `chatelaine` are the ones under test."""

    def __init__(self, folder: pathlib.Path, environment: dict[str, str], **replacements: str):
        self._folder = folder
        self._replacements = replacements
        commands = {'openstack': f'{sys.executable} -m openstackclient.shell', 'chatelaine': str(binary())}
        for name, command in commands.items():
            path = folder / name
            path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            path.chmod(0o755)
        path = f'{folder}:{os.environ["PATH"]}'
        self._environment = {'PATH': path, 'HOME': str(folder), 'LANG': 'C.UTF-8', **environment}

    def run(self, title: str, **replacements: str) -> list[str]:
        """Runs the commands under a title, all of which must succeed; the lines they print."""
        script = 'set -eu\n' + '\n'.join(section(PAGE, title))
        for sample, real in {**self._replacements, **replacements}.items():
            script = script.replace(sample, real)
        done = subprocess.run(
            ['bash', '-c', script],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f'{script}\n{done.stdout}\n{done.stderr}'
        return done.stdout.splitlines()


@pytest.fixture
def shell(keystone, chatelaine, tmp_path):
    """Makes the shell of a user in a project; the catalogue names our server."""
    keystone.set_key_manager(chatelaine.url)

    def make(user, project: str) -> Shell:
        folder = tmp_path / f'{user.name}-{project}'
        folder.mkdir()
        return Shell(folder, keystone.environment(user, project), **{ADDRESS: chatelaine.url})

    return make


def test_the_catalogue(keystone, chatelaine, shell):
    def services() -> list[str]:
        found = keystone.identity.call('GET', '/services?type=key-manager').json()['services']
        return [service['id'] for service in found]

    def set_type(service: str, name: str) -> None:
        keystone.identity.call('PATCH', f'/services/{service}', {'service': {'type': name}})

    # The cloud has no key manager yet.
    (aside,) = services()
    set_type(aside, 'set-aside')
    try:
        shell(keystone.admin, 'admin').run('The catalogue')
        (made,) = services()
        endpoints = keystone.identity.call('GET', f'/endpoints?service_id={made}').json()['endpoints']
        assert {(one['interface'], one['url'], one['region_id']) for one in endpoints} == {
            (interface, chatelaine.url, REGION) for interface in ['public', 'internal']
        }
    finally:
        for service in services():
            keystone.identity.call('DELETE', f'/services/{service}')
        set_type(aside, 'key-manager')


def test_a_service_gets_its_role_and_its_root_secret(keystone, chatelaine, shell):
    user = keystone.new_user()
    shell(keystone.admin, 'admin').run('Who may do what', **{'--user swift': f'--user {user.name}'})
    (key_id,) = shell(user, 'service').run('Swift')
    token = keystone.identity.token(user, {'project': {'id': keystone.projects['service']}})
    answer = expect(Keys(chatelaine.url, token).call('GET', f'/v1/secrets/{key_id}'), 200)
    assert (answer['name'], answer['algorithm'], answer['bit_length']) == ('swift-root', 'aes', 256)
    assert (answer['secret_type'], answer['content_types']['default']) == ('symmetric', 'application/octet-stream')


def test_a_secret_is_used_and_comes_back(keystone, chatelaine, shell):
    user = keystone.users['demo']
    payload, *_ = shell(user, 'demo').run('Using it')
    assert payload == 'hello'
    keys = Keys(chatelaine.url, keystone.token('demo', 'demo'))
    assert expect(keys.call('GET', '/v1/secrets?name=greeting'), 200)['total'] == 0
    operator = Keys(chatelaine.url, keystone.identity.admin_token())
    deleted = expect(operator.call('GET', '/v1/operator/secrets?deleted=true'), 200)['secrets']
    (secret_id,) = [secret['id'] for secret in deleted if secret['name'] == 'greeting']
    listed = shell(keystone.admin, 'admin').run('Deleted and expired secrets', **{SAMPLE_ID: secret_id})
    assert any(secret_id in line for line in listed)
    payload = keys.call('GET', f'/v1/secrets/{secret_id}/payload', headers={'Accept': 'text/plain'})
    assert payload.text == 'hello'


def test_quotas(keystone, shell, chatelaine):
    # Its administrator, who sees it by its name.
    project = keystone.new_project(('key_admin', 'admin'))
    lines = shell(keystone.users['key_admin'], project).run('Quotas', **{'show demo': f'show {project}'})
    assert '"secrets":500' in lines[-1] and '"consumers":1000' in lines[-1]


def test_the_policy_file(keystone, own_chatelaine, tmp_path):
    policy = tmp_path / 'policy.yaml'
    policy.write_text(fragment(PAGE, '"secret:get"', 'yaml'))
    policy.chmod(0o600)
    chatelaine = own_chatelaine({'policy': {'file': str(policy)}})
    member = Keys(chatelaine.url, keystone.token('demo', 'demo'))
    auditor = Keys(chatelaine.url, keystone.token('auditor', 'demo'))
    reference = expect(member.call('POST', '/v1/secrets', {'payload': 'x', 'payload_content_type': 'text/plain'}), 201)
    path = reference['secret_ref'].removeprefix(chatelaine.url)
    expect(member.call('GET', path), 200)
    expect(auditor.call('GET', path), 200)
    assert auditor.call('GET', f'{path}/payload', headers={'Accept': 'text/plain'}).status_code == 403


def test_castellan_as_services_configure_it(keystone, chatelaine, tmp_path):
    keystone.set_key_manager(chatelaine.url)
    service = keystone.users['cinder']
    text = fragment(PAGE, '[key_manager]').replace(KEYSTONE, keystone.url)
    text = text.replace("the service user's password", service.password)
    path = tmp_path / 'cinder.conf'
    path.touch(mode=0o600)
    path.write_text(text)
    configuration = cfg.ConfigOpts()
    configuration([], project='cinder', default_config_files=[str(path)], default_config_dirs=[])
    keys = castellan_key_manager.API(configuration)
    user = keystone.users['demo']
    context = KeystonePassword(
        password=user.password,
        auth_url=keystone.url,
        user_id=user.id,
        project_id=keystone.projects['demo'],
    )
    key_id = keys.create_key(context, 'AES', 256)
    assert len(keys.get(context, key_id).get_encoded()) == 32
    keys.delete(context, key_id)
    # Nothing in the fragment is a word that castellan does not know.
    written = configparser.ConfigParser(interpolation=None)
    written.read_string(text)
    for group in written.sections():
        for name in written[group]:
            assert configuration[group][name], f'[{group}] {name}'


def test_what_is_hidden(keystone, own_chatelaine):
    chatelaine = own_chatelaine({'barbican': {'hide_existence': True}})
    owner = Keys(chatelaine.url, keystone.token('demo', 'demo'))
    stranger = Keys(chatelaine.url, keystone.token('alt_member', 'alt_demo'))
    secret = expect(owner.call('POST', '/v1/secrets', {'name': 'hidden'}), 201)['secret_ref']
    container = expect(owner.call('POST', '/v1/containers', {'type': 'generic'}), 201)['container_ref']
    for reference in [secret, container]:
        expect(owner.call('GET', reference), 200)
        base, _ = reference.rsplit('/', 1)
        absent = f'{base}/00000000-0000-4000-8000-000000000000'
        for method, tail in [('GET', ''), ('DELETE', ''), ('GET', '/acl'), ('GET', '/consumers')]:
            found, missing = (without_ids(stranger.call(method, name + tail), name) for name in [reference, absent])
            assert found == missing
            assert found[0] == 404


def without_ids(answer: requests.Response, reference: str) -> tuple:
    """An answer as a stranger can tell it from others."""
    varying = {REQUEST_ID.lower(), 'date', 'openstack-request-id'}
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in varying}
    return answer.status_code, answer.text.replace(reference.rsplit('/', 1)[1], 'ID'), headers


def test_limits(keystone, chatelaine):
    keys = Keys(chatelaine.url, keystone.token('demo', 'demo'))
    reference = expect(keys.call('POST', '/v1/secrets', {'name': 'limited'}), 201)['secret_ref']

    def users(number: int) -> int:
        return keys.call('PUT', f'{reference}/acl', {'read': {'users': [f'u{n}' for n in range(number)]}}).status_code

    def words(number: int) -> int:
        return keys.call(
            'PUT', f'{reference}/metadata', {'metadata': {f'k{n}': 'v' for n in range(number)}}
        ).status_code

    def text(length: int) -> int:
        body = {'payload': 'x' * length, 'payload_content_type': 'text/plain'}
        return keys.call('POST', '/v1/secrets', body).status_code

    assert [users(400), users(401)] == [200, 400]
    assert [words(256), words(257)] == [201, 400]
    assert [text(65_536), text(65_537)] == [201, 413]


@pytest.mark.parametrize(
    ('algorithm', 'bits', 'status'), [('ec', 521, 'ACTIVE'), ('ed25519', 256, 'ACTIVE'), ('dsa', 1024, 'ERROR')]
)
def test_key_pairs(keystone, chatelaine, algorithm, bits, status):
    keys = Keys(chatelaine.url, keystone.token('demo', 'demo'))
    body = {'type': 'asymmetric', 'meta': {'algorithm': algorithm, 'bit_length': bits}}
    reference = expect(keys.call('POST', '/v1/orders', body), 202)['order_ref']
    order = expect(keys.call('GET', reference), 200)
    assert order['status'] == status
    assert (status == 'ACTIVE') == ('container_ref' in order)
    assert (status == 'ERROR') == ('rsa, ec, ed25519' in order.get('error_reason', ''))
