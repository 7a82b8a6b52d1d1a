"""Quotas of projects."""

import requests

from support.differential import Case, Expected

from .steps import delete, get, new_container, new_secret, post, put

OWN = '/v1/project-quotas/<project:own>'
NOBODYS = '/v1/project-quotas/0123456789abcdef0123456789abcdef'


def quotas(**values) -> dict:
    return {'project_quotas': values}


def set_quotas(status: int = 204, **values):
    return put(OWN, quotas(**values), status, caller='key_admin')


def links_on(answer: requests.Response) -> bool:
    document = answer.json()
    return len(document['project_quotas']) == 1 and document['next'].endswith(
        '/v1/project-quotas?limit=1&offset=1'
    )


CASES = [
    Case(
        'quotas-effective',
        [
            get('/v1/quotas'),
            set_quotas(secrets=5, orders=-1),
            get('/v1/quotas'),
            delete(OWN, caller='key_admin'),
            get('/v1/quotas'),
        ],
        alone=True,
    ),
    Case(
        'quotas-of-a-project',
        [
            get(OWN, 404, caller='key_admin'),
            delete(OWN, 404, caller='key_admin'),
            set_quotas(secrets=5),
            get(OWN, caller='key_admin'),
            set_quotas(orders=0, cas=-1, containers=-7),
            get(OWN, caller='key_admin'),
            set_quotas(secrets=6),
            get(OWN, caller='key_admin'),
            delete(OWN, caller='key_admin'),
            get(OWN, 404, caller='key_admin'),
        ],
        alone=True,
    ),
    Case(
        'quotas-refused',
        [
            put(OWN, {}, 400, caller='key_admin'),
            set_quotas(400, colour=1),
            set_quotas(400, secrets=None),
            set_quotas(400, secrets='5'),
            set_quotas(400, secrets=1.5),
            set_quotas(400, secrets=True),
            put(OWN, quotas() | {'colour': 1}, 400, caller='key_admin'),
            put(OWN, {'project_quotas': []}, 400, caller='key_admin'),
            put(OWN, {'project_quotas': None}, 400, caller='key_admin'),
            set_quotas(),
            get(OWN, caller='key_admin'),
        ],
        alone=True,
    ),
    Case(
        'quotas-by-members',
        [
            get('/v1/project-quotas', 403),
            get(OWN, 403),
            put(OWN, quotas(secrets=5), 403),
            delete(OWN, 403),
            get(NOBODYS, 404, caller='key_admin'),
        ],
        alone=True,
    ),
    Case(
        'quotas-list',
        [
            set_quotas(secrets=3, consumers=4),
            get(
                '/v1/project-quotas?limit=1',
                caller='key_admin',
                ours=Expected(200, 'the link leads on; the one of Barbican leads nowhere', check=links_on),
            ),
            delete(OWN, caller='key_admin'),
            get('/v1/project-quotas', caller='key_admin'),
        ],
        alone=True,
    ),
    Case(
        'quotas-are-kept',
        [
            set_quotas(secrets=1, containers=1, orders=1, consumers=1),
            new_secret(),
            post('/v1/secrets', {}, 403),
            new_container(),
            post('/v1/containers', {'type': 'generic'}, 403),
            post('<container>/consumers', {'name': 'n', 'URL': 'u'}, 200),
            post('<container>/consumers', {'name': 'm', 'URL': 'u'}, 403),
            post('/v1/orders', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 128}}, 202, save='order'),
            post('/v1/orders', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 128}}, 403),
            delete('<secret>'),
            delete('<container>'),
            delete('<order>'),
            get('/v1/secrets'),
            new_container('another'),
        ],
        alone=True,
    ),
    Case(
        'quotas-none-allowed',
        [
            set_quotas(secrets=0, orders=0, containers=0),
            post('/v1/secrets', {}, 403),
            post('/v1/orders', {'type': 'key', 'meta': {'algorithm': 'aes', 'bit_length': 128}}, 403),
            post('/v1/containers', {'type': 'generic'}, 403),
        ],
        alone=True,
    ),
]
