"""JSON bodies: types, sizes, blanks, negotiation of the JSON routes."""

from support.differential import Case, Expected

from .steps import TEXT, accept, content, get, new_secret, post, put, refused, stored

TOO_LONG = {'name': 'n', 'algorithm': 'a' * 200_000}
SINGLE = '{"name": "raw"}'


def umlauts(count: int) -> str:
    """A body with a payload of letters that take two bytes each."""
    return '{"payload": "' + 'ü' * count + '", "payload_content_type": "text/plain"}'


CASES = [
    Case(
        'bodies-not-json',
        [
            post('/v1/secrets', b'', 400, headers=content('application/json')),
            post('/v1/secrets', b'{', 400, headers=content('application/json')),
            post('/v1/secrets', b'nothing', 400, headers=content('application/json')),
            post('/v1/secrets', b'\xff\xfe{}', 400, headers=content('application/json')),
            post('/v1/secrets', [], 400),
            post('/v1/secrets', b'"text"', 400, headers=content('application/json')),
            post('/v1/secrets', b'7', 400, headers=content('application/json')),
            post('/v1/secrets', b'null', 400, headers=content('application/json')),
            post('/v1/containers', b'{', 400, headers=content('application/json')),
            post('/v1/orders', b'{', 400, headers=content('application/json')),
        ],
    ),
    Case(
        'bodies-content-type',
        [
            post('/v1/secrets', SINGLE, headers=content('application/json; charset=utf-8')),
            post('/v1/secrets', SINGLE, 415, headers=content('text/plain')),
            post('/v1/secrets', SINGLE, 415, headers=content('application/xml')),
            post('/v1/secrets', SINGLE, 415, headers=content(None)),
            post('/v1/secrets', SINGLE, 415, headers=content('application/x-www-form-urlencoded')),
            post('/v1/containers', SINGLE, 415, headers=content('text/plain')),
            post('/v1/orders', SINGLE, 415, headers=content('text/plain')),
            new_secret(),
            put('<secret>/acl', '{}', 415, headers=content('text/plain')),
            put('<secret>/metadata', '{}', 415, headers=content('text/plain')),
            post('<secret>/consumers', '{}', 415, headers=content('text/plain')),
        ],
    ),
    Case(
        'bodies-accept',
        [
            post('/v1/secrets', {}, save='secret', headers=accept('application/json')),
            post('/v1/secrets', {}, save='secret', headers=accept(None)),
            post('/v1/secrets', {}, save='secret', headers=accept('*/*')),
            post('/v1/secrets', {}, save='secret', headers=accept('text/html, application/json;q=0.5')),
            post('/v1/secrets', {}, save='secret', headers=accept('application/*')),
            post('/v1/secrets', {}, 406, headers=accept('text/plain')),
            get('/v1/secrets?limit=1', 406, headers=accept('text/plain')),
            get('/v1/secrets?limit=1', 406, headers=accept('application/xml')),
            get('/v1/containers', 406, headers=accept('text/html')),
            get('/v1/orders', 406, headers=accept('text/html')),
            get('<secret>/acl', 406, headers=accept('text/html')),
            get(
                '<secret>/metadata',
                500,
                headers=accept('text/html'),
                ours=Expected(406, 'as the other JSON routes'),
            ),
            get('<secret>/consumers', 406, headers=accept('text/html')),
            get('/v1/quotas', 406, headers=accept('text/html')),
            get('/v1/', 406, headers=accept('text/html')),
        ],
        alone=True,
    ),
    Case(
        'bodies-too-long',
        [
            post('/v1/secrets', TOO_LONG, 400, ours=Expected(413, 'too long is said as too long')),
            post('/v1/containers', TOO_LONG, 400, ours=Expected(413, 'too long is said as too long')),
            post('/v1/secrets', b'{"name": "n"' + b' ' * 24_987 + b'}', headers=content('application/json')),
            post(
                '/v1/secrets',
                b'{"name": "n"' + b' ' * 24_988 + b'}',
                400,
                headers=content('application/json'),
                ours=Expected(201, 'the limit leaves room for every payload that is allowed, however it is escaped'),
            ),
        ],
    ),
    Case(
        'bodies-payload-size',
        [
            new_secret(payload='x' * 20_000, payload_content_type='text/plain'),
            get('<secret>/payload'),
            refused(413, payload='x' * 20_001, payload_content_type='text/plain'),
            post('/v1/secrets', umlauts(10_000), headers=content('application/json')),
            new_secret('blanks', payload=' ' * 100 + 'x' * 20_000, payload_content_type='text/plain'),
            post('/v1/secrets', umlauts(10_001), 413, headers=content('application/json')),
        ],
    ),
    Case(
        'bodies-blanks-are-stripped',
        [
            *stored(
                name='  a name \n',
                algorithm='\taes ',
                mode=' cbc',
                payload='  a \n',
                payload_content_type=' text/plain ',
            ),
            get('<secret>/payload'),
            *stored(name='   '),
            *stored(name=''),
            post('/v1/containers', {'type': 'generic', 'name': '  '}, save='container'),
            get('<container>'),
            refused(payload='   ', payload_content_type='text/plain'),
            *stored(secret_type=' symmetric '),
        ],
    ),
    Case(
        'bodies-unknown-keys',
        [
            *stored(name='n', colour='blue', creator_id='somebody', status='ERROR', created='yesterday'),
            post('/v1/containers', {'type': 'generic', 'colour': 'blue'}, save='container'),
            get('<container>'),
            post(
                '/v1/orders',
                {'type': 'key', 'colour': 'blue', 'meta': {'algorithm': 'aes', 'bit_length': 128, 'colour': 'red'}},
                202,
                save='order',
            ),
            get('<order>'),
            put('<secret>/acl', {'read': {}, 'colour': 'blue'}, 400),
            put('<secret>/acl', {'read': {'colour': 'blue'}}, 400),
            post('<secret>/metadata', {'key': 'k', 'value': 'v', 'colour': 'blue'}, 400),
            post(
                '<secret>/consumers',
                {'service': 's', 'resource_type': 't', 'resource_id': 'i', 'colour': 'blue'},
                200,
            ),
            post('<container>/consumers', {'name': 'n', 'URL': 'u', 'colour': 'blue'}, 200),
            put('/v1/project-quotas/<project:own>', {'project_quotas': {'colour': 1}}, 400, caller='key_admin'),
        ],
        alone=True,
    ),
    Case(
        'bodies-repeated-keys',
        [
            post(
                '/v1/secrets', '{"name": "first", "name": "second"}', save='secret', headers=content('application/json')
            ),
            get('<secret>'),
        ],
    ),
    Case(
        'bodies-text-of-all-kinds',
        [*stored(name='schlüssel 鍵 🔑', **TEXT | {'payload': 'geheim 秘密 🔑'}), get('<secret>/payload')],
    ),
]
