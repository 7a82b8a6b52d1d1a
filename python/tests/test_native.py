from __future__ import annotations

import pytest

import chatelaine
from chatelaine import algorithms, customer_key

KEY = bytes(range(32))


def test_the_version_is_that_of_the_wheel() -> None:
    import importlib.metadata

    assert chatelaine.__version__ == importlib.metadata.version('chatelaine')


def test_the_registry() -> None:
    by_name = {one.name: one for one in algorithms.algorithms()}
    aes = by_name['aes']
    assert (aes.kind, aes.default_bits, aes.status, aes.reason) == ('symmetric', 256, 'recommended', None)
    assert 'xts' in aes.modes
    assert (aes.stores(512), aes.stores(513), aes.generates(128)) == (True, False, True)
    assert isinstance(aes.accelerated, bool)
    refused = by_name['des']
    assert refused.status == 'refused'
    assert 'aes' in (refused.reason or '')
    assert algorithms.find_algorithm('HMAC_SHA256').name == 'hmac-sha256'
    for name, said in [('rot13', 'known algorithms: aes'), ('DES', 'refused')]:
        with pytest.raises(ValueError, match=said):
            algorithms.find_algorithm(name)
    with pytest.raises(AttributeError):
        aes.name = 'x'  # type: ignore[misc]


def test_the_data_ciphers() -> None:
    by_name = {one.name: one for one in algorithms.data_ciphers()}
    gcm, xts = by_name['aes-256-gcm'], by_name['aes-256-xts']
    assert (gcm.algorithm, gcm.mode, gcm.key_bits, gcm.authenticated) == ('aes', 'gcm', 256, True)
    assert (xts.key_bits, xts.length_preserving, xts.random_access) == (512, True, True)
    assert by_name['rc4'].status == 'refused'


def test_a_customers_key_is_known_again_and_no_other_passes() -> None:
    salt = customer_key.new_salt()
    made = customer_key.fingerprint(KEY, salt, b'a/c/o')
    assert (type(salt), len(salt), type(made), len(made)) == (bytes, 16, bytes, 32)
    customer_key.check(KEY, salt, b'a/c/o', made)
    for key, its_salt, context in [
        (KEY[::-1], salt, b'a/c/o'),
        (KEY, customer_key.new_salt(), b'a/c/o'),
        (KEY, salt, b'a/c/p'),
    ]:
        with pytest.raises(customer_key.WrongKeyError):
            customer_key.check(key, its_salt, context, made)
    assert customer_key.fingerprint(KEY, customer_key.new_salt(), b'a/c/o') != made


def test_the_fingerprint_never_changes() -> None:
    # Stored beside data: computed here by the definition, with nothing of the library.
    import hashlib
    import hmac

    salt = bytes(16)
    info = b'chatelaine customer key fingerprint v1\0' + (32).to_bytes(4, 'big')
    for part in (salt, b'a/c/o'):
        info += len(part).to_bytes(4, 'big') + part
    extracted = hmac.new(b'chatelaine derive v1', KEY, hashlib.sha256).digest()
    expected = hmac.new(extracted, info + b'\1', hashlib.sha256).digest()
    assert customer_key.fingerprint(KEY, salt, b'a/c/o') == expected


def test_wrong_lengths_are_no_wrong_keys() -> None:
    salt = customer_key.new_salt()
    for arguments, said in [((KEY[:15], salt, b''), '16 to 64'), ((KEY, salt[:15], b''), '16 to 64')]:
        with pytest.raises(ValueError, match=said) as caught:
            customer_key.fingerprint(*arguments)
        assert not isinstance(caught.value, customer_key.WrongKeyError)
        assert repr(KEY[:15]) not in str(caught.value)
    with pytest.raises(ValueError, match='allowed: 32'):
        customer_key.check(KEY, salt, b'', b'')
    with pytest.raises(TypeError):
        customer_key.fingerprint('text', salt, b'')  # type: ignore[arg-type]
