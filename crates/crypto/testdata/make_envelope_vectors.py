"""Makes envelope-v1.json: an implementation of the envelope format that shares no code with the Rust one.

Needs the Python package `cryptography`. The inputs are fixed, so the output is always the same:

    python3 make_envelope_vectors.py > envelope-v1.json
"""

import hashlib
import json
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = bytes.fromhex("8f4348544c4e574b")
LOCKS = {"single": 1, "dual": 2, "compound": 3}
NUMBERS = {"aes": 1, "hmac-sha512": 6, "generic": 16, "passphrase": 18, "rsa": 32}


def derive(key, label, context, length):
    info = label.encode() + b"\0" + struct.pack(">I", length)
    info += b"".join(prefixed(part) for part in context)
    return HKDF(hashes.SHA256(), length, b"chatelaine derive v1", info).derive(key)


def xaes_seal(key, nonce, aad, plaintext):
    def block(data):
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)

    subkey = int.from_bytes(block(bytes(16))) << 1
    if subkey >> 128:
        subkey ^= (1 << 128) | 0x87
    derived = b"".join(
        block((int.from_bytes(bytes([0, i, 0x58, 0]) + nonce[:12]) ^ subkey).to_bytes(16)) for i in (1, 2)
    )
    return nonce + AESGCM(derived).encrypt(nonce[12:], plaintext, aad)


def prefixed(part):
    return struct.pack(">I", len(part)) + part


def make(name, lock, algorithm, bits, key_id, master_id, scope_id, length=None):
    def take(label, size):
        return hashlib.shake_128(f"{name}/{label}".encode()).digest(size)

    length = length or (bits + 7) // 8
    master_key, scope_key = take("master key", 32), take("scope key", 32)
    outer_nonce, inner_nonce, iv = take("outer nonce", 24), take("inner nonce", 24), take("iv", 32)
    mask = 0xFF if algorithm == "rsa" else 0xFF << (-bits % 8) & 0xFF

    def trim(key):
        return key[:-1] + bytes([key[-1] & mask])

    spec = struct.pack(">HI", NUMBERS[algorithm], bits)
    ids = [part.encode() for part in (master_id, scope_id or "", key_id)]
    master, scope, key_name = ids
    header = MAGIC + bytes([1, LOCKS[lock]]) + spec + bytes([len(master), len(scope)]) + master + scope
    wrap = derive(master_key, "chatelaine envelope v1 master wrap", [master], 32)
    if lock == "single":
        key = content = trim(take("key", length))
    elif lock == "dual":
        key = trim(take("key", length))
        scope_wrap = derive(scope_key, "chatelaine envelope v1 scope wrap", [scope], 32)
        inner_aad = b"chatelaine envelope v1 inner\0" + spec + prefixed(scope) + prefixed(key_name)
        content = xaes_seal(scope_wrap, inner_nonce, inner_aad, key)
    else:
        derivation = derive(scope_key, "chatelaine envelope v1 scope derivation", [scope], 32)
        label = "chatelaine envelope v1 compound data key"
        key = trim(derive(derivation + iv, label, [spec, key_name, scope], length))
        content = iv
    outer_aad = b"chatelaine envelope v1 outer\0" + prefixed(header) + prefixed(key_name)
    envelope = header + prefixed(xaes_seal(wrap, outer_nonce, outer_aad, content))
    case = {
        "name": name,
        "lock_kind": lock,
        "algorithm": algorithm,
        "bit_length": bits,
        "key_id": key_id,
        "master_key_id": master_id,
        "master_key": master_key.hex(),
        "scope_key_id": scope_id,
        "scope_key": scope_key.hex() if scope_id else None,
        "outer_nonce": outer_nonce.hex(),
        "inner_nonce": inner_nonce.hex() if lock == "dual" else None,
        "iv": iv.hex() if lock == "compound" else None,
        "key": key.hex(),
        "envelope": envelope.hex(),
    }
    return case


UUIDS = [
    "5f0c8a3e-6d0b-4c1f-9a54-0d7e2b9c1a10",
    "c1d7f1a2-93b4-4f6e-8a0d-52b1f0e7c3aa",
    "0b9e4a67-2f1d-4d85-b3c6-7e1a9f5d2c04",
]
CASES = [
    make("single, AES-256", "single", "aes", 256, UUIDS[0], UUIDS[1], None),
    make("single, AES-128, short ids", "single", "aes", 128, "k", "1", None),
    make("single, two XTS keys", "single", "aes", 512, UUIDS[0], UUIDS[1], None),
    make("single, unused bits", "single", "generic", 2047, UUIDS[0], UUIDS[1], None),
    make("single, RSA key pair", "single", "rsa", 2048, UUIDS[0], UUIDS[1], None, 1217),
    make("single, passphrase", "single", "passphrase", 136, "schlüssel/1", "m" * 64, None),
    make("dual, AES-256", "dual", "aes", 256, UUIDS[0], UUIDS[1], UUIDS[2]),
    make("dual, HMAC-SHA-512", "dual", "hmac-sha512", 512, UUIDS[0], "cinder-2027", "s" * 64),
    make("compound, AES-256", "compound", "aes", 256, UUIDS[0], UUIDS[1], UUIDS[2]),
    make("compound, two XTS keys", "compound", "aes", 512, UUIDS[0], UUIDS[1], UUIDS[2]),
    make("compound, unused bits", "compound", "generic", 65279, UUIDS[0], UUIDS[1], UUIDS[2]),
]


def change(case, name, edit, **fields):
    envelope = bytearray.fromhex(case["envelope"])
    envelope = edit(envelope) or envelope
    return {**case, "name": f"{case['name']}: {name}", "key": None, "envelope": envelope.hex(), **fields}


def put(offset, *values):
    def edit(envelope):
        envelope[offset : offset + len(values)] = bytes(values)

    return edit


SINGLE, DUAL, COMPOUND = CASES[0], CASES[6], CASES[8]
REFUSED = [
    change(SINGLE, "another key-id", put(0), key_id=UUIDS[2]),
    change(DUAL, "another key-id", put(0), key_id=UUIDS[2]),
    change(COMPOUND, "another key-id", put(0), key_id=UUIDS[2]),
    change(SINGLE, "magic changed", put(0, 0x8E)),
    change(SINGLE, "version 2", put(8, 2)),
    change(SINGLE, "lock kind 0", put(9, 0)),
    change(SINGLE, "single relabelled as compound", put(9, 3)),
    change(DUAL, "dual relabelled as compound", put(9, 3)),
    change(SINGLE, "algorithm relabelled as generic", put(10, 0, 16)),
    change(SINGLE, "unknown algorithm", put(10, 0xFF, 0xFF)),
    change(SINGLE, "refused algorithm", put(10, 0, 64)),
    change(SINGLE, "bit length that does not fit the body", put(12, 0, 0, 0, 128)),
    change(COMPOUND, "bit length changed", put(12, 0, 0, 0, 128)),
    change(SINGLE, "empty master-key id", put(16, 0)),
    change(SINGLE, "scope key named by a single lock", put(16, 35, 1)),
    change(SINGLE, "space in the master-key id", put(18, 0x20)),
    change(SINGLE, "last bit of the tag changed", lambda e: put(len(e) - 1, e[-1] ^ 1)(e)),
    change(SINGLE, "one byte missing", lambda e: e[:-1]),
    change(SINGLE, "one byte added", lambda e: e + b"\0"),
]
REFUSED.append({**SINGLE, "name": "no bytes at all", "key": None, "envelope": ""})
print(json.dumps({"format": "chatelaine envelope, version 1", "cases": CASES, "refused": REFUSED}, indent=1, ensure_ascii=False))
