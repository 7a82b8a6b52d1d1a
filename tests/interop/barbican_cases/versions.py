"""Version documents, microversions, tokens, methods, slashes, unknown routes."""

import importlib.metadata

import requests

from support.differential import ANONYMOUS, Case, Expected, Step

from .steps import MISSING, TEXT, accept, delete, get, new_container, new_secret, patch, post, put, version

#: What each node does not allow.
NODES = {
    '/v1': ['POST', 'PUT', 'PATCH', 'DELETE', 'HEAD'],
    '/v1/secrets': ['PUT', 'PATCH', 'DELETE', 'HEAD'],
    '<secret>': ['POST', 'PATCH', 'HEAD'],
    '<secret>/payload': ['POST', 'PUT', 'PATCH', 'DELETE', 'HEAD'],
    '<secret>/metadata': ['PATCH', 'DELETE', 'HEAD'],
    '<secret>/metadata/colour': ['PATCH', 'HEAD'],
    '<secret>/acl': ['POST', 'HEAD'],
    '<secret>/consumers': ['PUT', 'PATCH', 'HEAD'],
    '/v1/containers': ['PUT', 'PATCH', 'DELETE', 'HEAD'],
    '<container>': ['POST', 'PUT', 'PATCH', 'HEAD'],
    '<container>/secrets': ['GET', 'PUT', 'PATCH', 'HEAD'],
    '<container>/acl': ['POST', 'HEAD'],
    '<container>/consumers': ['PUT', 'PATCH', 'HEAD'],
    '/v1/orders': ['PUT', 'PATCH', 'DELETE', 'HEAD'],
    '<order>': ['POST', 'PUT', 'PATCH', 'HEAD'],
    '/v1/quotas': ['POST', 'PUT', 'PATCH', 'DELETE', 'HEAD'],
    '/v1/project-quotas': ['POST', 'PUT', 'PATCH', 'DELETE', 'HEAD'],
    '/v1/project-quotas/<project:own>': ['POST', 'PATCH', 'HEAD'],
}
NEW_ORDER = post('/v1/orders', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 256}}, 202, save='order')
MAKE = {'<secret>': new_secret(), '<container>': new_container(), '<order>': NEW_ORDER}


NO_PUT = Expected(405, 'PUT of an order is always refused, so Allow does not name it', headers={'Allow': 'GET, POST'})


def methods(node: str, refused: list[str]) -> Case:
    """All methods that a node does not have."""
    kind = node.split('/')[0]
    steps = [MAKE[kind]] if kind in MAKE else []
    name = node.removeprefix('/v1/').strip('</').translate(str.maketrans({'/': '-', '<': None, '>': None, ':': '-'}))
    ours = {method: NO_PUT for method in refused if node == '/v1/orders' and method != 'PUT'}
    return Case(f'methods-{name}', [*steps, *(Step(method, node, 405, ours=ours.get(method)) for method in refused)])


def names_own_build(answer: requests.Response) -> bool:
    document = answer.json()
    return list(document) == ['build'] and document['build'] != importlib.metadata.version('barbican')


VERSION_DOCUMENTS = [
    Case(
        'versions-root',
        [
            get('/', 300, caller=ANONYMOUS),
            get('/', 300, caller=ANONYMOUS, headers=version('1.0')),
            get('/', 300, caller=ANONYMOUS, headers=version('1.1')),
            get('/', 300, caller=ANONYMOUS, headers=version('1.2')),
            get('/', 300, caller=ANONYMOUS, headers=version('latest')),
            get('/', 300, caller=ANONYMOUS, headers={'OpenStack-API-Version': 'compute 2.1'}),
            get('/', 300),
            Step('POST', '/', 405, caller=ANONYMOUS),
            Step('HEAD', '/', 405, caller=ANONYMOUS),
        ],
    ),
    Case(
        'versions-root-forwarded',
        [
            get('/', 300, caller=ANONYMOUS, headers={'X-Forwarded-Proto': 'https'}),
            get('/', 300, caller=ANONYMOUS, headers={'Host': 'keys.example.org:9311'}),
            post('/v1/secrets', {}, headers={'X-Forwarded-Proto': 'https'}),
            post('/v1/secrets', {}, headers={'Host': 'keys.example.org:9311'}),
        ],
    ),
    Case('versions-json-home', [get('/', 302, caller=ANONYMOUS, headers=accept('application/json-home'))]),
    Case(
        'versions-build',
        [
            get(
                '/?build=1',
                caller=ANONYMOUS,
                ours=Expected(200, 'the version of our own package', check=names_own_build),
            )
        ],
    ),
    Case(
        'versions-v1',
        [
            get('/v1/'),
            get('/v1'),
            get('/v1/', headers=version('1.1')),
            get('/v1/', headers=version('latest')),
        ],
    ),
    Case(
        'healthcheck',
        [get('/healthcheck', caller=ANONYMOUS)],
    ),
]

MICROVERSIONS = [
    Case(
        'microversions-out-of-range',
        [
            get('/v1/secrets', 406, headers=version('1.3')),
            get('/v1/secrets', 406, headers=version('0.9')),
            get('/v1/secrets', 406, headers=version('2.0')),
            get('/', 406, caller=ANONYMOUS, headers=version('1.3')),
        ],
    ),
    Case(
        'microversions-unparsable',
        [
            get('/v1/secrets', 400, headers=version('x')),
            get('/v1/secrets', 400, headers=version('1')),
            get('/', 400, caller=ANONYMOUS, headers=version('1.1.1')),
        ],
    ),
    Case('microversions-token-first', [get('/v1/secrets', 401, caller=ANONYMOUS, headers=version('9.9'))]),
    Case(
        'microversions-secret-bodies',
        [
            new_secret(name='versions', **TEXT),
            get('<secret>'),
            get('<secret>', headers=version('1.0')),
            get('<secret>', headers=version('1.1')),
            get('<secret>', headers=version('1.2')),
            get('<secret>', headers=version('latest')),
            get('<secret>', headers={'OpenStack-API-Version': 'key-manager 1.1, compute 2.1'}),
            get('/v1/secrets?name=versions', headers=version('1.0')),
            get('/v1/secrets?name=versions', headers=version('1.1')),
            get('/v1/secrets?name=versions', headers=version('1.2')),
            post('/v1/secrets', {'name': 'again'}, save='again', headers=version('1.2')),
        ],
        alone=True,
    ),
]

TOKENS = [
    Case(
        'tokens-none-or-bad',
        [
            get('/v1/secrets', 401, caller=ANONYMOUS),
            get('/v1/', 401, caller=ANONYMOUS),
            get('/v1/secrets', 401, headers={'X-Auth-Token': 'never-was'}),
            post('/v1/secrets', {}, 401, caller=ANONYMOUS),
            get('/v1/nowhere', 401, caller=ANONYMOUS),
        ],
    ),
    Case(
        'tokens-of-no-project',
        [
            step
            for caller in ['system_admin', 'domain_member', 'unscoped']
            for step in [get('/v1/secrets', 401, caller=caller), post('/v1/secrets', {}, 401, caller=caller)]
        ],
    ),
    Case(
        'options-needs-no-token',
        [
            Step('OPTIONS', '/v1/secrets', 200, caller=ANONYMOUS),
            Step('OPTIONS', '/v1/secrets', 200),
            Step('OPTIONS', '/', 200, caller=ANONYMOUS),
        ],
    ),
]

SLASHES = [
    Case(
        'slashes-secrets',
        [
            post('/v1/secrets/', {'name': 'slash'}, save='secret'),
            get('/v1/secrets/?name=slash'),
            get('<secret>/'),
            put('<secret>/', b'a text', 204, headers={'Content-Type': 'text/plain'}),
            get('<secret>/payload/'),
            post('<secret>/metadata/', {'key': 'k', 'value': 'v'}),
            get('<secret>/metadata/'),
            get('<secret>/metadata/k/'),
            put('<secret>/metadata/k/', {'key': 'k', 'value': 'w'}, 200),
            delete('<secret>/metadata/k/'),
            put('<secret>/acl/', {'read': {'users': []}}, 200),
            get('<secret>/acl/'),
            delete('<secret>/acl/', 200),
            post('<secret>/consumers/', {'service': 's', 'resource_type': 't', 'resource_id': 'i'}, 200),
            get('<secret>/consumers/'),
            delete('<secret>/consumers/', 200, {'service': 's', 'resource_type': 't', 'resource_id': 'i'}),
            delete('<secret>/'),
            get('<secret>/', 404),
        ],
        alone=True,
    ),
    Case(
        'slashes-containers',
        [
            new_secret(),
            post('/v1/containers/', {'type': 'generic', 'name': 'slash'}, save='container'),
            get('/v1/containers/?name=slash'),
            post('<container>/secrets/', {'secret_ref': '<secret>'}),
            delete('<container>/secrets/', 204, {'secret_ref': '<secret>'}),
            post('<container>/consumers/', {'name': 'n', 'URL': 'http://n'}, 200),
            get('<container>/consumers/'),
            delete('<container>/consumers/', 200, {'name': 'n', 'URL': 'http://n'}),
            patch('<container>/acl/', {'read': {'project-access': True}}),
            delete('<container>/'),
        ],
        alone=True,
    ),
    Case(
        'slashes-orders-and-quotas',
        [
            post('/v1/orders/', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 128}}, 202, save='order'),
            get('/v1/orders/'),
            get('<order>/'),
            delete('<order>/'),
            get('/v1/quotas/'),
            get('/v1/project-quotas/', 403),
            get('/v1/transport_keys/'),
        ],
        alone=True,
    ),
    Case(
        'slashes-double',
        [
            get('//v1/secrets?name=nothing-is-called-so'),
            get('/v1//secrets?name=nothing-is-called-so'),
            new_secret(),
            get('<base>//v1/secrets/<secret#id>'),
        ],
        alone=True,
    ),
]

NO_ROUTE = Expected(404, 'one segment too many is a route that does not exist')

UNKNOWN = [
    Case(
        'unknown-routes',
        [
            get('/v1/nowhere', 404),
            get('/v1/cas', 404),
            get('/v1/consumers', 404),
            get('/nowhere', 404, caller=ANONYMOUS),
            get('/v2/secrets', 404),
            new_secret(**TEXT),
            get('<secret>/nowhere', 404),
            get('<secret>/payload/more', 500, ours=NO_ROUTE),
            get('<secret>/acl/more', 500, ours=NO_ROUTE),
            get('<secret>/metadata/k/more', 500, ours=NO_ROUTE),
            new_container(),
            get('<container>/nowhere', 500, ours=NO_ROUTE),
            get(f'/v1/orders/{MISSING}/nowhere', 404),
        ],
    ),
    Case(
        'unknown-ids',
        [
            step
            for place in ['secrets', 'containers']
            for step in [
                get(f'/v1/{place}/{MISSING}', 404),
                delete(f'/v1/{place}/{MISSING}', 404),
                get(f'/v1/{place}/{MISSING.upper()}', 404),
                get(f'/v1/{place}/{MISSING.replace("-", "")}', 404),
                get(f'/v1/{place}/0b8b8b6e-30a8-1b5e-9f3c-5d6c1f0a2b3c', 404),
                get(f'/v1/{place}/x', 404),
                get(f'/v1/{place}/{MISSING}/acl', 404),
                get(f'/v1/{place}/{MISSING}/consumers', 404),
            ]
        ],
    ),
    Case(
        'unknown-ids-of-secrets',
        [
            get(f'/v1/secrets/{MISSING}/payload', 404),
            get(f'/v1/secrets/{MISSING}/metadata', 404),
            put(f'/v1/secrets/{MISSING}', b'a text', 404, headers={'Content-Type': 'text/plain'}),
            put(f'/v1/secrets/{MISSING}/acl', {'read': {}}, 404),
            post(f'/v1/secrets/{MISSING}/metadata', {'key': 'k', 'value': 'v'}, 404),
            get(f'/v1/secrets/{MISSING}', 404, headers=accept('text/plain')),
        ],
    ),
    Case(
        'unknown-ids-of-orders',
        [get(f'/v1/orders/{MISSING}', 404), get('/v1/orders/x', 404), delete(f'/v1/orders/{MISSING}', 404)],
    ),
]

CASES = [
    *VERSION_DOCUMENTS,
    *MICROVERSIONS,
    *TOKENS,
    *SLASHES,
    *UNKNOWN,
    *(methods(node, refused) for node, refused in NODES.items()),
    Case(
        'methods-transport_keys',
        [
            Step(method, '/v1/transport_keys', 500, ours=Expected(405, 'as for every other route'))
            for method in ['PUT', 'PATCH', 'DELETE', 'HEAD']
        ],
    ),
]
