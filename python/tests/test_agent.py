from __future__ import annotations

import uuid
from typing import Any

import fake_agent
import pytest
from fake_agent import FakeAgent

from chatelaine import errors
from chatelaine.agent import Agent, Key, KeyDocument


def test_the_life_of_a_key(agent: Agent) -> None:
    wanted = str(uuid.uuid4())
    made = agent.create_key(
        'AES', bit_length=128, key_id=wanted, name='a name', attributes={'word': 'x'}, expires_at='2099-01-01T00:00:00Z'
    )
    assert made.key_string is None
    document = made.document
    assert (document.id, document.algorithm, document.bit_length, document.name) == (wanted, 'aes', 128, 'a name')
    assert (document.attributes, document.expires_at, document.state) == (
        {'word': 'x'},
        '2099-01-01T00:00:00Z',
        'active',
    )
    read = agent.key(wanted)
    assert read.key_string is not None
    assert len(read.key_string) == 16
    assert agent.metadata(wanted) == document
    assert repr(read.key_string) not in repr(read)
    with pytest.raises(errors.ConflictError):
        agent.create_key('aes', key_id=wanted)
    agent.delete(wanted)
    for call in (agent.key, agent.metadata, agent.delete):
        with pytest.raises(errors.NoSuchKeyError) as caught:
            call(wanted)
        assert (caught.value.status, caught.value.request_id) == (404, fake_agent.REQUEST_ID)


def test_a_key_may_be_given_and_come_back_at_once(agent: Agent) -> None:
    made = agent.create_key('certificate', key_string=b'\x00\xff', return_key=True)
    assert made.key_string == b'\x00\xff'
    assert agent.key(made.document.id) == Key(
        KeyDocument(**{**vars(made.document), 'lock': 'single'}), key_string=b'\x00\xff'
    )


def test_the_listing_is_followed(fake: FakeAgent, agent: Agent) -> None:
    assert list(agent.all_keys()) == []
    made = [agent.create_key('aes').document.id for _ in range(205)]
    assert [key.id for key in agent.all_keys()] == made
    page = agent.keys(limit=200)
    assert (len(page.keys), page.next_marker) == (200, made[199])
    fake.pages_end = False
    with pytest.raises(errors.UnexpectedAnswerError, match='end'):
        list(agent.all_keys())


@pytest.mark.parametrize(
    ('status', 'kind'),
    [
        (400, errors.InvalidRequestError),
        (401, errors.NotAllowedError),
        (403, errors.NotAllowedError),
        (404, errors.NoSuchKeyError),
        (409, errors.ConflictError),
        (429, errors.UnavailableError),
        (500, errors.UnexpectedAnswerError),
        (503, errors.UnavailableError),
    ],
)
def test_refusals(fake: FakeAgent, agent: Agent, status: int, kind: type[errors.AgentError]) -> None:
    fake.faults.append(fake_agent.refuse(status, Retry_After='7'))
    with pytest.raises(kind) as caught:
        agent.keys()
    error: Any = caught.value
    assert type(error) is kind
    assert str(error) == f'a_field: as ordered (request {fake_agent.REQUEST_ID})'
    assert (error.status, error.field, error.retry_after) == (status, 'a_field', 7)


def test_tokens(fake: FakeAgent, agent: Agent) -> None:
    agent.create_key('aes', token='users-token')
    assert fake.requests[-1][2]['X-Auth-Token'] == 'users-token'
    agent.create_key('aes')
    assert 'X-Auth-Token' not in fake.requests[-1][2]
    fake.requests.clear()
    for token in ('', 'two words', 'split\r\nX-Other: header', 'ü', 'x' * 20_000):
        with pytest.raises(errors.NotAllowedError) as caught:
            agent.keys(token=token)
        assert not token or token not in str(caught.value)
    assert fake.requests == []


def test_ids_cannot_leave_their_place_in_the_path(fake: FakeAgent, agent: Agent) -> None:
    with pytest.raises(errors.NoSuchKeyError):
        agent.key('../../readyz?x=#')
    assert fake.paths() == ['GET /v1/keys/..%2F..%2Freadyz%3Fx%3D%23']
