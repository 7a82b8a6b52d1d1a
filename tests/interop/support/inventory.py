"""Everything a key manager with Barbican's interface holds of some projects, as their users see it."""

import re

import requests

from .identity import Token

TIMEOUT_SECONDS = 30
PAGE = 100
REFERENCE = re.compile(r'https?://[^/]+/v1/(?:secrets|containers)/')


class Barbican:
    """Barbican's interface as one user sees it, without a client in between."""

    def __init__(self, url: str, token: Token):
        self.url = url
        self._session = requests.Session()
        self._session.headers['X-Auth-Token'] = token.value

    def call(self, method: str, path: str, expected: int, body=None, **headers) -> requests.Response:
        headers = {'OpenStack-API-Version': 'key-manager 1.1', 'Accept': 'application/json', **headers}
        answer = self._session.request(
            method, f'{self.url}/v1/{path}', json=body, headers=headers, timeout=TIMEOUT_SECONDS
        )
        assert answer.status_code == expected, f'{method} {path}: {answer.status_code}\n{answer.text}'
        return answer

    def get(self, path: str):
        return self.call('GET', path, 200).json()

    def post(self, path: str, expected: int, body) -> str:
        """The id of what was made."""
        return self.call('POST', path, expected, body).headers['Location'].rsplit('/', 1)[1]

    def pages(self, path: str, name: str) -> list:
        found = []
        while True:
            page = self.get(f'{path}?limit={PAGE}&offset={len(found)}')
            found += page[name]
            if len(found) >= page['total']:
                assert len(found) == page['total']
                return found

    def secret(self, secret_id: str) -> dict:
        secret = self.get(f'secrets/{secret_id}')
        types = secret.get('content_types')
        payload = None
        if types is not None:
            payload = self.call('GET', f'secrets/{secret_id}/payload', 200, Accept=types['default']).content
        return {
            'secret': bare(secret),
            'payload': payload,
            'metadata': self.get(f'secrets/{secret_id}/metadata')['metadata'],
            'acl': acl(self.get(f'secrets/{secret_id}/acl')),
            'consumers': self.pages(f'secrets/{secret_id}/consumers', 'consumers'),
        }

    def container(self, container_id: str) -> dict:
        container = bare(self.get(f'containers/{container_id}'))
        # Barbican's order of these is the database's own.
        container['secret_refs'] = sorted(container['secret_refs'], key=lambda ref: (ref['secret_ref'], ref['name']))
        container['consumers'] = sorted(container['consumers'], key=lambda consumer: consumer['name'])
        return {
            'container': container,
            'acl': acl(self.get(f'containers/{container_id}/acl')),
            'consumers': sorted(
                self.pages(f'containers/{container_id}/consumers', 'consumers'), key=lambda found: found['name']
            ),
        }

    def everything(self) -> dict:
        secrets = [last(found['secret_ref']) for found in self.pages('secrets', 'secrets')]
        containers = [last(found['container_ref']) for found in self.pages('containers', 'containers')]
        return {
            'secrets': {secret_id: self.secret(secret_id) for secret_id in secrets},
            'containers': {container_id: self.container(container_id) for container_id in containers},
        }


def last(reference: str) -> str:
    return reference.rstrip('/').rsplit('/', 1)[1]


def acl(found: dict) -> dict:
    read = found['read']
    return {**read, 'users': sorted(read['users'])} if 'users' in read else read


def bare(found):
    """The same with ids in place of references, which differ from server to server."""
    match found:
        case dict():
            return {name: bare(value) for name, value in found.items()}
        case list():
            return [bare(value) for value in found]
        case str():
            return REFERENCE.sub('', found)
    return found
