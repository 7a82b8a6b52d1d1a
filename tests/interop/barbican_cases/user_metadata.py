"""Metadata that users put on secrets."""

from support.differential import Case, Expected

from .steps import delete, get, new_secret, post, put


def pair(key, value) -> dict:
    return {'key': key, 'value': value}


def bulk(**values) -> dict:
    return {'metadata': values}


CASES = [
    Case(
        'metadata-all',
        [
            new_secret(),
            get('<secret>/metadata'),
            put('<secret>/metadata', bulk(colour='blue', size='7'), 201),
            get('<secret>/metadata'),
            put('<secret>/metadata', bulk(shape='round'), 201),
            get('<secret>/metadata'),
            put('<secret>/metadata', bulk(), 201),
            get('<secret>/metadata'),
            get('<secret>'),
        ],
    ),
    Case(
        'metadata-one',
        [
            new_secret(),
            post('<secret>/metadata', pair('colour', 'blue')),
            post('<secret>/metadata', pair('colour', 'red'), 409),
            post('<secret>/metadata', pair('COLOUR', 'red'), 409),
            get('<secret>/metadata/colour'),
            get('<secret>/metadata/Colour', 404),
            get('<secret>/metadata/shape', 404),
            put('<secret>/metadata/colour', pair('colour', 'red'), 200),
            put('<secret>/metadata/shape', pair('shape', 'round'), 404),
            put('<secret>/metadata/colour', pair('shape', 'round'), 409),
            get('<secret>/metadata'),
            delete('<secret>/metadata/colour'),
            delete('<secret>/metadata/colour'),
            delete('<secret>/metadata/never'),
            get('<secret>/metadata'),
            get('<secret>/metadata/colour', 404),
        ],
    ),
    Case(
        'metadata-case-of-keys',
        [
            new_secret(),
            put('<secret>/metadata', bulk(Colour='Blue', SIZE='7'), 201),
            get('<secret>/metadata'),
            get('<secret>/metadata/colour'),
            post('<secret>/metadata', pair('Shape', 'Round')),
            get('<secret>/metadata/shape'),
            get('<secret>/metadata/Shape', 404),
        ],
    ),
    Case(
        'metadata-keys-and-values',
        [
            new_secret(),
            post('<secret>/metadata', pair('a-Z_0', '')),
            post('<secret>/metadata', pair('k' * 255, 'v' * 255)),
            post('<secret>/metadata', pair('two words', 'v'), 400),
            post('<secret>/metadata', pair('dot.dot', 'v'), 400),
            post('<secret>/metadata', pair('ü', 'v'), 400),
            post('<secret>/metadata', pair('k' * 256, 'v'), 400),
            post('<secret>/metadata', pair('k', 'v' * 256), 400),
            post('<secret>/metadata', pair('k', 7), 400),
            post('<secret>/metadata', pair('k', None), 400),
            post('<secret>/metadata', pair(7, 'v'), 400),
            post('<secret>/metadata', {'key': 'k'}, 400),
            post('<secret>/metadata', {'value': 'v'}, 400),
            post('<secret>/metadata', {}, 400),
            get('<secret>/metadata'),
        ],
    ),
    Case(
        'metadata-empty-key',
        [
            new_secret(),
            post(
                '<secret>/metadata',
                pair('', 'v'),
                201,
                ours=Expected(400, 'a key without a name cannot be asked for'),
            ),
        ],
    ),
    Case(
        'metadata-bulk-refused',
        [
            new_secret(),
            put('<secret>/metadata', bulk(**{'two words': 'v'}), 400),
            put('<secret>/metadata', bulk(k=7), 400),
            put('<secret>/metadata', bulk(k=None), 400),
            put('<secret>/metadata', {'metadata': []}, 400),
            put('<secret>/metadata', {'metadata': None}, 400),
            put('<secret>/metadata', {}, 400),
            put('<secret>/metadata', {'colour': 'blue'}, 400),
            put('<secret>/metadata', bulk() | {'colour': 'blue'}, 201),
            put(
                '<secret>/metadata',
                bulk(k='v' * 256),
                201,
                ours=Expected(400, 'the limit of a single value holds for many'),
            ),
        ],
    ),
    Case(
        'metadata-one-put-refused',
        [
            new_secret(),
            post('<secret>/metadata', pair('colour', 'blue')),
            put('<secret>/metadata/colour', pair('colour', 7), 400),
            put('<secret>/metadata/colour', pair('colour', 'v' * 256), 400),
            put('<secret>/metadata/colour', {'value': 'red'}, 400),
            put('<secret>/metadata/colour', {}, 400),
            put('<secret>/metadata/colour', pair('COLOUR', 'red'), 200),
            get('<secret>/metadata/colour'),
        ],
    ),
    Case(
        'metadata-post-to-a-key',
        [
            new_secret(),
            post(
                '<secret>/metadata/colour',
                pair('colour', 'blue'),
                405,
                ours=Expected(201, 'an old client adds metadata so', body=pair('colour', 'blue')),
            ),
        ],
    ),
]
