"""What schemathesis does not know by the document alone: it loads this file into its own process.

Ids are random and made by the server, so that one it makes up finds nothing: of those in the right form most are
replaced by ids that the server has given. Some bodies need properties that fit together, which a schema cannot say; most
of those are mended. The rest goes out as it is, since what is wrong must be answered well, too.
"""

import base64
import os
import random
import re
import uuid

import schemathesis

ID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
ADDRESS = re.compile(rf'(?P<base>.*)/v1/(?P<kind>[a-z]+)/(?P<id>{ID.pattern})')
#: So many ids of a kind are remembered; the oldest are forgotten.
MANY = 20
#: What was added last is most likely there still.
LAST = 3
ACCEPTED = ['application/json', '*/*', 'text/plain', 'application/octet-stream', 'application/pkcs8', 'text/html', 'x', '']
VERSIONS = [*(f'key-manager 1.{minor}' for minor in [0, 1, 1, 2, 2]), 'key-manager latest', 'compute 2.1', 'key-manager 1.9']
ORDERS = [('aes', 256), ('AES', 128), ('hmacsha256', 256), ('aes', 77), ('ec', 256), ('ec', 521), ('ed25519', 256)]
MEMBERS = ['certificate', 'private_key', 'public_key', 'private_key_passphrase', 'intermediates', None]

#: Of users, projects and domains: few, so that what was put is found.
SCOPES = ['user', 'project', 'domain']
CUSTOMERS = ['customer-1', 'customer_2', 'customer3']
SCOPE_KEY, DEFAULT = '/v1/scope-keys/{scope}/{scope_id}', '/v1/encryption-defaults/{level}/{id}'
CIPHERS = ['aes-256-gcm', 'AES_256_XTS', 'aes-128-ctr', 'rc4', 'none']

ENTRY = '/v1/secrets/{id}/metadata/{key}'
ADDED = [ENTRY, '/v1/secrets/{id}/consumers', '/v1/containers/{id}/consumers', '/v1/containers/{id}/secrets']

DELETED = ['/v1/secrets/{id}', '/v1/keys/{key_id}']

_chance = random.Random(int(os.environ['FUZZ_SEED']))
_known: dict[str, list[str]] = {}
#: The ETags of keys.
_versions: dict[str, str] = {}
#: Those of encryption defaults, by the parts of their paths.
_defaults: dict[tuple, str] = {}
_base = ''
#: What was added where, with the ids in the paths.
_added: dict[str, list[tuple[str, dict]]] = {}


def _often() -> bool:
    return _chance.random() < 0.75


def _seldom() -> bool:
    return _chance.random() < 0.25


def _remember(kind: str, *ids: str) -> None:
    _known[kind] = [*_known.get(kind, []), *ids][-MANY:]


def _any_of(*kinds: str) -> str | None:
    ids = [known for kind in kinds for known in _known.get(kind, [])]
    return _chance.choice(ids) if ids else None


def _id_for(path: str) -> str | None:
    kind = path.split('/')[2]
    if path.endswith(('/undelete', '/purge')) and _known.get('deleted') and _often():
        return _any_of('deleted')
    return _any_of('secrets', 'keys') if kind == 'operator' else _any_of(kind)


def _secret_ref() -> str:
    return f'{_base}/v1/secrets/{_any_of("secrets", "keys") or uuid.uuid4()}'


def _payload(body: dict) -> None:
    kind = _chance.choice([None, 'text/plain', 'application/octet-stream', 'application/pkcs8'])
    for name in ['payload', 'payload_content_type', 'payload_content_encoding', 'transport_key_id', 'transport_key_needed']:
        body.pop(name, None)
    if kind == 'text/plain':
        body |= {'payload': _chance.choice(['a text', 'ä\U0001f511', '\x00']), 'payload_content_type': kind}
    elif kind is not None:
        encoded = base64.b64encode(_chance.randbytes(24)).decode()
        body |= {'payload': encoded, 'payload_content_type': kind, 'payload_content_encoding': 'base64'}


def _moments(body: dict, *names: str) -> None:
    for name in names:
        if name in body:
            body[name] = _chance.choice(['2999-01-01T00:00:00', '2999-01-01', '2999-01-01T00:00:00Z', '9999-12-31T23:59:59Z'])


def _key(body: dict) -> None:
    kept = {name: body[name] for name in ['expires_at'] if name in body}
    _moments(kept, 'expires_at')
    body.clear()
    if _seldom():
        kept |= {'scope': _chance.choice(SCOPES), 'scope_id': _chance.choice(CUSTOMERS)}
    body |= kept | {'algorithm': 'aes', 'bit_length': 256}
    if _seldom():
        body['generate'] = True
    else:
        body['key_string'] = base64.b64encode(_chance.randbytes(32)).decode()


def _mend(path: str, method: str, body: dict, parts: dict) -> None:
    match path, method:
        case '/v1/secrets', 'POST':
            _payload(body)
            _moments(body, 'expiration')
        case '/v1/containers', 'POST':
            names = _chance.sample(MEMBERS, _chance.randrange(4))
            body['secret_refs'] = [{'name': name, 'secret_ref': _secret_ref()} for name in names]
        case '/v1/containers/{id}/secrets', 'POST':
            body['secret_ref'] = _secret_ref()
            body['name'] = _chance.choice(MEMBERS)
        case '/v1/orders', 'POST':
            algorithm, bits = _chance.choice(ORDERS)
            body['type'] = _chance.choice(['asymmetric' if algorithm[0] == 'e' else 'key', 'key'])
            if isinstance(body.get('meta'), dict):
                body['meta'] |= {'algorithm': algorithm, 'bit_length': bits}
                _moments(body['meta'], 'expiration')
        case _, 'DELETE' if _added.get(path):
            # What was added to this or that.
            parts['id'], added = _chance.choice(_added[path][-LAST:])
            body |= added
        case '/v1/secrets/{id}/metadata/{key}', 'PUT' | 'POST' if 'key' in body:
            body['key'] = parts.get('key')
        case ('/v1/keys', 'POST') | ('/v1/keys/{key_id}', 'PUT'):
            _key(body)
        case '/v1/encryption-defaults/{level}/{id}', 'PUT':
            body['algorithm'] = _chance.choice(CIPHERS)
            body.pop('scope', None)
            if body.get('lock') != 'single':
                body['scope'] = _chance.choice(SCOPES)
        case '/v1/keys/{key_id}', 'PATCH' if 'key_string' in body:
            body['key_string'] = base64.b64encode(_chance.randbytes(32)).decode()


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    if case.method.upper() != case.operation.method.upper():
        # One that does not exist is asked for.
        return
    for name, value in case.path_parameters.items():
        if name == 'consumer' or not isinstance(value, str) or not ID.fullmatch(value):
            continue
        if case.method == 'PUT' and path == '/v1/keys/{key_id}' and _often():
            case.path_parameters[name] = str(uuid.UUID(bytes=_chance.randbytes(16), version=4))
        elif _often():
            case.path_parameters[name] = _id_for(path) or value
    if path in (SCOPE_KEY, DEFAULT) and _often():
        case.path_parameters['scope_id' if path == SCOPE_KEY else 'id'] = _chance.choice(CUSTOMERS)
    if path == DEFAULT and 'If-Match' in case.headers:
        versions = [version for (of, version) in _defaults.items() if of == tuple(case.path_parameters.values())]
        if _seldom() or not versions:
            del case.headers['If-Match']
        elif _often():
            case.headers['If-Match'] = versions[0]
    if path == ENTRY and _often():
        case.path_parameters['key'] = _chance.choice(['a', 'b', 'c'])
        if _added.get(ENTRY) and _often():
            case.path_parameters['id'], added = _chance.choice(_added[ENTRY][-LAST:])
            case.path_parameters['key'] = added['key']
    if isinstance(case.body, dict) and _often():
        body = dict(case.body)
        _mend(path, case.method, body, case.path_parameters)
        case.body = body
    if path.startswith('/v1/') and _seldom() and _seldom():
        case.headers['Accept'] = _chance.choice(ACCEPTED)
    if 'OpenStack-API-Version' in case.headers and _often():
        case.headers['OpenStack-API-Version'] = _chance.choice(VERSIONS)
    if case.method == 'PATCH' and 'If-Match' in case.headers and _often():
        case.headers['If-Match'] = _versions.get(case.path_parameters.get('key_id'), '"1"')


@schemathesis.hook
def after_call(context, case, response):
    global _base
    if 'key_id' in case.path_parameters and response.headers.get('etag'):
        _versions[case.path_parameters['key_id']] = response.headers['etag'][0]
    if case.operation.path == DEFAULT and response.headers.get('etag'):
        _defaults[tuple(case.path_parameters.values())] = response.headers['etag'][0]
    location = next(iter(response.headers.get('location', [])), '')
    found = ADDRESS.fullmatch(location)
    if found is None and response.status_code == 201 and 'key_id' in case.path_parameters:
        found = ADDRESS.fullmatch(f'{_base}/v1/keys/{case.path_parameters["key_id"]}')
    if case.method == 'DELETE' and case.operation.path in DELETED and response.status_code == 204:
        _remember('deleted', *case.path_parameters.values())
    if case.operation.path.endswith(('/undelete', '/purge')) and response.status_code < 300:
        gone = case.path_parameters.values()
        _known['deleted'] = [known for known in _known.get('deleted', []) if known not in gone]
    if case.method == 'POST' and response.status_code < 300 and case.operation.path in ADDED:
        added = _added.setdefault(case.operation.path, [])
        added[:] = [*added[-MANY:], (case.path_parameters['id'], dict(case.body))]
    if found is not None:
        _base = found['base']
        _remember(found['kind'], found['id'])
