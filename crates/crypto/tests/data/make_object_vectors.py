"""Makes object-v1.json: an implementation of the object format that shares no code with the Rust one.

Ciphers are OpenSSL's. The inputs are fixed, so the output is always the same:

    python3 make_object_vectors.py > object-v1.json
"""

import hashlib
import hmac
import json
import struct

from openssl import cipher as openssl

MAGIC = bytes.fromhex("8f4348544c4e4f42")
CIPHERS = [
    "aes-256-gcm",
    "aes-192-gcm",
    "aes-128-gcm",
    "chacha20-poly1305",
    "aes-256-xts",
    "aes-128-xts",
    "aes-256-ctr",
    "aes-192-ctr",
    "aes-128-ctr",
    "aes-256-cbc",
    "aes-192-cbc",
    "aes-128-cbc",
]
LENGTHS = [0, 1, 15, 16, 17, 33, 100, 4095, 4096, 4097, 4111, 4112, 5000, 8192, 70000]
LONGEST_IN_FULL = 200


def derive(key, label, context, length):
    info = label.encode() + b"\0" + struct.pack(">I", length)
    info += b"".join(struct.pack(">I", len(part)) + part for part in context)
    extracted = hmac.digest(b"chatelaine derive v1", key, "sha256")
    output, block, number = b"", b"", 0
    while len(output) < length:
        number += 1
        block = hmac.digest(extracted, block + info + bytes([number]), "sha256")
        output += block
    return output[:length]


def plain_bytes(length):
    return bytes((i * 167 + (i >> 8) * 13) & 0xFF for i in range(length))


def body_of(name, key, vector, chunk, plain):
    if name.endswith(("gcm", "poly1305")):
        whole, rest = divmod(len(plain), chunk)
        body = b""
        for i in range(whole + 1):
            nonce = i.to_bytes(11, "big") + bytes([i == whole])
            body += openssl(name, True, key, nonce, plain[i * chunk : (i + 1) * chunk])
        return body
    if name.endswith("ctr"):
        return openssl(name, True, key, vector, plain)
    if name.endswith("cbc"):
        padding = 16 - len(plain) % 16
        return openssl(name, True, key, vector, plain + bytes([padding]) * padding)
    body = b""
    for i in range(0, len(plain), 4096):
        sector = plain[i : i + 4096]
        if len(sector) < 16:
            body += bytes(a ^ b for a, b in zip(sector, vector))
        else:
            body += openssl(name, True, key, (i // 4096).to_bytes(16, "little"), sector)
    return body


def make(name, length, key_use, exponent, key_id, context):
    def take(label, size):
        return hashlib.shake_128(f"{name}/{length}/{key_use}/{label}".encode()).digest(size)

    bits = int(name.split("-")[1]) if name.startswith("aes") else 256
    key_length = bits // 8 * (2 if name.endswith("xts") else 1)
    key, salt = take("key", key_length), take("salt", 32)
    head = MAGIC + bytes([1, CIPHERS.index(name) + 1, key_use, exponent, len(key_id)])
    head += salt + key_id.encode()
    vector_length = 0 if name.endswith(("gcm", "poly1305")) else 16
    derived = derive(
        key,
        "chatelaine object v1",
        [head, context],
        32 + vector_length + (0 if key_use == 1 else key_length),
    )
    check, vector, cipher_key = derived[:32], derived[32 : 32 + vector_length], derived[32 + vector_length :]
    if key_use == 1:
        cipher_key = key
    plain = plain_bytes(length)
    body = body_of(name, cipher_key, vector, 1 << exponent, plain)
    case = {
        "name": f"{name}, {length} bytes" + (", direct key" if key_use else ""),
        "cipher": name,
        "key": key.hex(),
        "context": context.hex(),
        "key_use": ["derived", "direct"][key_use],
        "chunk_length": 1 << exponent,
        "key_id": key_id,
        "salt": salt.hex(),
        "header": (head + check).hex(),
        "vector": vector.hex(),
        "cipher_key": cipher_key.hex(),
        "plain_length": length,
        "body_length": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    if len(body) <= LONGEST_IN_FULL:
        case["body"] = body.hex()
    return case


def main():
    cases = []
    for name in CIPHERS:
        for length in LENGTHS:
            exponent = 12 if name.endswith("xts") else 4
            if name.endswith(("gcm", "poly1305")):
                exponent = 16 if length == 70000 else 12
            key_id = "5f0c8a3e-6d0b-4c1f-9a54-0d7e2b9c1a10" if length % 2 else ""
            context = b"AUTH_test/photos/cat.jpg" if length in (16, 100, 5000) else b""
            for key_use in [0, 1] if name.endswith("xts") else [0]:
                cases.append(make(name, length, key_use, exponent, key_id, context))
    rule = "byte i of the plain data is (i * 167 + (i >> 8) * 13) mod 256"
    print(json.dumps({"plain": rule, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
