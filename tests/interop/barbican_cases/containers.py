"""Containers: kinds, members, lists."""

from support.differential import Case, Expected

from .steps import MISSING, delete, get, new_container, new_secret, post

SECRETS = [new_secret(name, name=name) for name in ('one', 'two', 'three', 'four')]
ELSEWHERE = f'http://elsewhere.example.org/v1/secrets/{MISSING}'


def holding(**names) -> list[dict]:
    return [{'name': name, 'secret_ref': f'<{secret}>'} for name, secret in names.items()]


def refused(status: int = 400, **fields):
    return post('/v1/containers', {'type': 'generic'} | fields, status)


CASES = [
    Case(
        'containers-post',
        [
            *SECRETS,
            new_container(name='box', secret_refs=holding(a='one', b='two')),
            get('<container>'),
            new_container('empty'),
            get('<empty>'),
            new_container('nameless', name=None, secret_refs=[]),
            get('<nameless>'),
            new_container('plain', secret_refs=[{'secret_ref': '<one>'}]),
            get('<plain>'),
            new_container('null', secret_refs=[{'name': None, 'secret_ref': '<one>'}]),
            get('<null>'),
            new_container('long', name='n' * 255),
            delete('<container>'),
            get('<container>', 404),
            get('<one>'),
        ],
    ),
    Case(
        'containers-post-rsa',
        [
            *SECRETS,
            new_container(type='rsa', secret_refs=holding(public_key='one', private_key='two')),
            get('<container>'),
            new_container(
                'whole',
                type='rsa',
                secret_refs=holding(public_key='one', private_key='two', private_key_passphrase='three'),
            ),
            new_container('empty', type='rsa'),
            new_container('none', type='rsa', secret_refs=[]),
            refused(type='rsa', secret_refs=holding(public_key='one')),
            refused(type='rsa', secret_refs=holding(private_key='one')),
            refused(type='rsa', secret_refs=holding(public_key='one', private_key='two', other='three')),
            refused(type='rsa', secret_refs=holding(public_key='one', other='two')),
            refused(type='rsa', secret_refs=[{'secret_ref': '<one>'}, {'secret_ref': '<two>'}]),
        ],
    ),
    Case(
        'containers-post-certificate',
        [
            *SECRETS,
            new_container(type='certificate', secret_refs=holding(certificate='one')),
            get('<container>'),
            new_container(
                'whole',
                type='certificate',
                secret_refs=holding(
                    certificate='one', private_key='two', private_key_passphrase='three', intermediates='four'
                ),
            ),
            get('<whole>'),
            new_container('empty', type='certificate'),
            refused(type='certificate', secret_refs=holding(private_key='one')),
            refused(type='certificate', secret_refs=holding(certificate='one', other='two')),
        ],
    ),
    Case(
        'containers-post-refused',
        [
            *SECRETS,
            post('/v1/containers', {}, 400),
            post('/v1/containers', {'name': 'n'}, 400),
            refused(type='dsa'),
            refused(type='Generic'),
            refused(type=''),
            refused(type=None),
            refused(name=7),
            refused(name='n' * 256),
            refused(secret_refs=None),
            refused(secret_refs={}),
            refused(secret_refs=['<one>']),
            refused(secret_refs=[{}]),
            refused(secret_refs=[{'name': 'a'}]),
            refused(secret_refs=[{'secret_ref': ''}]),
            refused(secret_refs=[{'secret_ref': None}]),
            refused(secret_refs=[{'secret_ref': '<one#id>'}]),
            refused(secret_refs=[{'secret_ref': ELSEWHERE}]),
            refused(secret_refs=[{'name': 7, 'secret_ref': '<one>'}]),
            refused(secret_refs=[{'name': 'n' * 256, 'secret_ref': '<one>'}]),
            refused(secret_refs=[{'name': 'a', 'secret_ref': '<one>'}, {'name': 'a', 'secret_ref': '<two>'}]),
            refused(secret_refs=[{'name': 'a', 'secret_ref': '<one>'}, {'name': 'b', 'secret_ref': '<one>'}]),
            refused(secret_refs=[{'secret_ref': '<one>'}, {'secret_ref': '<two>'}]),
            refused(404, secret_refs=[{'name': 'a', 'secret_ref': f'<base>/v1/secrets/{MISSING}'}]),
            new_secret('foreign', caller='alt_member'),
            refused(404, secret_refs=holding(a='foreign')),
            delete('<four>'),
            refused(404, secret_refs=holding(a='one', b='four')),
        ],
    ),
    Case(
        'containers-add-and-remove',
        [
            *SECRETS,
            new_container(),
            post('<container>/secrets', {'name': 'a', 'secret_ref': '<one>'}),
            get('<container>'),
            post('<container>/secrets', {'name': 'b', 'secret_ref': '<one>'}),
            post('<container>/secrets', {'name': 'a', 'secret_ref': '<one>'}, 409),
            post('<container>/secrets', {'secret_ref': '<two>'}),
            post('<container>/secrets', {'secret_ref': '<two>'}, 409),
            delete('<container>/secrets', 204, {'name': 'b', 'secret_ref': '<one>'}),
            delete('<container>/secrets', 404, {'name': 'b', 'secret_ref': '<one>'}),
            delete('<container>/secrets', 404, {'secret_ref': '<one>'}),
            delete('<container>/secrets', 204, {'secret_ref': '<two>'}),
            get('<container>'),
            delete('<container>/secrets', 404, {'secret_ref': f'<base>/v1/secrets/{MISSING}'}),
            post('<container>/secrets', {'secret_ref': f'<base>/v1/secrets/{MISSING}'}, 404),
            post('<container>/secrets', {}, 400),
            post('<container>/secrets', {'name': 'a'}, 400),
            post('<container>/secrets', {'name': 7, 'secret_ref': '<one>'}, 400),
            post('<container>/secrets', {'secret_ref': ELSEWHERE}, 404),
            post('<container>/secrets', {'name': 'c', 'secret_ref': 'http://elsewhere.example.org/<three#id>'}),
            delete('<container>/secrets', 400, {}),
            delete(
                '<container>/secrets',
                500,
                b'{}',
                headers={'Content-Type': 'text/plain'},
                ours=Expected(415, 'as the other JSON routes'),
            ),
        ],
    ),
    Case(
        'containers-add-only-to-generic',
        [
            *SECRETS,
            new_container(type='certificate', secret_refs=holding(certificate='one')),
            post('<container>/secrets', {'name': 'private_key', 'secret_ref': '<two>'}, 400),
            delete('<container>/secrets', 204, {'name': 'certificate', 'secret_ref': '<one>'}),
            get('<container>'),
        ],
    ),
    Case(
        'containers-add-without-slash',
        [
            new_container(),
            post(
                '<container>/secrets',
                {'secret_ref': 'no-slash'},
                500,
                ours=Expected(400, 'a reference that is none'),
            ),
        ],
    ),
    Case(
        'containers-list',
        [
            get('/v1/containers'),
            *SECRETS,
            new_container('a', name='alpha', secret_refs=holding(x='one')),
            new_container('b', name='beta', type='certificate'),
            new_container('c', name='alphabet', type='rsa'),
            new_container('d'),
            get('/v1/containers'),
            get('/v1/containers?name=alpha'),
            get('/v1/containers?name=alpha%25'),
            get('/v1/containers?name=nothing'),
            get('/v1/containers?type=generic'),
            get('/v1/containers?type=nothing'),
            get('/v1/containers?limit=2'),
            get('/v1/containers?limit=2&offset=2'),
            get('/v1/containers?limit=1&name=alpha%25'),
            get('/v1/containers?limit=x&offset=-1'),
            get('/v1/containers?sort=name'),
            delete('<b>'),
            get('/v1/containers'),
        ],
        alone=True,
    ),
]
