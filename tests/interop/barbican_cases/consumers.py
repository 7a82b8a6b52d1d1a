"""Consumers of secrets and of containers."""

from support.differential import Case

from .steps import MISSING, content, delete, get, new_container, new_secret, post, put, version

V11 = version('1.1')


def triple(number: int = 1, **more) -> dict:
    return {'service': 'image', 'resource_type': 'image', 'resource_id': f'id-{number}'} | more


def named(number: int = 1, **more) -> dict:
    return {'name': f'name-{number}', 'URL': f'http://example.org/{number}'} | more


LISTED = {'read': {'users': ['<user:alt_listed>']}}


def by_strangers(new, place: str, consumer) -> list:
    """Whoever an access list names may register and remove his own, and not those of others."""
    return [
        new,
        put(f'{place}/acl', LISTED, 200),
        post('/v1/secrets', {}, 403, caller='alt_listed'),
        post(f'{place}/consumers', consumer(1), 200),
        post(f'{place}/consumers', consumer(2), 200, caller='alt_listed'),
        get(f'{place}/consumers', caller='alt_listed'),
        delete(f'{place}/consumers', 404, consumer(3), caller='alt_listed'),
        delete(f'{place}/consumers', 403, consumer(1), caller='alt_listed'),
        # Registering it again does not make it his.
        post(f'{place}/consumers', consumer(1), 200, caller='alt_listed'),
        delete(f'{place}/consumers', 403, consumer(1), caller='alt_listed'),
        delete(f'{place}/consumers', 200, consumer(2), caller='alt_listed'),
        post(f'{place}/consumers', consumer(2), 200, caller='alt_listed'),
        delete(f'{place}/consumers', 200, consumer(2)),
        get(f'{place}/consumers'),
    ]


CASES = [
    Case('secret-consumers-of-strangers', by_strangers(new_secret(), '<secret>', triple)),
    Case('container-consumers-of-strangers', by_strangers(new_container(), '<container>', named)),
    Case(
        'secret-consumers',
        [
            new_secret(),
            get('<secret>/consumers'),
            post('<secret>/consumers', triple(), 200),
            get('<secret>/consumers'),
            get('<secret>', headers=V11),
            get('<secret>'),
            delete('<secret>/consumers', 200, triple()),
            get('<secret>/consumers'),
            delete('<secret>/consumers', 404, triple()),
            get('<secret>', headers=V11),
        ],
    ),
    Case(
        'secret-consumers-order-and-paging',
        [
            new_secret(),
            *(post('<secret>/consumers', triple(number), 200) for number in (3, 1, 2, 1)),
            get('<secret>/consumers'),
            get('<secret>/consumers?limit=2'),
            get('<secret>/consumers?limit=2&offset=2'),
            get('<secret>/consumers?limit=2&offset=4'),
            get('<secret>/consumers?limit=x&offset=x'),
            get('<secret>', headers=V11),
        ],
    ),
    Case(
        'consumers-by-id',
        [
            new_secret(),
            new_container(),
            get(f'<secret>/consumers/{MISSING}', 403),
            get(f'<secret>/consumers/{MISSING}', 404, caller='key_admin'),
            get('<secret>/consumers/x', 404),
            get(f'<container>/consumers/{MISSING}', 404),
            get(f'<container>/consumers/{MISSING}', 404, caller='key_admin'),
            get('<container>/consumers/x', 404),
        ],
    ),
    Case(
        'secret-consumers-refused',
        [
            new_secret(),
            *(
                post('<secret>/consumers', body, 400)
                for body in [
                    {},
                    {'service': 's', 'resource_type': 't'},
                    {'service': 's', 'resource_id': 'i'},
                    {'resource_type': 't', 'resource_id': 'i'},
                    triple(service=''),
                    triple(service='s' * 256),
                    triple(resource_type=''),
                    triple(resource_type='t' * 256),
                    triple(resource_id=''),
                    triple(service=None),
                    triple(resource_id=7),
                ]
            ),
            delete('<secret>/consumers', 400, {}),
            delete('<secret>/consumers', 415, b'{}', headers=content('text/plain')),
            delete('<secret>/consumers', 415),
            get('<secret>/consumers'),
        ],
    ),
    Case(
        'container-consumers',
        [
            new_container(name='consumed'),
            get('<container>/consumers'),
            post('<container>/consumers', named(1), 200),
            get('<container>/consumers'),
            post('<container>/consumers', named(1), 200),
            get('<container>/consumers'),
            delete('<container>/consumers', 200, named(1)),
            delete('<container>/consumers', 404, named(1)),
            post('<container>/consumers', named(1), 200),
            get('<container>'),
            delete('<container>'),
            get('<container>/consumers', 404),
        ],
    ),
    Case(
        'container-consumers-order-and-paging',
        [
            new_container(),
            *(post('<container>/consumers', named(number), 200) for number in (3, 1, 2)),
            get('<container>/consumers'),
            get('<container>/consumers?limit=2'),
            get('<container>/consumers?limit=2&offset=2'),
            get('<container>/consumers?limit=2&offset=4'),
            get('<container>/consumers?limit=x&offset=x'),
        ],
    ),
    Case(
        'container-consumers-refused',
        [
            new_container(),
            *(
                post('<container>/consumers', body, 400)
                for body in [
                    {},
                    {'name': 'n'},
                    {'URL': 'u'},
                    named(name=''),
                    named(name='n' * 256),
                    named(URL=''),
                    named(URL='u' * 256),
                    named(name=None),
                    named(URL=7),
                ]
            ),
            delete('<container>/consumers', 400, {}),
            delete('<container>/consumers', 415, b'{}', headers=content('text/plain')),
            get('<container>/consumers'),
        ],
    ),
    Case(
        'container-consumers-with-secrets',
        [
            new_secret(),
            new_container(type='generic', secret_refs=[{'name': 'a', 'secret_ref': '<secret>'}]),
            post('<container>/consumers', named(), 200),
            delete('<container>/consumers', 200, named()),
        ],
    ),
]
