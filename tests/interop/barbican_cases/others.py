"""Secret stores, transport keys, policies, what strangers see."""

from support.differential import Case, Expected, Step

from .steps import MISSING, TEXT, accept, delete, get, new_container, new_secret, patch, post, put

KEY = {'plugin_name': 'a plugin', 'transport_key': 'a key'}
UNKNOWN = Expected(404, 'an unknown transport key is not found')
NO_KEYS = Expected(400, 'no backend of ours uses transport keys, so none is taken: payloads are protected by TLS')
UNABLE = 'no backend of ours wraps so, and the client is told'

CASES = [
    Case(
        'stores-with-one-backend',
        [
            get('/v1/secret-stores', 404),
            get('/v1/secret-stores/global-default', 404),
            get('/v1/secret-stores/preferred', 404),
            get(f'/v1/secret-stores/{MISSING}', 404),
            get('/v1/secret-stores', 404, caller='key_admin'),
            Step('POST', '/v1/secret-stores', 405),
            get(f'/v1/secret-stores/{MISSING}', 404, caller='key_creator'),
            post(f'/v1/secret-stores/{MISSING}/preferred', None, 404, caller='key_admin'),
            delete(f'/v1/secret-stores/{MISSING}/preferred', 404, caller='key_admin'),
        ],
    ),
    Case(
        'transport-keys',
        [
            get('/v1/transport_keys'),
            post('/v1/transport_keys', KEY, 403),
            post('/v1/transport_keys', KEY, caller='key_admin', ours=NO_KEYS),
            get('/v1/transport_keys?plugin_name=nothing'),
            delete(f'/v1/transport_keys/{MISSING}', 403),
        ],
    ),
    Case(
        'transport-keys-refused',
        [
            post('/v1/transport_keys', {}, 400, caller='key_admin'),
            post('/v1/transport_keys', {'plugin_name': '', 'transport_key': 'k'}, 400, caller='key_admin'),
            post('/v1/transport_keys', {'plugin_name': 'p', 'transport_key': ''}, 400, caller='key_admin'),
            post('/v1/transport_keys', {'plugin_name': 'p'}, 400, caller='key_admin'),
            get(f'/v1/transport_keys/{MISSING}', 500, ours=UNKNOWN),
            get('/v1/transport_keys/x', 404),
            delete(f'/v1/transport_keys/{MISSING}', 404, caller='key_admin'),
        ],
    ),
    Case(
        'transport-keys-needed',
        [
            post('/v1/secrets', {'transport_key_needed': 'true'}, 500, ours=Expected(400, UNABLE)),
            new_secret(**TEXT),
            get('<secret>?transport_key_needed=true', 500, ours=Expected(400, UNABLE)),
            get('<secret>?transport_key_needed=false'),
        ],
    ),
    Case(
        'strangers-are-refused',
        [
            new_secret(**TEXT),
            new_container(),
            *(
                step
                for place in ['<secret>', '<secret>/payload', '<secret>/metadata', '<secret>/acl', '<secret>/consumers']
                for step in [get(place, 403, caller='alt_member')]
            ),
            *(
                get(place, 403, caller='alt_member')
                for place in ['<container>', '<container>/acl', '<container>/consumers']
            ),
            delete('<secret>', 403, caller='alt_member'),
            delete('<container>', 403, caller='alt_member'),
            put('<secret>', b'x', 403, caller='alt_member', headers={'Content-Type': 'text/plain'}),
            get('<secret>', 403, caller='alt_member', headers=accept('text/plain')),
        ],
    ),
    Case(
        'the-query-is-no-target',
        [
            new_secret(**TEXT),
            get('<secret>?target.secret.read=read', 403, caller='alt_member'),
            get('<secret>/payload?target.secret.project_id=<project:alt_demo>', 403, caller='alt_member'),
            get('<secret>?target.secret.read_project_access=True', 403, caller='alt_member'),
        ],
    ),
    Case(
        'acl-lets-others-read',
        [
            new_secret(**TEXT),
            patch('<secret>/acl', {'read': {'users': ['<user:alt_member>']}}),
            get('<secret>', caller='alt_member'),
            get('<secret>/payload', caller='alt_member', headers=accept('text/plain')),
            get('/v1/secrets?acl_only=true&name=nothing-is-called-so', caller='alt_member'),
            get('<secret>/acl', 403, caller='alt_member'),
            delete('<secret>', 403, caller='alt_member'),
            delete('<secret>/acl', 200),
            get('<secret>', 403, caller='alt_member'),
        ],
    ),
    Case(
        'acl-only-lists',
        [
            new_secret('first', name='acl-only-first'),
            new_secret('second', name='acl-only-second'),
            put('<first>/acl', {'read': {'users': ['<user:alt_member>']}}, 200),
            get('/v1/secrets?acl_only=true&name=acl-only%25', caller='alt_member'),
            get('/v1/secrets?acl_only=True&name=acl-only%25', caller='alt_member'),
            get('/v1/secrets?acl_only=1&name=acl-only%25', caller='alt_member'),
            get('/v1/secrets?acl_only=true&name=acl-only%25'),
        ],
    ),
]
