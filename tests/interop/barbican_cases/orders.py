"""Orders: keys and key pairs that the server makes."""

import requests
from cryptography.hazmat.primitives import serialization

from support.differential import Case, Expected

from .steps import FUTURE, OCTETS, accept, delete, get, post


def order(save: str | None = 'order', kind: str = 'key', status: int = 202, **meta):
    return post('/v1/orders', {'type': kind, 'meta': meta}, status, save=save)


def bad(**meta):
    """A meta that is refused."""
    return post('/v1/orders', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 256} | meta}, 400)


def made(**meta) -> list:
    return [order(**meta), get('<order>')]


def failed(ours: Expected | None = None, **meta) -> list:
    """The order is taken, and nothing comes of it."""
    return [order(**meta), get('<order>', ours=ours)]


def outcome(because: str, **members: str) -> Expected:
    """How an order of ours ends that ends otherwise in Barbican."""
    return Expected(200, because, body=members)


FAULT_OF_CLIENT = outcome(
    'a length that is not made is a fault of the client', status='ERROR', error_status_code='400'
)
MADE = outcome('RSA of 3072 bits and elliptic curves are made (ADR 3)', status='ACTIVE')
NO_DSA = outcome('DSA is made no more (ADR 3)', status='ERROR', error_status_code='400')


def generated(**meta) -> list:
    """The key itself, which has the right length."""
    return [
        order(**meta),
        get('<order>', save='key'),
        get('<key>'),
        get('<key>/payload', headers=accept(OCTETS), view=len),
        delete('<order>'),
        get('<key>'),
    ]


def pair(*steps, **meta) -> list:
    """A pair's container and its secrets."""
    return [
        order(kind='asymmetric', **meta),
        get('<order>', save='pair'),
        get('<pair>', save='pair', unordered='secret_refs'),
        get('<pair_private_key>'),
        get('<pair_public_key>'),
        *steps,
    ]


def private(passphrase: bytes | None = None):
    """What a private key is; it must be readable with this passphrase."""

    def view(data: bytes) -> tuple:
        key = serialization.load_pem_private_key(data, passphrase)
        return data.splitlines()[0], type(key).__name__, key.key_size

    return view


def public(data: bytes) -> tuple:
    key = serialization.load_pem_public_key(data)
    return data.splitlines()[0], type(key).__name__, key.key_size


def keeps_no_passphrase(answer: requests.Response) -> bool:
    meta = answer.json()['meta']
    return not {'passphrase', 'pass_phrase'} & meta.keys() and meta['algorithm'] == 'rsa'


def holds(answer: requests.Response) -> set[str]:
    return {held['name'] for held in answer.json()['secret_refs']}


def opens_with_sesame(answer: requests.Response) -> bool:
    return b'ENCRYPTED' in answer.content and private(SESAME)(answer.content)[2] == 1024


PARTS = {'private_key', 'public_key', 'private_key_passphrase'}
SESAME = b'open sesame'
PAIRS = [
    Case(
        'orders-pair-rsa',
        pair(
            get('<pair_private_key>/payload', headers=accept(OCTETS), view=private()),
            get('<pair_public_key>/payload', headers=accept(OCTETS), view=public),
            delete('<order>'),
            get('<pair>', unordered='secret_refs'),
            name='a pair',
            algorithm='rsa',
            bit_length=2048,
        ),
    ),
    Case('orders-pair-rsa-upper-case', pair(algorithm='RSA', bit_length=1024, expiration=FUTURE)),
    Case(
        'orders-pair-rsa-passphrase',
        [
            order(kind='asymmetric', algorithm='rsa', bit_length=1024, passphrase='open sesame'),
            get(
                '<order>',
                save='pair',
                ours=Expected(200, 'a passphrase is not kept in the open', check=keeps_no_passphrase),
            ),
            get('<pair>', save='pair', unordered='secret_refs'),
            get('<pair_private_key>/payload', headers=accept(OCTETS), view=private(SESAME)),
            get('<pair_private_key_passphrase>'),
            get('<pair_private_key_passphrase>/payload', headers=accept(OCTETS)),
        ],
    ),
    Case('orders-pair-dsa', failed(NO_DSA, kind='asymmetric', algorithm='dsa', bit_length=1024)),
]

#: What python-barbicanclient calls it. Barbican does not know the name: it leaves the key open, and shows the word.
CALLED_OTHERWISE = Case(
    'orders-pair-rsa-pass-phrase',
    [
        order(kind='asymmetric', algorithm='rsa', bit_length=1024, pass_phrase='open sesame'),
        get(
            '<order>',
            save='pair',
            ours=Expected(200, 'a passphrase is one by the name of the client, too', check=keeps_no_passphrase),
        ),
        get(
            '<pair>',
            save='pair',
            ours=Expected(200, 'the passphrase is kept as a secret', check=lambda answer: holds(answer) == PARTS),
        ),
        get(
            '<pair_private_key>/payload',
            headers=accept(OCTETS),
            ours=Expected(200, 'the private key is encrypted', check=opens_with_sesame),
        ),
    ],
)

CASES = [
    *PAIRS,
    CALLED_OTHERWISE,
    Case('orders-key-generated', generated(name='generated', algorithm='aes', bit_length=256, mode='cbc')),
    Case('orders-key-generated-xts', generated(algorithm='aes', bit_length=512, mode='xts')),
    Case('orders-key-generated-des', generated(algorithm='des', bit_length=64, expiration=FUTURE)),
    Case('orders-key', made(name='a key', algorithm='aes', bit_length=256, mode='cbc')),
    Case('orders-key-short', made(algorithm='aes', bit_length=128)),
    Case(
        'orders-key-everything',
        made(name='n', algorithm='AES', bit_length=256, mode='CBC', expiration=FUTURE, payload_content_type=OCTETS),
    ),
    Case('orders-key-expiration', made(algorithm='aes', bit_length=192, expiration='2051-02-03T04:05:06+02:00')),
    *(
        Case(f'orders-key-{algorithm}', made(algorithm=algorithm, bit_length=64))
        for algorithm in ['des', 'hmacsha1', 'hmacsha256', 'hmacsha384', 'HMACSHA512']
    ),
    Case('orders-key-xts', made(algorithm='aes', bit_length=512, mode='xts')),
    Case('orders-key-text', made(algorithm='aes', bit_length=128, payload_content_type='text/plain')),
    *(
        Case(f'orders-key-fails-{name}', failed(**meta))
        for name, meta in {
            'algorithm': {'algorithm': 'rot13', 'bit_length': 256},
            'triple-des': {'algorithm': '3des', 'bit_length': 192},
            'desede': {'algorithm': 'desede', 'bit_length': 192},
            'length': {'algorithm': 'aes', 'bit_length': 8, 'ours': FAULT_OF_CLIENT},
            'xts-length': {'algorithm': 'aes', 'bit_length': 192, 'mode': 'xts', 'ours': FAULT_OF_CLIENT},
            'rsa': {'algorithm': 'rsa', 'bit_length': 2048},
        }.items()
    ),
    *(
        Case(f'orders-pair-fails-{name}', failed(kind='asymmetric', **meta))
        for name, meta in {
            'length': {'algorithm': 'rsa', 'bit_length': 3072, 'ours': MADE},
            'ec': {'algorithm': 'ec', 'bit_length': 256, 'ours': MADE},
            'aes': {'algorithm': 'aes', 'bit_length': 256},
        }.items()
    ),
    Case(
        'orders-refused',
        [
            post('/v1/orders', {}, 400),
            post('/v1/orders', {'type': 'key'}, 400),
            post('/v1/orders', {'meta': {'algorithm': 'aes', 'bit_length': 256}}, 400),
            post('/v1/orders', {'type': 'key', 'meta': None}, 400),
            post('/v1/orders', {'type': 'key', 'meta': []}, 400),
            post('/v1/orders', {'type': 'key', 'meta': {}}, 400),
            order(None, 'certificate', 400, algorithm='aes', bit_length=256),
            order(None, 'Key', 400, algorithm='aes', bit_length=256),
            order(None, '', 400, algorithm='aes', bit_length=256),
            order(None, 'key', 400, bit_length=256),
            order(None, 'key', 400, algorithm='aes'),
            order(None, 'asymmetric', 400, bit_length=2048),
            order(None, 'asymmetric', 400, algorithm='rsa'),
            bad(algorithm=''),
            bad(algorithm=None),
            bad(bit_length=0),
            bad(bit_length=7),
            bad(bit_length=255),
            bad(bit_length='256'),
            bad(bit_length=None),
            bad(payload='x'),
            bad(payload='x', payload_content_type='text/plain'),
            bad(name=7),
            bad(name='n' * 256),
            bad(mode=None),
            bad(expiration='2001-01-01'),
            bad(expiration='tomorrow'),
            bad(payload_content_encoding='hex'),
            bad(secret_type='nothing'),
        ],
    ),
    Case(
        'orders-list',
        [
            get('/v1/orders'),
            order('a', name='alpha', algorithm='aes', bit_length=128),
            order('b', name='beta', algorithm='aes', bit_length=256),
            order('c', name='gamma', algorithm='rot13', bit_length=256),
            get('/v1/orders'),
            get('/v1/orders?limit=2'),
            get('/v1/orders?limit=2&offset=2'),
            get('/v1/orders?limit=x&offset=-1'),
            get('/v1/orders?meta=alpha'),
            get('/v1/orders?meta=nothing'),
            get('/v1/orders?meta=a&limit=1'),
            delete('<a>'),
            get('/v1/orders'),
            get('<a>', 404),
            delete('<a>', 404),
        ],
        alone=True,
    ),
    Case(
        'orders-of-other-projects',
        [
            order('mine', algorithm='aes', bit_length=128),
            get('<mine>', 404, caller='alt_member'),
            delete('<mine>', 404, caller='alt_member'),
            get('/v1/orders', caller='alt_member'),
        ],
        alone=True,
    ),
    Case(
        'orders-other-keys-are-kept',
        made(algorithm='aes', bit_length=128, colour='blue', nested={'a': [1]}, secret_type='symmetric'),
    ),
]
