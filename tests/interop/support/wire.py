"""Connections byte by byte: requests that stop in the middle, frames by hand, TLS as the test wants it."""

import json
import re
import ssl

import hyperframe.frame

from .certificates import Authority, Issued
from .native import encoded, new_id, random_key
from .standalone import Standalone


def trusting(
    authority: Authority, *, at_most=None, at_least=None, alpn=(), client: Issued | None = None
) -> ssl.SSLContext:
    """A client that trusts this authority, offers these versions and protocols and shows this certificate."""
    context = ssl.create_default_context(cafile=authority.file)
    # The client must be able to offer what is refused.
    context.set_ciphers('DEFAULT@SECLEVEL=0')
    if at_least is not None:
        context.minimum_version = at_least
    if at_most is not None:
        context.maximum_version = at_most
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if client is not None:
        context.load_cert_chain(*client.files)
    return context


def head(method: str, path: str, *fields: str) -> bytes:
    """The header of a request."""
    return '\r\n'.join([f'{method} {path} HTTP/1.1', 'Host: 127.0.0.1', *fields, '', '']).encode()


def to_the_end(connection) -> bytes:
    """All that comes until the server closes."""
    received = b''
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not part:
            return received
        received += part


def status_of(answer: bytes) -> int:
    """The status of an answer, which must be one."""
    matched = re.match(rb'HTTP/1\.1 (\d{3}) ', answer)
    assert matched, answer[:200]
    return int(matched[1])


class SlowPut:
    """A put whose body stops in the middle until it is told to go on; the server is at work on it."""

    def __init__(self, house: Standalone, connection, token: str | None = None):
        self.key_id, self.key = new_id(), random_key()
        body = {'key_string': encoded(self.key), 'algorithm': 'aes', 'bit_length': 256}
        content = json.dumps(body).encode()
        self._rest = content[10:]
        fields = [f'X-Auth-Token: {token or house.token()}', 'Content-Type: application/json']
        fields += [f'Content-Length: {len(content)}', 'Expect: 100-continue', 'Connection: close']
        self.connection = connection
        connection.sendall(head('PUT', f'/v1/keys/{self.key_id}', *fields))
        # The server asks for the body once it waits for it: from here on the request is running.
        interim = b''
        while b'\r\n\r\n' not in interim:
            part = connection.recv(1)
            assert part, interim
            interim += part
        assert status_of(interim) == 100
        connection.sendall(content[:10])

    def finish(self) -> bytes:
        self.connection.sendall(self._rest)
        return to_the_end(self.connection)


class Frames:
    """HTTP/2 by hand (RFC 9113), for tests to see what clients hide."""

    def __init__(self, connection):
        self.connection = connection
        self._received = b''
        settings = hyperframe.frame.SettingsFrame(0).serialize()
        connection.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + settings)

    def send(self, kind, data: bytes, *flags: str) -> None:
        self.connection.sendall(kind(1, data, flags=flags).serialize())

    def next(self):
        """The next frame, `None` at the end; pings are answered."""
        while True:
            if len(self._received) >= 9:
                frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(self._received[:9]))
                if len(self._received) >= 9 + length:
                    frame.parse_body(memoryview(self._received[9 : 9 + length]))
                    self._received = self._received[9 + length :]
                    if isinstance(frame, hyperframe.frame.PingFrame) and 'ACK' not in frame.flags:
                        answer = hyperframe.frame.PingFrame(0, frame.opaque_data, flags=['ACK'])
                        self.connection.sendall(answer.serialize())
                    return frame
            part = self.connection.recv(65536)
            if not part:
                return None
            self._received += part
