"""Quotas hold when many create at once."""

import collections
import concurrent.futures

import pytest
import requests

TIMEOUT_SECONDS = 60
AT_ONCE = 16
QUOTA = 3

#: What is created, its path and body.
CREATIONS = {
    'secrets': ('/v1/secrets', {'payload': 'one of many', 'payload_content_type': 'text/plain'}),
    'containers': ('/v1/containers', {'type': 'generic', 'secret_refs': []}),
    'orders': ('/v1/orders', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 256, 'mode': 'cbc'}}),
}


@pytest.mark.parametrize('what', CREATIONS)
def test_creations_at_once(chatelaine, keystone, what):
    """As many succeed as the quota has room for, not one more; without a quota, all."""
    project = keystone.new_project(('demo', 'member'))
    headers = {'X-Auth-Token': keystone.token('demo', project).value}
    path, body = CREATIONS[what]

    def create(_) -> int:
        answer = requests.post(chatelaine.url + path, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
        return answer.status_code

    def create_at_once() -> collections.Counter:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            return collections.Counter(pool.map(create, range(AT_ONCE)))

    made = 202 if what == 'orders' else 201
    assert create_at_once() == {made: AT_ONCE}
    administrator = {'X-Auth-Token': keystone.token('key_admin', 'demo').value}
    quotas = f'{chatelaine.url}/v1/project-quotas/{keystone.projects[project]}'
    wanted = {'project_quotas': {what: AT_ONCE + QUOTA}}
    set_it = requests.put(quotas, json=wanted, headers=administrator, timeout=TIMEOUT_SECONDS)
    assert set_it.status_code == 204, set_it.text
    assert create_at_once() == {made: QUOTA, 403: AT_ONCE - QUOTA}
