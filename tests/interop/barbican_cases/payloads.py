"""Reading secrets: JSON or payload, by what the client accepts."""

from support.differential import Case, Expected

from .steps import BINARY, OCTETS, TEXT, accept, binary, get, new_secret

PLAIN = 'text/plain'
WILDCARD = Expected(200, 'the type of the payload instead of a wildcard', headers={'Content-Type': OCTETS})
#: What Barbican does not take, and a negotiating server does.
NEGOTIATED = 'proper negotiation'


def plain(because: str) -> Expected:
    return Expected(200, because, check=lambda answer: answer.headers['Content-Type'].startswith(PLAIN))


CASES = [
    Case(
        'payload-text',
        [
            new_secret(**TEXT),
            get('<secret>/payload', headers=accept(None)),
            get('<secret>/payload', headers=accept('')),
            get('<secret>/payload', headers=accept(PLAIN)),
            get('<secret>/payload', headers=accept('text/plain; charset=utf-8')),
            get('<secret>/payload', headers=accept('text/plain;charset=utf-8')),
            get('<secret>/payload', headers=accept(OCTETS)),
            get('<secret>/payload', headers=accept('application/pkcs8')),
            get('<secret>/payload', headers=accept('*/*'), ours=plain('the type of the payload')),
            get('<secret>/payload', 406, headers=accept('application/json')),
            get('<secret>/payload', 406, headers=accept('application/xml')),
            get('<secret>/payload', 406, headers=accept('image/*')),
        ],
    ),
    Case(
        'payload-text-negotiated',
        [
            new_secret(**TEXT),
            get('<secret>/payload', 406, headers=accept('text/*'), ours=plain(NEGOTIATED)),
            get('<secret>/payload', 406, headers=accept('text/plain;q=0.5'), ours=plain(NEGOTIATED)),
            get('<secret>/payload', 406, headers=accept('application/json, text/plain'), ours=plain(NEGOTIATED)),
            get('<secret>/payload', 406, headers=accept('text/html, */*;q=0.1'), ours=plain(NEGOTIATED)),
            get('<secret>/payload', 400, headers=accept('TEXT/PLAIN'), ours=plain(NEGOTIATED)),
            get(
                '<secret>/payload',
                406,
                headers=accept('application/*'),
                ours=Expected(200, NEGOTIATED, body=b'a text'),
            ),
        ],
    ),
    Case(
        'payload-binary',
        [
            new_secret(**binary()),
            get('<secret>/payload', headers=accept(None)),
            get('<secret>/payload', headers=accept(OCTETS)),
            get('<secret>/payload', headers=accept('application/pkcs8')),
            get('<secret>/payload', headers=accept('*/*'), ours=WILDCARD),
            get('<secret>/payload', 406, headers=accept(PLAIN)),
            get('<secret>/payload', 406, headers=accept('text/plain; charset=utf-8')),
            get('<secret>/payload', 406, headers=accept('application/json')),
            get('<secret>/payload', 406, headers=accept('application/*'), ours=Expected(200, NEGOTIATED, body=BINARY)),
            get(
                '<secret>/payload',
                406,
                headers=accept('text/plain, application/octet-stream;q=0.5'),
                ours=Expected(200, NEGOTIATED, body=BINARY, headers={'Content-Type': OCTETS}),
            ),
            get('<secret>/payload', 400, headers=accept('TEXT/PLAIN'), ours=Expected(406, NEGOTIATED)),
        ],
    ),
    Case(
        'payload-binary-of-text',
        [new_secret(**binary(b'ascii')), get('<secret>/payload', headers=accept(PLAIN))],
    ),
    Case(
        'payload-pkcs8',
        [
            new_secret(**binary(kind='application/pkcs8')),
            get('<secret>'),
            get('<secret>/payload', headers=accept('application/pkcs8')),
            get('<secret>/payload', headers=accept(OCTETS)),
        ],
    ),
    Case(
        'payload-none',
        [
            new_secret(),
            get('<secret>/payload', 404, headers=accept(None)),
            get('<secret>/payload', 404, headers=accept(PLAIN)),
            get('<secret>/payload', 404, headers=accept('*/*')),
            get('<secret>/payload', 404, headers=accept('application/json')),
            get('<secret>/payload', 404, headers=accept('TEXT/PLAIN')),
            get('<secret>', 404, headers=accept(PLAIN)),
        ],
    ),
    Case(
        'payload-session-key',
        [new_secret(**TEXT), get('<secret>/payload?trans_wrapped_session_key=abc', 400, headers=accept(PLAIN))],
    ),
    Case(
        'secret-as-json',
        [
            new_secret(**TEXT),
            get('<secret>', headers=accept(None)),
            get('<secret>', headers=accept('application/json')),
            get('<secret>', headers=accept('*/*')),
            get(
                '<secret>',
                406,
                headers=accept('application/json, */*'),
                ours=Expected(200, NEGOTIATED, body={'name': None}),
            ),
            get(
                '<secret>',
                406,
                headers=accept('application/json;q=1'),
                ours=Expected(200, NEGOTIATED, body={'name': None}),
            ),
            get('<secret>', 406, headers=accept('application/xml')),
        ],
    ),
    Case(
        'secret-as-payload',
        [
            new_secret(**TEXT),
            get('<secret>', headers=accept(PLAIN)),
            get('<secret>', headers=accept(OCTETS)),
            new_secret('bytes', **binary()),
            get('<bytes>', headers=accept(OCTETS)),
            get('<bytes>', 406, headers=accept(PLAIN)),
        ],
    ),
]
