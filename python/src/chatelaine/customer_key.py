"""Keys that customers bring with their requests: used, never stored.

What is stored beside the data is a salt and a fingerprint, which tell nothing about the key::

    salt = new_salt()
    stored = salt, fingerprint(key, salt, b'a/c/o')
    ...
    check(key_of_a_later_request, salt, b'a/c/o', stored_fingerprint)   # raises WrongKeyError

The context says what the key is for, so that a fingerprint moved to other data is refused. Keys have 16 to 64 random bytes: derive
one from a passphrase first.
"""

from chatelaine._native import WrongKeyError
from chatelaine._native import check_customer_key as check
from chatelaine._native import customer_key_fingerprint as fingerprint
from chatelaine._native import customer_key_salt as new_salt

__all__ = ['WrongKeyError', 'check', 'fingerprint', 'new_salt']
