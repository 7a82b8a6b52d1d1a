"""OpenSSL's ciphers, through its library: nothing but Python and the OpenSSL it is installed with.

As a program: answers requests, one JSON object per line, until its input ends. Texts are hexadecimal.

    {"cipher": "aes-256-xts", "encrypt": true, "key": "…", "iv": "…", "data": "…"}

For an AEAD, `data` ends with the tag, and `null` is the answer where it does not authenticate. Padding is off.
"""

import ctypes
import ctypes.util
import json
import sys

TAG = 16
GET_TAG, SET_TAG = 0x10, 0x11

library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for name, result, arguments in [
    ("EVP_CIPHER_CTX_new", ctypes.c_void_p, []),
    ("EVP_CIPHER_CTX_free", None, [ctypes.c_void_p]),
    ("EVP_CIPHER_fetch", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]),
    ("EVP_CIPHER_free", None, [ctypes.c_void_p]),
    ("EVP_CipherInit_ex", ctypes.c_int, [ctypes.c_void_p] * 3 + [ctypes.c_char_p] * 2 + [ctypes.c_int]),
    ("EVP_CIPHER_CTX_set_padding", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    ("EVP_CIPHER_CTX_ctrl", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]),
    (
        "EVP_CipherUpdate",
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int],
    ),
    (
        "EVP_CipherFinal_ex",
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)],
    ),
]:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments


def cipher(name, encrypt, key, iv, data):
    """The other text; nothing where a tag does not fit."""
    aead = name.endswith(("gcm", "poly1305"))
    tag = None
    if aead and not encrypt:
        data, tag = data[:-TAG], data[-TAG:]
    kind = library.EVP_CIPHER_fetch(None, name.encode(), None)
    context = library.EVP_CIPHER_CTX_new()
    assert kind and context, name
    try:
        assert library.EVP_CipherInit_ex(context, kind, None, key, iv, int(encrypt)), "key or IV refused"
        library.EVP_CIPHER_CTX_set_padding(context, 0)
        if tag is not None:
            assert library.EVP_CIPHER_CTX_ctrl(context, SET_TAG, TAG, tag)
        output, length = ctypes.create_string_buffer(len(data) + 32), ctypes.c_int(0)
        if data:
            assert library.EVP_CipherUpdate(context, output, ctypes.byref(length), data, len(data))
        text = output.raw[: length.value]
        if not library.EVP_CipherFinal_ex(context, output, ctypes.byref(length)):
            assert tag is not None, "the cipher refuses the text"
            return None
        text += output.raw[: length.value]
        if aead and encrypt:
            assert library.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG, output)
            text += output.raw[:TAG]
        return text
    finally:
        library.EVP_CIPHER_CTX_free(context)
        library.EVP_CIPHER_free(kind)


def main():
    for line in sys.stdin:
        request = json.loads(line)
        key, iv, data = (bytes.fromhex(request[part]) for part in ("key", "iv", "data"))
        text = cipher(request["cipher"], request["encrypt"], key, iv, data)
        print(json.dumps(None if text is None else text.hex()), flush=True)


if __name__ == "__main__":
    main()
