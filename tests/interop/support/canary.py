"""Looking for secrets where they must not be, in every form in which programs write bytes down.

Pieces are looked for, not only whole secrets: messages are often cut. A piece is so long that chance does not find it.
"""

import base64
import json
import pathlib
import string
import urllib.parse
from collections.abc import Iterable, Mapping

PIECE_BYTES = 12
#: RFC 3986, section 2.3.
UNRESERVED = frozenset(string.ascii_letters + string.digits + '-._~')
#: What `escape_ascii` of Rust's standard library writes for some bytes.
RUST = {ord('\t'): '\\t', ord('\r'): '\\r', ord('\n'): '\\n', ord("'"): "\\'", ord('"'): '\\"', ord('\\'): '\\\\'}


def rust_default(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f'\\x{byte:02x}'


def pieces(secret: bytes) -> list[bytes]:
    """The beginning, the middle and the end of a secret."""
    assert len(secret) >= PIECE_BYTES, 'chance would find so short a secret'
    middle = (len(secret) - PIECE_BYTES) // 2
    starts = sorted({0, middle, len(secret) - PIECE_BYTES})
    return [secret[start : start + PIECE_BYTES] for start in starts]


def in_base64(piece: bytes) -> dict[str, bytes]:
    """Its digits in base64 when 0, 1 or 2 bytes (of each group of three) come before it; without what others share."""
    forms = {}
    for before in range(3):
        padded = bytes(before) + piece
        # Digits of six bits; only those that this piece alone decides.
        first, last = -(-8 * before // 6), 8 * len(padded) // 6
        forms[f'base64 at {before}'] = base64.b64encode(padded)[first:last]
        forms[f'base64url at {before}'] = base64.urlsafe_b64encode(padded)[first:last]
    return forms


def forms(piece: bytes) -> dict[str, bytes]:
    """How programs write these bytes: as they are, in hexadecimal, base64, percent-encoded, as lists, escaped."""
    hexadecimal = piece.hex()
    pairs = [hexadecimal[place : place + 2] for place in range(0, len(hexadecimal), 2)]
    written = {
        'hex': hexadecimal,
        'HEX': hexadecimal.upper(),
        'hex with spaces': ' '.join(pairs),
        'hex with colons': ':'.join(pairs),
        'percent': urllib.parse.quote(piece, safe=''),
        'percent in lower case': ''.join(
            chr(byte) if chr(byte) in UNRESERVED else f'%{byte:02x}' for byte in piece
        ),
        'percent everywhere': ''.join(f'%{byte:02X}' for byte in piece),
        'percent everywhere in lower case': ''.join(f'%{byte:02x}' for byte in piece),
        'list': ', '.join(str(byte) for byte in piece),
        'list without spaces': ','.join(str(byte) for byte in piece),
        'list of hex': ', '.join(f'0x{byte:02x}' for byte in piece),
        'escaped': ''.join(f'\\x{byte:02x}' for byte in piece),
        'byte string of Rust': ''.join(RUST.get(byte, rust_default(byte)) for byte in piece),
        'byte string of Python': repr(piece)[2:-1],
        'JSON': json.dumps(piece.decode('latin-1'))[1:-1],
        'JSON in UTF-8': json.dumps(piece.decode('latin-1'), ensure_ascii=False)[1:-1],
        'Latin-1 in UTF-8': piece.decode('latin-1'),
    }
    return {'raw': piece} | {name: text.encode() for name, text in written.items()} | in_base64(piece)


class Canaries:
    """Named secrets."""

    def __init__(self, secrets: Mapping[str, bytes]):
        self._wanted: dict[bytes, str] = {}
        for name, secret in secrets.items():
            for number, piece in enumerate(pieces(secret)):
                for form, content in forms(piece).items():
                    self._wanted.setdefault(content, f'{name}, piece {number}, {form}')

    def found_in(self, content: bytes) -> list[str]:
        """What is found, in words that do not repeat it."""
        return sorted({what for wanted, what in self._wanted.items() if wanted in content})

    def found_in_files(self, files: Iterable[pathlib.Path]) -> list[str]:
        return [f'{path.name}: {what}' for path in files for what in self.found_in(path.read_bytes())]
