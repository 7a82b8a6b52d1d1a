"""A client of the native key API that hides nothing: every call returns the whole answer."""

import base64
import secrets
import uuid

import requests

from .identity import Token

TIMEOUT_SECONDS = 30
REQUEST_ID = 'X-Openstack-Request-Id'


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def random_key() -> bytes:
    return secrets.token_bytes(32)


def new_id() -> str:
    return str(uuid.uuid4())


def etag(version: int) -> str:
    return f'"{version}"'


class Keys:
    """`/v1/keys` as one user sees it, maybe with a service that vouches; without a token, as anybody does.

    Not to be shared between threads."""

    def __init__(
        self, url: str, token: Token | str | None = None, verify=True, cert=None, service: Token | None = None
    ):
        self.url = url
        self._session = requests.Session()
        # The environment's authorities would count for more than these.
        self._session.trust_env = False
        self._session.verify, self._session.cert = verify, cert
        if token is not None:
            self._session.headers['X-Auth-Token'] = token.value if isinstance(token, Token) else token
        if service is not None:
            self._session.headers['X-Service-Token'] = service.value

    def call(self, method: str, path: str, body=None, headers=None) -> requests.Response:
        """`path` may be a whole URL, as links in answers are."""
        url = path if path.startswith('http') else self.url + path
        return self._session.request(method, url, json=body, headers=headers, timeout=TIMEOUT_SECONDS)

    def put(self, key_id: str, key: bytes, **fields) -> requests.Response:
        body = {'key_string': encoded(key), 'algorithm': 'aes', 'bit_length': 8 * len(key), **fields}
        return self.call('PUT', f'/v1/keys/{key_id}', body)

    def create(self, **fields) -> requests.Response:
        return self.call('POST', '/v1/keys', fields)

    def get(self, key_id: str) -> requests.Response:
        return self.call('GET', f'/v1/keys/{key_id}')

    def metadata(self, key_id: str) -> requests.Response:
        return self.call('GET', f'/v1/keys/{key_id}/metadata')

    def update(self, key_id: str, version: str | None, **fields) -> requests.Response:
        headers = {} if version is None else {'If-Match': version}
        return self.call('PATCH', f'/v1/keys/{key_id}', fields, headers)

    def delete(self, key_id: str) -> requests.Response:
        return self.call('DELETE', f'/v1/keys/{key_id}')

    def scope_key(self, scope: str, scope_id: str) -> requests.Response:
        return self.call('GET', f'/v1/scope-keys/{scope}/{scope_id}')

    def undelete(self, key_id: str) -> requests.Response:
        return self.call('POST', f'/v1/keys/{key_id}/undelete')

    def revoke(self, key_id: str, reason: str) -> requests.Response:
        return self.call('POST', f'/v1/keys/{key_id}/revoke', {'reason': reason})

    def pages(self, **query) -> list[list[dict]]:
        """The listing, page by page, following its links."""
        path = '/v1/keys?' + '&'.join(f'{name}={value}' for name, value in query.items())
        pages = []
        while path is not None:
            answer = expect(self.call('GET', path), 200)
            pages.append(answer['keys'])
            path = answer['links'].get('next')
            assert len(pages) < 10_000, 'the listing does not end'
        return pages


def expect(answer: requests.Response, status: int) -> dict:
    """The body of an answer that must have this status, which must carry a request id."""
    assert answer.status_code == status, f'{answer.status_code} instead of {status}: {answer.text[:2000]}'
    assert answer.headers[REQUEST_ID].startswith('req-')
    return answer.json() if answer.content else {}


def refused(answer: requests.Response, status: int) -> dict:
    """The error of an answer that must have this status, in the shape OpenStack's services share."""
    error = expect(answer, status)['error']
    assert error['code'] == status
    assert error['title']
    assert error['message']
    if status == 401:
        assert answer.headers['WWW-Authenticate']
    return error
