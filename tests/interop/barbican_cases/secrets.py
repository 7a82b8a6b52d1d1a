"""Secrets: what a POST may say, content types, the second step, expiry, deletion."""

from support.differential import Case, Expected

from .steps import (
    BINARY,
    FUTURE,
    OCTETS,
    TEXT,
    accept,
    binary,
    content,
    delete,
    encoded,
    get,
    new_container,
    new_secret,
    post,
    put,
    refused,
    stored,
    version,
)

TRIPLE = {'service': 'image', 'resource_type': 'image', 'resource_id': '1'}
BLOCKED = 'Secret cannot be deleted as it has consumers.'


def member(name: str, good: list, bad: list) -> Case:
    """Values of one member of the body."""
    steps = [step for value in good for step in stored(**{name: value})]
    return Case(f'secrets-post-{name.replace("_", "-")}', [*steps, *(refused(**{name: value}) for value in bad)])


def typed(name: str, good: list[dict], bad: list[dict]) -> Case:
    """Payloads with their content types."""
    steps = [step for fields in good for step in [*stored(**fields), get('<secret>/payload', headers=accept(OCTETS))]]
    return Case(f'secrets-content-{name}', [*steps, *(refused(**fields) for fields in bad)])


def text(kind: str | None, **more) -> dict:
    return {'payload': 'a text', 'payload_content_type': kind} | more


MEMBERS = [
    Case('secrets-post-empty', stored()),
    Case(
        'secrets-post-everything',
        stored(
            name='everything',
            algorithm='AES',
            bit_length=256,
            mode='CBC',
            secret_type='symmetric',
            expiration=FUTURE,
            transport_key_needed='false',
            **binary(),
        ),
    ),
    member('name', ['n', 'n' * 255, '', None], ['n' * 256, 7, True, [], {}]),
    member('algorithm', ['aes', 'rot13', 'a' * 255, ''], ['a' * 256, None, 7]),
    member('mode', ['cbc', 'm' * 255, ''], ['m' * 256, None, 7]),
    member('bit_length', [1, 7, 256, 32767, 256.0], [0, -1, 32768, 256.5, True, None, '256', 1 << 70]),
    member(
        'expiration',
        [FUTURE, '2051-02-03', '2051-02-03T04:05:06.7', '2051-02-03T04:05:06+02:00', '2051-02-03T04:05:06Z', ''],
        ['2001-02-03T04:05:06', 'tomorrow', None, 7, '2051-13-01', '9' * 256],
    ),
    member(
        'secret_type',
        ['symmetric', 'public', 'private', 'passphrase', 'certificate', 'opaque'],
        ['Symmetric', 'key', '', None, 7],
    ),
    member('transport_key_needed', ['false'], [True, 'True', 'yes', None]),
    member('transport_key_id', ['x'], [7, None]),
    member('payload_content_encoding', ['base64'], ['BASE64', 'hex', '', None]),
    member('payload_content_type', [], ['text/plain', OCTETS, 'k' * 256, 7]),
    Case(
        'secrets-post-payload',
        [
            refused(payload=None),
            refused(payload=None, payload_content_type='text/plain'),
            refused(payload='', payload_content_type='text/plain'),
            refused(payload=7, payload_content_type='text/plain'),
            refused(payload=[], payload_content_type='text/plain'),
            refused(payload='a text'),
            refused(**text(None)),
            refused(**text('')),
            refused(**text('k' * 256)),
            refused(payload='a text', payload_content_type='text/plain', transport_key_id='unknown'),
        ],
    ),
    Case(
        'secrets-post-order-of-checks',
        [
            refused(400, payload='x' * 20_001, payload_content_type='text/html'),
            refused(400, payload='x' * 20_001, payload_content_type='text/plain', expiration='2001-01-01'),
            refused(413, payload='!' * 20_001, payload_content_type=OCTETS, payload_content_encoding='base64'),
        ],
    ),
    Case(
        'secrets-post-types-do-not-bind',
        [step for kind in ['symmetric', 'certificate'] for step in stored(secret_type=kind, **TEXT)],
    ),
]

CONTENT = [
    typed(
        'text',
        [
            text(kind)
            for kind in [
                'text/plain',
                'TEXT/PLAIN',
                'text/plain;charset=utf-8',
                'text/plain; charset=utf-8',
                'text/plain; charset=UTF-8',
            ]
        ],
        [
            text('text/plain; charset=latin-1'),
            text('text/plain; charset='),
            text('text/plain', payload_content_encoding='base64'),
            text('text/html'),
            text('text'),
            text('application/json'),
        ],
    ),
    typed(
        'octets',
        [binary(), binary(b'ascii'), binary(kind='Application/Octet-Stream')],
        [
            {'payload': encoded(BINARY), 'payload_content_type': OCTETS},
            binary(kind='application/aes'),
            binary(kind='application/pkix-cert'),
            binary(kind='application/x-pem-file'),
            binary() | {'payload_content_encoding': 'hex'},
        ],
    ),
    typed(
        'pkcs8',
        [binary(kind='application/pkcs8'), binary(kind='application/PKCS8')],
        [{'payload': encoded(BINARY), 'payload_content_type': 'application/pkcs8'}],
    ),
    Case(
        'secrets-content-base64',
        [
            *stored(**binary() | {'payload': 'AAEC\nAwQF'}),
            get('<secret>/payload'),
            refused(**binary() | {'payload': 'AAECAwQ'}),
            refused(**binary() | {'payload': 'A'}),
            post(
                '/v1/secrets',
                binary() | {'payload': '!!!!'},
                201,
                ours=Expected(400, 'a payload of only junk would be a secret without bytes'),
            ),
        ],
    ),
]

SECOND_STEP = [
    Case(
        'secrets-put-text',
        [
            *stored(name='two steps'),
            get('<secret>/payload', 404),
            put('<secret>', b'  a text \n', 204, headers=content('text/plain')),
            get('<secret>'),
            get('<secret>/payload', headers=accept('text/plain')),
            put('<secret>', b'another', 409, headers=content('text/plain')),
            put('<secret>', b'another', 409, headers=content(OCTETS)),
            get('<secret>/payload', headers=accept('text/plain')),
        ],
    ),
    Case(
        'secrets-put-text-parameters',
        [
            new_secret(),
            put('<secret>', 'schlüssel'.encode(), 204, headers=content('text/plain; charset=utf-8')),
            get('<secret>'),
            get('<secret>/payload', headers=accept('text/plain')),
        ],
    ),
    Case(
        'secrets-put-text-ignores-encoding',
        [
            new_secret(),
            put('<secret>', b'YWJj', 204, headers=content('text/plain', 'base64')),
            get('<secret>/payload', headers=accept('text/plain')),
        ],
    ),
    Case(
        'secrets-put-text-not-utf-8',
        [
            new_secret(),
            put('<secret>', b'\xff\xfe', 204, headers=content('text/plain')),
            get('<secret>/payload', 406, headers=accept('text/plain')),
            get(
                '<secret>/payload',
                406,
                headers=accept('*/*'),
                ours=Expected(
                    200, 'whoever takes everything gets the bytes', body=b'\xff\xfe', headers={'Content-Type': OCTETS}
                ),
            ),
            get('<secret>/payload', headers=accept(OCTETS)),
        ],
    ),
    Case(
        'secrets-put-octets',
        [
            new_secret(),
            put('<secret>', BINARY, 204, headers=content(OCTETS)),
            get('<secret>'),
            get('<secret>/payload', headers=accept(OCTETS)),
        ],
    ),
    Case(
        'secrets-put-octets-encoded',
        [
            new_secret('small'),
            put('<small>', encoded(BINARY), 204, headers=content(OCTETS, 'base64')),
            get('<small>/payload', headers=accept(OCTETS)),
            new_secret('large'),
            put('<large>', encoded(BINARY), 204, headers=content(OCTETS, 'BASE64')),
            get('<large>/payload', headers=accept(OCTETS)),
        ],
    ),
    Case(
        'secrets-put-refused',
        [
            new_secret(),
            put('<secret>', b'', 400, headers=content('text/plain')),
            put('<secret>', b'', 400, headers=content(OCTETS)),
            put('<secret>', b'x', 415, headers=content('application/json')),
            put('<secret>', b'x', 415, headers=content('application/pkcs8')),
            put('<secret>', b'x', 415, headers=content('TEXT/PLAIN')),
            put('<secret>', b'x', 415, headers=content('image/png')),
            put('<secret>', b'x', 400, headers=content(OCTETS, 'binary')),
            put('<secret>', b'x', 400, headers=content(OCTETS, 'gzip')),
            put(
                '<secret>',
                b'AAECAwQ',
                500,
                headers=content(OCTETS, 'base64'),
                ours=Expected(400, 'broken base64 is a fault of the client'),
            ),
            put('<secret>', b'x' * 20_001, 413, headers=content('text/plain')),
            get('<secret>'),
            put('<secret>', b'x' * 20_000, 204, headers=content('text/plain')),
        ],
    ),
    Case(
        'secrets-put-without-type',
        [
            new_secret(),
            put(
                '<secret>',
                b'x',
                415,
                headers=content(None),
                ours=Expected(204, 'no type means text/plain, as the API reference says'),
            ),
        ],
    ),
    Case(
        'secrets-put-junk-base64',
        [
            new_secret(),
            put(
                '<secret>',
                b'!!!!',
                204,
                headers=content(OCTETS, 'base64'),
                ours=Expected(400, 'a payload of only junk would be a secret without bytes'),
            ),
        ],
    ),
    Case(
        'secrets-put-transport-key',
        [new_secret(), put('<secret>?transport_key_id=unknown', b'x', 400, headers=content('text/plain'))],
    ),
    Case('secrets-put-after-post', [new_secret(**TEXT), put('<secret>', b'x', 409, headers=content('text/plain'))]),
]

DELETION = [
    Case(
        'secrets-delete',
        [
            new_secret(**TEXT),
            delete('<secret>'),
            get('<secret>', 404),
            get('<secret>/payload', 404),
            get('<secret>/metadata', 404),
            get('<secret>/acl', 404),
            get('<secret>/consumers', 404),
            put('<secret>', b'x', 404, headers=content('text/plain')),
            delete('<secret>', 404),
        ],
    ),
    Case(
        'secrets-delete-leaves-containers',
        [
            new_secret('first'),
            new_secret('second'),
            new_container(
                secret_refs=[{'name': 'a', 'secret_ref': '<first>'}, {'name': 'b', 'secret_ref': '<second>'}]
            ),
            delete('<first>'),
            get('<container>'),
        ],
    ),
    Case(
        'secrets-delete-with-consumers',
        [
            new_secret(),
            post('<secret>/consumers', TRIPLE, 200),
            delete('<secret>', 400, headers=version('1.2'), says=BLOCKED),
            delete('<secret>?force=false', 400, headers=version('1.2'), says=BLOCKED),
            delete('<secret>?force=0', 400, headers=version('1.2'), says=BLOCKED),
            delete('<secret>?force=perhaps', 400, headers=version('1.2')),
            delete('<secret>?force=', 400, headers=version('1.2')),
            get('<secret>', headers=version('1.2')),
            delete('<secret>?force=true', 204, headers=version('1.2')),
            get('<secret>', 404),
        ],
    ),
    Case(
        'secrets-delete-with-consumers-by-old-clients',
        [
            new_secret('first'),
            post('<first>/consumers', TRIPLE, 200),
            delete('<first>', 204, headers=version('1.1')),
            new_secret('second'),
            post('<second>/consumers', TRIPLE, 200),
            delete('<second>?force=perhaps'),
        ],
    ),
    Case(
        'secrets-expire',
        [
            new_secret(name='short lived', expiration='<soon>', **TEXT),
            get('<secret>'),
            get('<secret>/payload', headers=accept('text/plain')),
            get('<secret>', 404, patient=True),
            get('<secret>/payload', 404, headers=accept('text/plain')),
            get('<secret>/metadata', 404),
            get('<secret>/acl', 404),
            delete('<secret>', 404),
            get('/v1/secrets'),
            post('/v1/containers', {'type': 'generic', 'secret_refs': [{'secret_ref': '<secret>'}]}, 404),
        ],
        alone=True,
    ),
    *(
        Case(
            f'secrets-delete-force-{word}',
            [
                new_secret(),
                post('<secret>/consumers', TRIPLE, 200),
                delete(f'<secret>?force={word}', 204, headers=version('1.2')),
            ],
        )
        for word in ['1', 'True', 'yes', 'on', 't', 'y']
    ),
]

CASES = [*MEMBERS, *CONTENT, *SECOND_STEP, *DELETION]
