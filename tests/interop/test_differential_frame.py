"""The comparison of answers itself: it finds what differs, and does not mind what may differ."""

import dataclasses
import json

import pytest
import requests

from support.differential import Callers, Case, Expected, Side, Step
from support.judgement import RULES, differences, misses, run

ID = '6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7'
OTHER_ID = 'b4b6d6a8-06e3-4f8a-8f2c-0d3b1c6f7a11'


@dataclasses.dataclass
class Answering:
    """A server that answers everything alike."""

    url: str
    key_id: str = ID
    created: str = '2001-02-03T04:05:06'
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    members: dict = dataclasses.field(default_factory=dict)
    without: str | None = None
    #: Instead of the JSON body.
    content: bytes | None = None

    def side(self) -> Side:
        side = Side(self.url, self.url, Callers(None), 'demo')
        side._request = lambda step: self.response(step)
        return side

    def response(self, step: Step) -> requests.Response:
        reference = f'{self.url}/v1/secrets/{self.key_id}'
        body = {'name': 'n', 'created': self.created, 'bit_length': 1, 'secret_ref': reference} | self.members
        body.pop(self.without, None)
        response = requests.Response()
        response.status_code = self.status
        response._content = json.dumps(body).encode() if self.content is None else self.content
        headers = {
            'content-type': 'application/json',
            'x-openstack-request-id': f'req-{self.key_id}',
            'vary': 'openstack-api-version',
            'location': reference,
        }
        headers |= self.headers
        response.headers.update({name: value for name, value in headers.items() if value is not None})
        response.request = requests.Request(step.method, self.url + step.path).prepare()
        return response


FIRST = Answering('http://127.0.0.1:1')
SAME = Answering('http://127.0.0.1:2', OTHER_ID, members={'name': 'n'})
STEP = Step('GET', '/', 200)


def compared(other: Answering, step: Step = STEP) -> list[str]:
    return differences(FIRST.side().send(step, 200), other.side().send(step, 200))


def test_what_a_server_makes_up_may_differ():
    assert compared(SAME) == []


@pytest.mark.parametrize(
    'change',
    [
        {'status': 201},
        {'members': {'name': 'm'}},
        {'members': {'more': None}},
        {'members': {'bit_length': True}},
        {'members': {'bit_length': '1'}},
        {'members': {'created': '2001-02-03T04:05:06Z'}},
        {'members': {'created': '2001-02-03T04:05:07'}},
        {'members': {'secret_ref': f'http://127.0.0.1:1/v1/secrets/{OTHER_ID}'}},
        {'members': {'secret_ref': f'http://127.0.0.1:2/v1/secrets/{OTHER_ID}/'}},
        {'without': 'name'},
        {'headers': {'content-type': 'application/json; charset=utf-8'}},
        {'headers': {'vary': 'accept'}},
        {'headers': {'location': f'/v1/secrets/{OTHER_ID}'}},
        {'headers': {'x-openstack-request-id': OTHER_ID}},
        {'headers': {'openstack-api-version': 'key-manager 1.0'}},
    ],
)
def test_a_difference_is_found(change):
    assert len(compared(dataclasses.replace(SAME, **change))) == 1


def test_the_same_id_must_come_again():
    """An id stands for the same thing on both servers, wherever it comes up."""
    steps = [dataclasses.replace(STEP, save='secret'), STEP]
    first, other = FIRST.side(), SAME.side()
    for step in steps:
        assert differences(first.send(step, 200), other.send(step, 200)) == []
    third = dataclasses.replace(SAME, key_id='0f0e0d0c-0b0a-4908-8706-050403020100')
    other._request = lambda step: third.response(step)
    assert differences(first.send(STEP, 200), other.send(STEP, 200)) != []


def test_declared_differences():
    reply = SAME.side().send(STEP, 200)
    assert misses(Expected(200, 'because', body={'name': 'n'}), reply) == []
    for expected in [
        Expected(201, 'because'),
        Expected(200, 'because', body={'name': 'm'}),
        Expected(200, 'because', body={'absent': None}),
        Expected(200, 'because', body=b'n'),
        Expected(200, 'because', headers={'location': None}),
        Expected(200, 'because', check=lambda answer: False),
    ]:
        assert len(misses(expected, reply)) == 1
    refused = dataclasses.replace(SAME, status=400).side().send(STEP, 400)
    assert misses(Expected(400, 'because'), refused) != [], 'an error has a shape'


def test_a_run_tells_what_is_wrong():
    def told(step: Step, theirs: Answering, own: Answering) -> str:
        return '\n'.join(run(Case('one', [step]), theirs.side(), own.side()))

    better = dataclasses.replace(STEP, ours=Expected(201, 'because'))
    other = dataclasses.replace(SAME, status=201)
    assert told(STEP, FIRST, SAME) == ''
    assert 'Barbican itself answers 200 instead of 404' in told(dataclasses.replace(STEP, status=404), FIRST, SAME)
    assert 'status: Barbican 200, Chatelaine 201' in told(STEP, FIRST, other)
    assert told(better, FIRST, other) == ''
    assert 'no difference' in told(dataclasses.replace(STEP, ours=Expected(200, 'because')), FIRST, SAME)
    assert 'does not say' in told(dataclasses.replace(STEP, says='words'), FIRST, SAME)
    lost = dataclasses.replace(SAME, members={'secret_ref': None})
    assert 'gave no reference' in told(dataclasses.replace(STEP, save='secret'), FIRST, lost)


def answers(**changes) -> tuple[Answering, Answering]:
    """Two answers that are changed alike."""
    return dataclasses.replace(FIRST, **changes), dataclasses.replace(SAME, **changes)


def headed(server: Answering, **headers) -> Answering:
    return dataclasses.replace(server, headers=server.headers | {n.replace('_', '-'): v for n, v in headers.items()})


def saying(server: Answering, **members) -> Answering:
    return dataclasses.replace(server, members=server.members | members)


def refusing(request_id: str) -> Answering:
    error = {'error': {'code': 401, 'request_id': request_id}}
    return dataclasses.replace(SAME, status=401, content=json.dumps(error).encode())


FAILED, FAILED_TOO = answers(status=404)
WRONG, WRONG_TOO = answers(status=405)
REFUSED = dataclasses.replace(FIRST, status=401, content=b'{"error": {"code": 401}}')
PAGE_OF = {'content': b'<html>', 'headers': {'content-type': 'text/html'}}
NOWHERE = headed(FIRST, location='http://127.0.0.1:1/v1/consumers/x')
ELSEWHERE = dataclasses.replace(STEP, path='/elsewhere')
UNVERSIONED = headed(FAILED_TOO, vary=None)
#: For each rule: two answers and a request it is about, and the same but for one thing, which it is not about.
EXAMPLES = {
    'words': [
        (saying(FAILED, description=''), saying(FAILED_TOO, description='how to'), STEP),
        (saying(FAILED, description='how to'), saying(FAILED_TOO, description=''), STEP),
        (saying(FIRST, description=''), saying(SAME, description='how to'), STEP),
    ],
    'consumers': [
        (NOWHERE, headed(SAME, location=None), STEP),
        (NOWHERE, SAME, STEP),
        (FIRST, headed(SAME, location=None), STEP),
    ],
    'allow': [
        (WRONG, headed(WRONG_TOO, allow='PUT, POST'), STEP),
        (WRONG, headed(WRONG_TOO, allow='GET, POST'), STEP),
        (headed(WRONG, allow='PUT'), headed(WRONG_TOO, allow='PUT, POST'), STEP),
    ],
    'refusals': [
        (REFUSED, refusing(f'req-{OTHER_ID}'), STEP),
        (REFUSED, refusing(f'req-{ID}'), STEP),
        (dataclasses.replace(REFUSED, status=403), dataclasses.replace(refusing(f'req-{OTHER_ID}'), status=403), STEP),
    ],
    'types': [
        (
            dataclasses.replace(FIRST, content=b'x', headers={'content-type': '*/*'}),
            dataclasses.replace(SAME, content=b'x', headers={'content-type': 'text/plain; charset=UTF-8'}),
            STEP,
        ),
        (
            dataclasses.replace(FIRST, content=b'x', headers={'content-type': '*/*'}),
            dataclasses.replace(SAME, content=b'x', headers={'content-type': 'text/html'}),
            STEP,
        ),
    ],
    'pages': [
        (dataclasses.replace(FAILED, **PAGE_OF), FAILED_TOO, STEP),
        (dataclasses.replace(FAILED, **PAGE_OF), dataclasses.replace(FAILED_TOO, content=b''), STEP),
        (FAILED, dataclasses.replace(FAILED_TOO, **PAGE_OF), STEP),
    ],
    'outside': [
        (FAILED, UNVERSIONED, ELSEWHERE),
        (FAILED, UNVERSIONED, STEP),
        (FAILED, UNVERSIONED, dataclasses.replace(STEP, path='/v1/secrets')),
        (headed(FAILED, vary=None), FAILED_TOO, ELSEWHERE),
    ],
    'challenge': [
        (REFUSED, headed(dataclasses.replace(REFUSED, url=SAME.url), www_authenticate='Keystone'), STEP),
        (headed(REFUSED, www_authenticate='Keystone'), dataclasses.replace(REFUSED, url=SAME.url), STEP),
        (FAILED, headed(FAILED_TOO, www_authenticate='Keystone'), STEP),
    ],
    'ids': [
        (headed(FIRST, x_openstack_request_id=None), SAME, STEP),
        (FIRST, headed(SAME, x_openstack_request_id=None), STEP),
    ],
}


def test_every_rule_has_examples():
    assert list(EXAMPLES) == [rule.name for rule in RULES]
    assert all(rule.because and rule.places for rule in RULES)


@pytest.mark.parametrize('name', EXAMPLES)
def test_rules_explain_only_what_they_are_about(name):
    about, *others = EXAMPLES[name]

    def found(theirs: Answering, own: Answering, step: Step) -> list[str]:
        return differences(theirs.side().send(step, 200), own.side().send(step, 200))

    assert found(*about) == []
    assert all(found(*other) for other in others)
    rule = next(rule for rule in RULES if rule.name == name)
    replies = [server.side().send(about[2], 200) for server in about[:2]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('support.judgement.RULES', [other for other in RULES if other is not rule])
        assert differences(*replies), 'without the rule it is a difference'
