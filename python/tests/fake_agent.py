"""An agent for the tests of this package alone: the same routes, keys in memory, and faults to order."""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import os
import pathlib
import re
import socket
import socketserver
import threading
import time
import urllib.parse
import uuid
from typing import Any, Callable, Optional

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from chatelaine import algorithms

REQUEST_ID = 'req-5a0a8f4c-0000-4000-8000-000000000001'
_CREATE = {'id', 'algorithm', 'bit_length', 'key_string', 'lock', 'scope', 'scope_id', 'name', 'attributes'}
_CREATE |= {'activates_at', 'expires_at', 'return_key'}
_PAIR = {'algorithm', 'bit_length', 'name', 'attributes', 'expires_at'}


class Refusal(Exception):
    def __init__(self, status: int, message: str, field: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.field, self.headers = status, message, field, headers


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def is_past(moment: str) -> bool:
    return datetime.datetime.fromisoformat(moment.replace('Z', '+00:00')) <= datetime.datetime.now(
        datetime.timezone.utc
    )


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: FakeAgent

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.server.open.add(self.connection)

    def finish(self) -> None:
        with self.server.lock:
            self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return 'unix'

    def _serve(self) -> None:
        length = int(self.headers.get('Content-Length', 0))
        body = self.rfile.read(length)
        with self.server.lock:
            self.server.requests.append((self.command, self.path, dict(self.headers), os.getpid()))
            fault = self.server.faults.pop(0) if self.server.faults else None
        done = fault(self) if fault is not None else False
        if done is not False:
            self.close_connection = done is True
            return
        try:
            status, answer = self.server.answer(self.command, self.path, dict(self.headers), body)
            headers: dict[str, str] = {}
        except Refusal as refusal:
            status, headers = refusal.status, refusal.headers
            error = {'code': status, 'title': 'Refused', 'message': refusal.message, 'request_id': REQUEST_ID}
            answer = {'error': error | ({'field': refusal.field} if refusal.field else {})}
        self.send_response(status)
        text = b'' if answer is None else json.dumps(answer).encode()
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        if status != 204:
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815


#: True: it has ended the connection. None: it has answered. False: the answer is still to come.
Fault = Callable[[Handler], Optional[bool]]


class FakeAgent(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, folder: pathlib.Path):
        self.path = str(folder / 'agent.sock')
        self.lock = threading.Lock()
        self.keys: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, dict[str, str], int]] = []
        self.faults: list[Fault] = []
        self.connections = 0
        self.open: set[socket.socket] = set()
        #: What each token may do: nothing is there for a token that is none.
        self.tokens = {'users-token': 200, 'nobodys-token': 403}
        self.pages_end = True
        super().__init__(self.path, Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
        self.thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """As after a restart of the agent."""
        with self.lock:
            for one in self.open:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def paths(self) -> list[str]:
        return [f'{method} {path}' for method, path, _, _ in self.requests]

    # The routes

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        token = headers.get('X-Auth-Token')
        if token is not None and self.tokens.get(token, 401) != 200:
            raise Refusal(self.tokens.get(token, 401), 'the policy does not let this user')
        path, _, query = target.partition('?')
        if (method, path) == ('GET', '/readyz'):
            return 200, {'ready': True}
        if (method, path) == ('POST', '/v1/keys'):
            return 201, self._create(self._request(body, _CREATE))
        if (method, path) == ('POST', '/v1/key-pairs'):
            return 201, self._pair(self._request(body, _PAIR))
        if (method, path) == ('GET', '/v1/keys'):
            return 200, self._page(urllib.parse.parse_qs(query))
        found = re.fullmatch(r'/v1/keys/([0-9a-f-]{36})(/metadata)?', path)
        if found is None or found[1] not in self.keys:
            raise Refusal(404, 'there is no such key')
        key = self.keys[found[1]]
        if method == 'DELETE' and not found[2]:
            del self.keys[found[1]]
            return 204, None
        if found[2]:
            return 200, self._metadata(key)
        if method == 'GET':
            if self._metadata(key)['state'] != 'active':
                raise Refusal(409, f'the key is {self._metadata(key)["state"]}')
            return 200, key | {'lock': 'single'}
        raise Refusal(405, 'no such method')

    def _request(self, body: bytes, known: set[str]) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(body)
        for name in request:
            if name not in known:
                raise Refusal(400, 'there is no such field', name)
        return request

    def _metadata(self, key: dict[str, Any]) -> dict[str, Any]:
        expired = 'expires_at' in key and is_past(key['expires_at'])
        state = 'deactivated' if expired and key['state'] == 'active' else key['state']
        return {name: value for name, value in key.items() if name != 'key_string'} | {'state': state}

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            algorithm = algorithms.find_algorithm(request['algorithm'])
        except ValueError as error:
            raise Refusal(400, str(error), 'algorithm') from None
        given = request.get('key_string')
        raw = None if given is None else base64.b64decode(given, validate=True)
        bits = request.get('bit_length') or (8 * len(raw) if raw is not None else algorithm.default_bits)
        if not (algorithm.generates(bits) if raw is None else algorithm.stores(bits)):
            raise Refusal(400, f'{algorithm.name} does not have keys of {bits} bits', 'bit_length')
        if is_past(request.get('expires_at', '2099-01-01T00:00:00Z')):
            raise Refusal(400, 'it is over already', 'expires_at')
        if raw is None:
            raw = os.urandom(bits // 8)
        elif algorithm.kind != 'key-pair' and 8 * len(raw) != bits:
            raise Refusal(400, f'it has {8 * len(raw)} bits', 'key_string')
        if len(request.get('name', 'x')) not in range(1, 256):
            raise Refusal(400, '1 to 255 characters are allowed', 'name')
        made = self._put(algorithm.name, bits, raw, request)
        return made if request.get('return_key') else self._metadata(made)

    def _put(self, algorithm: str, bits: int, raw: bytes, request: dict[str, Any]) -> dict[str, Any]:
        key = {
            'id': request.get('id') or str(uuid.uuid4()),
            'version': 1,
            'state': 'active',
            'algorithm': algorithm,
            'bit_length': bits,
            'created_at': now(),
            'key_string': base64.b64encode(raw).decode(),
        }
        key |= {name: request[name] for name in ('name', 'attributes', 'expires_at') if name in request}
        if key['id'] in self.keys:
            raise Refusal(409, 'there is a key of that id')
        self.keys[str(key['id'])] = key
        return key

    def _pair(self, request: dict[str, Any]) -> dict[str, Any]:
        bits = request.get('bit_length') or 2048
        if request['algorithm'].lower() != 'rsa' or bits != 2048:
            raise Refusal(400, 'this one makes rsa keys of 2048 bits', 'algorithm')
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        der = serialization.Encoding.DER
        halves = {
            'private': key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            'public': key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo),
        }
        ids = {'private': str(uuid.uuid4()), 'public': str(uuid.uuid4())}
        answer = {}
        for half, other in (('private', 'public'), ('public', 'private')):
            attributes = request.get('attributes', {}) | {'chatelaine.pair': f'{half}-of:{ids[other]}'}
            made = self._put('rsa', bits, halves[half], request | {'attributes': attributes, 'id': ids[half]})
            answer[f'{half}_key'] = self._metadata(made)
        return answer

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        limit = int(query['limit'][0])
        ids = list(self.keys)
        first = ids.index(query['marker'][0]) + 1 if 'marker' in query and self.pages_end else 0
        page = ids[first : first + limit]
        answer: dict[str, Any] = {'keys': [self._metadata(self.keys[one]) for one in page]}
        if not self.pages_end or first + limit < len(ids):
            answer['next_marker'] = page[-1]
        return answer


# Faults


def close(handler: Handler) -> bool:
    """Takes the request and ends."""
    return True


def hang(seconds: float) -> Fault:
    def fault(handler: Handler) -> bool:
        time.sleep(seconds)
        return True

    return fault


def wait(seconds: float) -> Fault:
    def fault(handler: Handler) -> bool:
        time.sleep(seconds)
        return False

    return fault


def raw(text: bytes) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.wfile.write(text)
        return True

    return fault


def trickle(handler: Handler) -> bool:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n')
    for _ in range(1000):
        handler.wfile.write(b'x')
        time.sleep(0.05)
    return True


def refuse(status: int, message: str = 'as ordered', **headers: str) -> Fault:
    def fault(handler: Handler) -> None:
        error = {'code': status, 'title': 'x', 'message': message, 'field': 'a_field', 'request_id': REQUEST_ID}
        text = json.dumps({'error': error}).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace('_', '-'), value)
        handler.send_header('Content-Length', str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    return fault
