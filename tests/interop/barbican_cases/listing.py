"""Lists of secrets: filters, sorting, paging."""

from support.differential import Case, Expected
from support.identity import in_seconds

from .steps import FUTURE, TEXT, binary, delete, get, new_secret, put, version

SECRETS = [
    new_secret('a', name='alpha', algorithm='aes', mode='cbc', bit_length=128, secret_type='symmetric'),
    new_secret('b', name='beta', algorithm='AES', mode='ctr', bit_length=256, expiration=FUTURE),
    new_secret('c', name='Alpha', algorithm='rsa', bit_length=2048, secret_type='private', **TEXT),
    new_secret('d', name='al_ha', algorithm='a%s', expiration='2052-01-01', **binary()),
    new_secret('e'),
]
REPEATED = 'a repeated parameter is no reason to fail'


def listed(*queries: str) -> list:
    return [get(f'/v1/secrets?{query}') for query in queries]


def wrong(*queries: str) -> list:
    return [get(f'/v1/secrets?{query}', 400) for query in queries]


CASES = [
    Case(
        'list-all',
        [get('/v1/secrets'), *SECRETS, get('/v1/secrets'), get('/v1/secrets', headers=version('1.1'))],
        alone=True,
    ),
    Case(
        'list-filters',
        [
            *SECRETS,
            *listed('name=alpha', 'name=al%25', 'name=al_ha', 'name=nothing', 'name=alp', 'name='),
            *listed('alg=aes', 'alg=a%25', 'mode=cbc', 'mode=c%25', 'mode=nothing'),
            *listed('bits=256', 'bits=255', 'bits=x', 'bits=0', 'bits='),
            *listed('secret_type=symmetric', 'secret_type=opaque', 'secret_type=nothing'),
            *listed('name=alpha&alg=aes', 'name=alpha&alg=rsa', 'colour=blue', 'acl_only=false'),
        ],
        alone=True,
    ),
    Case(
        'list-times',
        [
            *SECRETS,
            *listed(f'expiration={FUTURE}', f'expiration=gt:{FUTURE}', f'expiration=gte:{FUTURE}'),
            *listed(f'expiration=lt:{FUTURE}', f'expiration=lte:{FUTURE}'),
            *listed(f'expiration=gte:{FUTURE},lt:2052-01-01', f'expiration=gt:{FUTURE},lte:2052-01-01'),
            *listed('created=gt:2001-01-01', 'created=lt:2001-01-01', 'created=2001-01-01', 'updated=gte:2001-01-01'),
            *listed(f'created=lt:{in_seconds(3600)}', 'updated=lt:2001-01-01T00:00:00'),
            *wrong('created=yesterday', 'created=eq:2001-01-01', 'created=gt:x', 'updated=nothing'),
            *wrong('created=gt:2001-01-01,gte:2001-01-01', 'created=lt:2001-01-01,lte:2001-01-01'),
            *wrong('expiration=2051-01-01,gte:2050-01-01', 'expiration=gt:2050-01-01,gt:2051-01-01'),
            *wrong('expiration=2051-01-01,2052-01-01', 'expiration=2051-01-01,lte:2052-01-01'),
        ],
        alone=True,
    ),
    Case(
        'list-sort',
        [
            *SECRETS,
            *listed('sort=name', 'sort=name:desc', 'sort=name:asc', 'sort=created', 'sort=created:desc'),
            *listed('sort=bit_length,name', 'sort=expiration,name', 'sort=algorithm:desc,created', 'sort=mode,created'),
            *listed('sort=secret_type,created:desc', 'sort=status,created', 'sort=updated'),
            *wrong('sort=colour', 'sort=name:up', 'sort=name,name', 'sort=name:asc:desc', 'sort=id', 'sort=name,'),
            *listed('sort='),
        ],
        alone=True,
    ),
    Case(
        'list-paging',
        [
            *SECRETS,
            *listed('limit=2', 'limit=2&offset=2', 'limit=2&offset=4', 'limit=2&offset=5', 'limit=5', 'limit=100'),
            *listed('limit=0', 'limit=-1', 'limit=x', 'limit=101', 'limit=', 'limit=0&offset=0'),
            *listed('limit=2&offset=-1', 'limit=2&offset=x', 'limit=2&offset=9223372036854775808', 'limit=2&offset='),
            *listed(
                'limit=1&offset=1&name=al%25', 'name=a%25&limit=1', 'limit=1&sort=name:desc', 'limit=1&colour=bl+ue'
            ),
            *listed('offset=1&limit=1&alg=%C3%BC', 'limit=1.5', 'offset=3'),
        ],
        alone=True,
    ),
    Case(
        'list-more-than-a-page',
        [
            *(new_secret(f's{number}', name=f'number {number}') for number in range(12)),
            get('/v1/secrets'),
            get('/v1/secrets?offset=10'),
            get('/v1/secrets?limit=12'),
        ],
        alone=True,
    ),
    Case(
        'list-repeated-parameters',
        [
            get('/v1/secrets?name=a&name=b', 500, ours=Expected(200, REPEATED)),
            get('/v1/secrets?limit=1&limit=2', 500, ours=Expected(200, REPEATED)),
        ],
        alone=True,
    ),
    Case(
        'list-has-the-private-too',
        [
            new_secret('own', name='own'),
            put('<own>/acl', {'read': {'project-access': False}}, 200),
            get('/v1/secrets', caller='key_admin'),
        ],
        alone=True,
    ),
    Case(
        'list-without-the-deleted',
        [*SECRETS, delete('<b>'), get('/v1/secrets'), get('/v1/secrets?name=beta')],
        alone=True,
    ),
    Case(
        'list-only-own-project',
        [*SECRETS, get('/v1/secrets', caller='alt_member'), get('/v1/secrets?name=alpha', caller='alt_member')],
        alone=True,
    ),
]
