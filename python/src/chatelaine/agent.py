"""The agent of this host: makes, opens and deletes the keys of one service.

The agent wraps every key with the service's master key before the key manager gets it, and opens it here, on the host. Its socket
is for the processes of the service; without a user's token an operation is the service's own.

An :class:`Agent` may be shared by threads, greenthreads and forked processes. Python cannot wipe memory: let go of keys soon.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from chatelaine import connection, errors

DEFAULT_SOCKET = '/run/chatelaine/agent.sock'
DEFAULT_TIMEOUT = 20.0
DEFAULT_MAX_CONNECTIONS = 32
#: The longest key, in bytes.
MAX_KEY_STRING = 65_536
#: Most keys that a walk over all of them gives.
MAX_KEYS = 10_000_000
_PAGE = 100
_TOKEN = re.compile(r'[\x21-\x7e]{1,16384}')


@dataclasses.dataclass(frozen=True)
class KeyDocument:
    """What is known about a key. Times are RFC 3339, in UTC."""

    id: str
    version: int
    state: str
    algorithm: str
    bit_length: int
    created_at: str
    lock: str | None = None
    name: str | None = None
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    activates_at: str | None = None
    expires_at: str | None = None


@dataclasses.dataclass(frozen=True)
class Key:
    """A key: what is known about it, and its bytes where they were asked for."""

    document: KeyDocument
    key_string: bytes | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class KeyPage:
    """A page of keys in the order in which they were put, and the marker of the next one."""

    keys: list[KeyDocument]
    next_marker: str | None


class Agent:
    """The agent behind a socket. Making one opens no connection."""

    def __init__(
        self,
        socket_path: str = DEFAULT_SOCKET,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
    ):
        if timeout <= 0:
            raise ValueError(f'timeout is {timeout}; it must be more than 0 seconds')
        if max_connections < 1:
            raise ValueError(f'max_connections is {max_connections}; it must be at least 1')
        self._timeout = timeout
        self._pool = connection.Pool(socket_path, max_connections)

    def create_key(
        self,
        algorithm: str,
        *,
        bit_length: int | None = None,
        key_string: bytes | None = None,
        key_id: str | None = None,
        lock: str | None = None,
        scope: str | None = None,
        scope_id: str | None = None,
        name: str | None = None,
        attributes: Mapping[str, str] | None = None,
        activates_at: str | None = None,
        expires_at: str | None = None,
        return_key: bool = False,
        token: str | None = None,
    ) -> Key:
        """Makes a key, or keeps ``key_string``. ``lock`` is ``single``, ``dual`` or ``compound``, the latter two with a scope."""
        request: dict[str, Any] = {
            'algorithm': algorithm,
            'bit_length': bit_length,
            'key_string': None if key_string is None else base64.b64encode(key_string).decode('ascii'),
            'id': key_id,
            'lock': lock,
            'scope': scope,
            'scope_id': scope_id,
            'name': name,
            'attributes': dict(attributes) if attributes else None,
            'activates_at': activates_at,
            'expires_at': expires_at,
            'return_key': return_key or None,
        }
        return _key(self._call('POST', '/v1/keys', 201, request, token=token), with_string=return_key)

    def create_key_pair(
        self,
        algorithm: str,
        *,
        bit_length: int | None = None,
        name: str | None = None,
        attributes: Mapping[str, str] | None = None,
        expires_at: str | None = None,
        token: str | None = None,
    ) -> tuple[KeyDocument, KeyDocument]:
        """Makes a pair of keys: the private one (PKCS#8, DER) and the public one (SubjectPublicKeyInfo, DER)."""
        request: dict[str, Any] = {
            'algorithm': algorithm,
            'bit_length': bit_length,
            'name': name,
            'attributes': dict(attributes) if attributes else None,
            'expires_at': expires_at,
        }
        answer = self._call('POST', '/v1/key-pairs', 201, request, token=token)
        return _document(_field(answer, 'private_key', dict)), _document(_field(answer, 'public_key', dict))

    def key(self, key_id: str, *, token: str | None = None) -> Key:
        """A key with its bytes."""
        return _key(self._call('GET', _path(key_id), 200, token=token), with_string=True)

    def metadata(self, key_id: str, *, token: str | None = None) -> KeyDocument:
        """What is known about a key; its bytes stay where they are."""
        return _document(self._call('GET', f'{_path(key_id)}/metadata', 200, token=token))

    def delete(self, key_id: str, *, token: str | None = None) -> None:
        """Deletes a key. The key manager's operators can undo it for a while."""
        self._call('DELETE', _path(key_id), 204, token=token)

    def keys(self, *, limit: int = _PAGE, marker: str | None = None, token: str | None = None) -> KeyPage:
        """A page of the service's keys."""
        query = {'limit': str(limit)}
        if marker is not None:
            query['marker'] = marker
        answer = self._call('GET', f'/v1/keys?{urllib.parse.urlencode(query)}', 200, token=token)
        found = _field(answer, 'keys', list)
        following = answer.get('next_marker')
        if following is not None and not isinstance(following, str):
            raise _unexpected('next_marker')
        return KeyPage([_document(one) for one in found], following)

    def all_keys(self, *, token: str | None = None) -> Iterator[KeyDocument]:
        """All keys of the service, page by page."""
        marker: str | None = None
        count = 0
        while True:
            page = self.keys(marker=marker, token=token)
            yield from page.keys
            count += len(page.keys)
            # A page may be empty and still have a successor, but none may lead back to itself.
            if page.next_marker is None:
                return
            if page.next_marker == marker or count > MAX_KEYS:
                raise errors.UnexpectedAnswerError('the listing does not come to an end')
            marker = page.next_marker

    def is_ready(self) -> bool:
        """Whether the agent is unsealed and the key manager answers it. ``UnavailableError`` where there is no agent."""
        answer = self._pool.request('GET', '/readyz', {'Accept': 'application/json'}, None, self._timeout)
        return answer.status == 200

    def close(self) -> None:
        """Closes connections that are not in use. The agent may be used further."""
        self._pool.close()

    def _call(
        self,
        method: str,
        path: str,
        expected: int,
        request: Mapping[str, Any] | None = None,
        *,
        token: str | None,
    ) -> dict[str, Any]:
        headers = {'Accept': 'application/json'}
        body = None
        if request is not None:
            headers['Content-Type'] = 'application/json'
            given = {name: value for name, value in request.items() if value is not None}
            body = json.dumps(given).encode()
        if token is not None:
            if _TOKEN.fullmatch(token) is None:
                raise errors.NotAllowedError('the token is none: it holds characters that no token has, or nothing')
            headers['X-Auth-Token'] = token
        answer = self._pool.request(method, path, headers, body, self._timeout)
        if answer.status != expected:
            raise _failure(answer)
        return {} if answer.status == 204 else _json(answer)


def _path(key_id: str) -> str:
    return f'/v1/keys/{urllib.parse.quote(key_id, safe="")}'


def _json(answer: connection.Answer) -> dict[str, Any]:
    try:
        parsed = json.loads(answer.body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        # Without the cause, which would quote the answer.
        raise errors.UnexpectedAnswerError(
            'an answer of the agent is not a JSON object', status=answer.status
        ) from None
    return parsed


_FAILURES = {
    400: errors.InvalidRequestError,
    401: errors.NotAllowedError,
    403: errors.NotAllowedError,
    404: errors.NoSuchKeyError,
    409: errors.ConflictError,
    412: errors.ConflictError,
    413: errors.InvalidRequestError,
    422: errors.InvalidRequestError,
    429: errors.UnavailableError,
    502: errors.UnavailableError,
    503: errors.UnavailableError,
    504: errors.UnavailableError,
}


def _failure(answer: connection.Answer) -> errors.AgentError:
    try:
        parsed = json.loads(answer.body)
        told = parsed['error']
        message = str(told['message'])[:2000]
        field, request_id = told.get('field'), told.get('request_id')
    except (ValueError, KeyError, TypeError, AttributeError):
        message, field, request_id = f'status {answer.status} without an explanation', None, None
    seconds = answer.headers.get('Retry-After', '')
    return _FAILURES.get(answer.status, errors.UnexpectedAnswerError)(
        message,
        status=answer.status,
        field=None if field is None else str(field)[:200],
        request_id=None if request_id is None else str(request_id)[:100],
        retry_after=int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 7 else None,
    )


def _unexpected(field: str) -> errors.UnexpectedAnswerError:
    return errors.UnexpectedAnswerError(
        f'the field {field} of an answer of the agent is not there or not what it must be'
    )


def _field(parsed: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = parsed.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _unexpected(name)
    return value


def _text(parsed: Mapping[str, Any], name: str) -> str | None:
    return None if parsed.get(name) is None else str(_field(parsed, name, str))


def _document(parsed: Any) -> KeyDocument:
    if not isinstance(parsed, dict):
        raise _unexpected('keys')
    attributes = parsed.get('attributes', {})
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise _unexpected('attributes')
    return KeyDocument(
        id=_field(parsed, 'id', str),
        version=_field(parsed, 'version', int),
        state=_field(parsed, 'state', str),
        algorithm=_field(parsed, 'algorithm', str),
        bit_length=_field(parsed, 'bit_length', int),
        created_at=_field(parsed, 'created_at', str),
        lock=_text(parsed, 'lock'),
        name=_text(parsed, 'name'),
        attributes=attributes,
        activates_at=_text(parsed, 'activates_at'),
        expires_at=_text(parsed, 'expires_at'),
    )


def _key(parsed: dict[str, Any], *, with_string: bool) -> Key:
    key_string = None
    if with_string:
        try:
            key_string = base64.b64decode(_field(parsed, 'key_string', str), validate=True)
        except ValueError:
            raise _unexpected('key_string') from None
    return Key(_document(parsed), key_string)
