"""Castellan's managed objects as keys of the agent, and back.

A key of the agent has an algorithm of the registry, a length and bytes. What else Castellan must get back as it was lies in the
key's attributes, which the key manager can read: the type of the object, an algorithm or length that the registry writes in another
way, and whether a passphrase was text.
"""

from __future__ import annotations

import calendar
import datetime
from typing import Any, NamedTuple

from castellan.common.objects import key as key_base
from castellan.common.objects import (
    managed_object,
    opaque_data,
    passphrase,
    private_key,
    public_key,
    symmetric_key,
    x_509,
)
from oslo_utils import timeutils

from chatelaine import agent, algorithms
from chatelaine.key_manager import failures

TYPE = 'castellan.type'
ALGORITHM = 'castellan.algorithm'
BIT_LENGTH = 'castellan.bit_length'
TEXT = 'castellan.text'
#: By which the agent tells the halves of a pair it made from one another: `private-of:ID`, `public-of:ID`.
PAIR = 'chatelaine.pair'

_TYPES: dict[str, type[managed_object.ManagedObject]] = {
    kind.managed_type(): kind
    for kind in (
        opaque_data.OpaqueData,
        passphrase.Passphrase,
        private_key.PrivateKey,
        public_key.PublicKey,
        symmetric_key.SymmetricKey,
        x_509.X509,
    )
}
#: Algorithms of what is no key.
_PLAIN = {'passphrase': 'passphrase', 'certificate': 'certificate', 'opaque': 'opaque'}


class NewKey(NamedTuple):
    """What the agent is asked to keep."""

    algorithm: str
    bit_length: int
    key_string: bytes
    name: str | None
    attributes: dict[str, str]


def type_name(kind: type[managed_object.ManagedObject]) -> str:
    """The word for a class of managed objects."""
    for name, known in _TYPES.items():
        if issubclass(kind, known):
            return name
    known_names = ', '.join(sorted(known.__name__ for known in _TYPES.values()))
    raise failures.failed(f'there is no object type {kind.__name__}; there are {known_names}')


def to_key(managed: managed_object.ManagedObject) -> NewKey:
    """A managed object as the agent keeps it."""
    kind = type_name(type(managed))
    attributes = {TYPE: kind}
    # Some callers give text where bytes are meant, and want text back, as Barbican's driver does it.
    encoded: Any = managed.get_encoded()
    if isinstance(encoded, str):
        attributes[TEXT] = 'utf-8'
        encoded = encoded.encode()
    if not encoded:
        raise failures.failed('the object has no data: there is nothing to store')
    encoded = bytes(encoded)
    if len(encoded) > agent.MAX_KEY_STRING:
        raise failures.failed(f'the object has {len(encoded)} bytes; at most {agent.MAX_KEY_STRING} are stored')
    length = 8 * len(encoded)
    if not isinstance(managed, key_base.Key):
        return NewKey(_PLAIN[kind], length, encoded, _name(managed), attributes)
    bits = managed.bit_length or length
    known = _known(managed.algorithm)
    fits = known is not None and known.stores(bits) and (known.kind == 'key-pair') == (kind != 'symmetric')
    if known is None or not fits:
        # What the registry has no word for is kept as bytes.
        attributes.update({ALGORITHM: managed.algorithm or '', BIT_LENGTH: str(bits)})
        return NewKey('opaque', length, encoded, _name(managed), attributes)
    if managed.algorithm != known.name:
        attributes[ALGORITHM] = managed.algorithm
    return NewKey(known.name, bits, encoded, _name(managed), attributes)


def new_attributes(algorithm: str, kind: str | None) -> dict[str, str]:
    """The attributes of a key that is to be made. The halves of a pair get the same ones, without a kind."""
    attributes = {} if kind is None else {TYPE: kind}
    known = _known(algorithm)
    if known is None or algorithm != known.name:
        attributes[ALGORITHM] = algorithm
    return attributes


def from_key(document: agent.KeyDocument, key_string: bytes | None) -> managed_object.ManagedObject:
    """A key of the agent as the managed object it was, or is best taken for."""
    name = kind_of(document)
    kind = _TYPES[name]
    value: Any = key_string
    if key_string is not None and document.attributes.get(TEXT) == 'utf-8':
        value = key_string.decode(errors='strict')
    common: dict[str, Any] = {'name': document.name, 'created': _created(document), 'id': document.id, 'consumers': []}
    if issubclass(kind, key_base.Key):
        algorithm = document.attributes.get(ALGORITHM, document.algorithm)
        bits = document.attributes.get(BIT_LENGTH, '')
        bit_length = int(bits) if bits.isascii() and bits.isdigit() else document.bit_length
        return kind(algorithm, bit_length, value, **common)
    return kind(value, **common)


def kind_of(document: agent.KeyDocument) -> str:
    """The type of a key, by what was written down with it; for keys that this driver did not make by their algorithm."""
    named = document.attributes.get(TYPE)
    if named in _TYPES:
        return str(named)
    half = document.attributes.get(PAIR, '').partition('-of:')[0]
    if half in ('private', 'public'):
        return half
    known = _known(document.algorithm)
    if known is None:
        return 'opaque'
    if known.kind == 'key-pair':
        return 'private'
    # A generic secret is a key like any other; what is opaque tells by its name.
    return _PLAIN.get(known.name, 'symmetric')


def expires_at(expiration: Any | None) -> str | None:
    """A moment in ISO 8601, or a `datetime`, as RFC 3339. Without a time zone it is UTC."""
    if expiration is None or expiration == '':
        return None
    try:
        moment = expiration if isinstance(expiration, datetime.datetime) else timeutils.parse_isotime(str(expiration))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        moment = moment.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError) as error:
        reason = 'expiration: it is not a moment in ISO 8601, for example 2030-01-31T12:00:00Z'
        raise failures.failed(reason) from error
    return moment.replace(tzinfo=None).isoformat() + 'Z'


def has_expired(document: agent.KeyDocument, within: float = 0.0) -> bool:
    """Whether its time is over, or will be within so many seconds."""
    if document.expires_at is None:
        return False
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=within)
    return bool(timeutils.parse_isotime(document.expires_at) <= moment)


def _created(document: agent.KeyDocument) -> int:
    return calendar.timegm(timeutils.parse_isotime(document.created_at).utctimetuple())


def _name(managed: managed_object.ManagedObject) -> str | None:
    # An empty name is none.
    return managed.name or None


def _known(algorithm: str | None) -> algorithms.Algorithm | None:
    """The registry's entry; nothing for names it does not know. Refused ones are refused, with the reason."""
    if not algorithm:
        return None
    names = {algorithm.lower().replace('_', '-')}
    for entry in algorithms.algorithms():
        if names & {entry.name, *entry.aliases}:
            if entry.reason is not None:
                raise failures.failed(f'algorithm: {entry.name} is refused: {entry.reason}')
            return entry
    return None
