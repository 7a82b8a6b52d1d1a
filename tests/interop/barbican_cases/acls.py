"""Access control lists of secrets and containers."""

from support.differential import Case, Expected

from .steps import delete, get, new_container, new_secret, patch, put

ALICE, BOB = '<user:nova>', '<user:swift>'
MAKE = {'secret': new_secret(), 'container': new_container()}


def read(*users, **more) -> dict:
    return {'read': {'users': list(users)} | more}


def of(kind: str) -> list[Case]:
    """The same for secrets and containers."""
    make, acl = MAKE[kind], f'<{kind}>/acl'
    return [
        Case(
            f'acl-{kind}-put',
            [
                make,
                get(acl),
                put(acl, read(ALICE, **{'project-access': False}), 200, save='acl'),
                get(acl),
                put(acl, read(BOB), 200),
                get(acl),
                put(acl, {'read': {'project-access': False}}, 200),
                get(acl),
                put(acl, {'read': {}}, 200),
                get(acl),
                put(acl, read(ALICE), 200),
                put(acl, {}, 200),
                get(acl),
                put(acl, read(), 200),
                get(acl),
            ],
        ),
        Case(
            f'acl-{kind}-patch',
            [
                make,
                patch(acl, {}),
                get(acl),
                patch(acl, read(ALICE)),
                get(acl),
                patch(acl, {'read': {'project-access': False}}),
                get(acl),
                patch(acl, read(BOB)),
                get(acl),
                patch(acl, {}),
                patch(acl, {'read': {}}),
                get(acl),
                patch(acl, read()),
                get(acl),
            ],
        ),
        Case(
            f'acl-{kind}-delete',
            [make, delete(acl, 200), put(acl, read(ALICE), 200), delete(acl, 200), get(acl), delete(acl, 200)],
        ),
        Case(
            f'acl-{kind}-refused',
            [
                make,
                *(
                    step
                    for body in [
                        {'write': {'users': []}},
                        {'list': {'users': []}},
                        {'delete': {}},
                        {'read': None},
                        {'read': []},
                        {'read': {'users': 'nova'}},
                        {'read': {'users': None}},
                        {'read': {'users': [7]}},
                        {'read': {'users': ['u' * 256]}},
                        {'read': {'project-access': 'false'}},
                        {'read': {'project-access': None}},
                        {'read': {'project-access': 0}},
                        {'read': {'creator-only': True}},
                        {'read': {}, 'write': {}},
                    ]
                    for step in [put(acl, body, 400), patch(acl, body, 400)]
                ),
                put(acl, [], 400),
                get(acl),
            ],
        ),
        Case(
            f'acl-{kind}-users',
            [
                make,
                put(acl, read(ALICE, ALICE), 200),
                get(acl),
                put(acl, read('no-id-of-keystone'), 200),
                get(acl),
                put(acl, read(ALICE, 7), 200, ours=Expected(400, 'all elements of the list are checked')),
                put(acl, read('u' * 255), 200),
            ],
        ),
    ]


CASES = [*of('secret'), *of('container')]
