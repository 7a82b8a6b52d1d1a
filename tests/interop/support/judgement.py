"""What differs between Barbican's answers and ours, and which differences are meant.

A difference that is meant is declared: by `Expected` on a step, or, where one improvement shows in many answers, by one
of the rules here. A rule says exactly which of Barbican's answers it is about and what ours must be instead.
"""

import dataclasses
import urllib.parse
from collections.abc import Callable, Iterator, Sequence

from .differential import PAGE, REFERENCES, Case, Expected, Reply, Side, Step

#: A place in an answer, and what differs there in words.
Difference = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Rule:
    """An improvement that shows in many answers."""

    name: str
    because: str
    #: Where the answers may differ then.
    places: Sequence[str]
    #: Whether the rule is about these answers of Barbican and of ours.
    applies: Callable[[Reply, Reply], bool]


def texts(barbican: Reply, ours: Reply) -> bool:
    bodies = [barbican.body, ours.body]
    if not all(isinstance(body, dict) for body in bodies) or ours.status < 400:
        return False
    return [body.get('description') for body in bodies] == ['', '<text>']


def leads_nowhere(barbican: Reply, ours: Reply) -> bool:
    location = barbican.headers['location'] or ''
    return location.startswith('<base>/v1/consumers/') and ours.headers['location'] is None


def allows(barbican: Reply, ours: Reply) -> bool:
    own = ours.headers.get('allow')
    tried = ours.response.request.method.lower()
    return ours.status == 405 and barbican.headers.get('allow') is None and bool(own) and tried not in own


def names_request(barbican: Reply, ours: Reply) -> bool:
    """The id in the body is the one in the header."""
    if ours.status != 401 or not isinstance(ours.body, dict):
        return False
    header = ours.response.headers.get('x-openstack-request-id')
    return header is not None and ours.response.json().get('error', {}).get('request_id') == header


def is_concrete(barbican: Reply, ours: Reply) -> bool:
    return barbican.headers.get('content-type') == '*/*' and ours.headers.get('content-type') in CONCRETE


def is_page(barbican: Reply, ours: Reply) -> bool:
    return barbican.body == PAGE and (ours.body != b'' or ours.status < 400)


def is_outside(barbican: Reply, ours: Reply) -> bool:
    path = urllib.parse.urlsplit(ours.response.request.url).path
    outside = path != '/' and path.strip('/').split('/')[0] != 'v1'
    versions = [ours.headers[name] for name in ('openstack-api-version', 'vary')]
    return outside and ours.status == 404 and versions == [None, None]


def has_challenge(barbican: Reply, ours: Reply) -> bool:
    return ours.status == 401 and barbican.headers['www-authenticate'] is None


def has_id(barbican: Reply, ours: Reply) -> bool:
    return ours.headers['request id'] == 'good'


CONCRETE = {'text/plain; charset=utf-8', 'application/octet-stream', 'application/pkcs8'}
RULES = [
    Rule(
        'words',
        'An error says what is wrong and what to do where Barbican says nothing: unknown routes, wrong methods.',
        ['body.description'],
        texts,
    ),
    Rule(
        'consumers',
        'Barbican names an address that does not exist when a consumer is registered; ours names none.',
        ['header location'],
        leads_nowhere,
    ),
    Rule(
        'allow',
        'An answer of 405 must say which methods there are (RFC 9110, section 15.5.6).',
        ['header allow'],
        allows,
    ),
    Rule(
        'refusals',
        'A refused token has the id of the request in the body, too, where people look first.',
        ['body.error.request_id'],
        names_request,
    ),
    Rule(
        'types',
        'The type of a payload is a type; Barbican repeats the wildcard that the client accepts.',
        ['header content-type'],
        is_concrete,
    ),
    Rule(
        'pages',
        "What Barbican's libraries answer as a page for people is an error like others here.",
        ['body', 'header content-type'],
        is_page,
    ),
    Rule(
        'outside',
        'An address that is not of the API has no microversion.',
        ['header openstack-api-version', 'header vary'],
        is_outside,
    ),
    Rule(
        'challenge',
        'Every 401 says how to authenticate; some of Barbican do not.',
        ['header www-authenticate'],
        has_challenge,
    ),
    Rule(
        'ids',
        'Every answer has the id of its request; some that filters of Barbican give have none.',
        ['header request id'],
        has_id,
    ),
]


def differences(barbican: Reply, ours: Reply) -> list[str]:
    """What is not equal and not explained by a rule, in words; empty when nothing is."""
    found = compared(barbican, ours)
    explained = {place for rule in RULES if rule.applies(barbican, ours) for place in rule.places}
    return [text for place, text in found if place not in explained]


def compared(barbican: Reply, ours: Reply) -> Iterator[Difference]:
    if barbican.status != ours.status:
        yield 'status', f'status: Barbican {barbican.status}, Chatelaine {ours.status}'
    for name in sorted(barbican.headers.keys() | ours.headers.keys()):
        theirs, own = barbican.headers.get(name), ours.headers.get(name)
        if theirs != own:
            yield f'header {name}', f'header {name}: Barbican {theirs!r}, Chatelaine {own!r}'
    yield from unequal('body', barbican.body, ours.body)


def unequal(where: str, theirs, own) -> Iterator[Difference]:
    if isinstance(theirs, dict) and isinstance(own, dict):
        for key in sorted(theirs.keys() | own.keys()):
            place = f'{where}.{key}'
            if key not in own:
                yield place, f'{place}: only Barbican has it'
            elif key not in theirs:
                yield place, f'{place}: only Chatelaine has it'
            else:
                yield from unequal(place, theirs[key], own[key])
    elif isinstance(theirs, list) and isinstance(own, list) and len(theirs) == len(own):
        for number, pair in enumerate(zip(theirs, own, strict=True)):
            yield from unequal(f'{where}[{number}]', *pair)
    # A truth value is not the number one.
    elif type(theirs) is not type(own) or theirs != own:
        yield where, f'{where}: Barbican {theirs!r}, Chatelaine {own!r}'


def misses(expected: Expected, reply: Reply) -> list[str]:
    """What is not as expected of Chatelaine where it is better on purpose."""
    found = []
    if reply.status != expected.status:
        found.append(f'status: {reply.status} instead of {expected.status}')
    if reply.headers['request id'] != 'good':
        found.append('no request id')
    for name, value in expected.headers.items():
        if reply.response.headers.get(name) != value:
            found.append(f'header {name}: {reply.response.headers.get(name)!r} instead of {value!r}')
    if isinstance(expected.body, bytes):
        if reply.response.content != expected.body:
            found.append(f'body: {reply.response.content[:200]!r} instead of {expected.body!r}')
    elif expected.body is not None:
        document = reply.body if isinstance(reply.body, dict) else {}
        found += [
            f'body.{key}: {document.get(key)!r} instead of {value!r}'
            for key, value in expected.body.items()
            if key not in document or document[key] != value
        ]
    if expected.status >= 400 and reply.response.request.method != 'HEAD':
        found += wrong_error(reply)
    if expected.check is not None and not expected.check(reply.response):
        found.append(f'the answer is not as it should be: {reply.response.text[:500]}')
    return found


def wrong_error(reply: Reply) -> list[str]:
    """What is wrong with an error in Barbican's own shape."""
    good = (
        isinstance(reply.body, dict)
        and reply.body.keys() == {'code', 'title', 'description'}
        and reply.body['code'] == reply.status
        and isinstance(reply.body['title'], str)
    )
    return [] if good else [f"not an error in Barbican's shape: {reply.body!r}"]


def unfulfilled(step: Step, reply: Reply) -> list[str]:
    """What a step asks of both servers."""
    found = []
    if step.says is not None and step.says not in reply.response.text:
        found.append(f'it does not say {step.says!r}: {reply.response.text[:500]}')
    location = reply.response.headers.get('location')
    if reply.status in (201, 202) and step.save is not None and isinstance(reply.body, dict):
        reference = next(reply.response.json()[key] for key in REFERENCES if key in reply.body)
        if location != reference and not reference.endswith('/metadata'):
            found.append(f'Location is {location!r}, the reference {reference!r}')
    return found


def run(case: Case, barbican: Side, ours: Side) -> list[str]:
    """Runs a case; all that is not as it should be, in words."""
    found = []
    for number, step in enumerate(case.steps):
        where = f'step {number}, {step.method} {step.path}'
        theirs = barbican.send(step, step.status)
        if theirs.status != step.status:
            answer = theirs.response.text[:500]
            return [*found, f'{where}: Barbican itself answers {theirs.status} instead of {step.status}: {answer}']
        own = ours.send(step, step.ours.status if step.ours else step.status)
        if step.ours is None:
            wrong = differences(theirs, own) + [f'Chatelaine: {text}' for text in unfulfilled(step, own)]
        else:
            wrong = misses(step.ours, own)
            if not misses(step.ours, theirs):
                wrong.append(f'Barbican answers the same by now, so this is no difference: {step.ours.because}')
        wrong += [f'Barbican: {text}' for text in unfulfilled(step, theirs)]
        found += [f'{where}: {text}' for text in wrong]
        if step.save is not None and not ours.has(step.save):
            # What follows needs it.
            return [*found, f'{where}: Chatelaine gave no reference: {own.response.text[:500]}']
    return found
