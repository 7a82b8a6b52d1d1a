"""Short words for the steps that cases are made of."""

import base64
from typing import Any

from support.differential import Expected, Step

MISSING = '0b8b8b6e-30a8-4b5e-9f3c-5d6c1f0a2b3c'
TEXT = {'payload': 'a text', 'payload_content_type': 'text/plain'}
OCTETS = 'application/octet-stream'
BASE64 = 'base64'
#: Not UTF-8.
BINARY = bytes(range(256))
FUTURE = '2051-02-03T04:05:06'


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def binary(data: bytes = BINARY, kind: str = OCTETS) -> dict[str, str]:
    """The members of a secret's body that hold bytes."""
    return {'payload': encoded(data), 'payload_content_type': kind, 'payload_content_encoding': BASE64}


def version(value: str) -> dict[str, str]:
    return {'OpenStack-API-Version': f'key-manager {value}'}


def accept(value: str | None) -> dict[str, str | None]:
    return {'Accept': value}


def content(kind: str | None, encoding: str | None = None) -> dict[str, str | None]:
    headers = {'Content-Type': kind}
    return headers if encoding is None else headers | {'Content-Encoding': encoding}


def get(path: str, status: int = 200, **more: Any) -> Step:
    return Step('GET', path, status, **more)


def post(path: str, body: Any, status: int = 201, **more: Any) -> Step:
    return Step('POST', path, status, body, **more)


def put(path: str, body: Any, status: int, **more: Any) -> Step:
    return Step('PUT', path, status, body, **more)


def patch(path: str, body: Any, status: int = 200, **more: Any) -> Step:
    return Step('PATCH', path, status, body, **more)


def delete(path: str, status: int = 204, body: Any = None, **more: Any) -> Step:
    return Step('DELETE', path, status, body, **more)


def new_secret(save: str = 'secret', caller: str = 'demo', **fields: Any) -> Step:
    return post('/v1/secrets', fields, save=save, caller=caller)


def new_container(save: str = 'container', caller: str = 'demo', **fields: Any) -> Step:
    return post('/v1/containers', {'type': 'generic'} | fields, save=save, caller=caller)


def stored(**fields: Any) -> list[Step]:
    """A secret is made and read back."""
    return [new_secret(**fields), get('<secret>')]


def refused(status: int = 400, ours: Expected | None = None, **fields: Any) -> Step:
    """A secret is not made."""
    return post('/v1/secrets', fields, status, ours=ours)
