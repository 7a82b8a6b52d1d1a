from __future__ import annotations

import datetime
import subprocess
import sys
import time
import uuid
from typing import Any

import fake_agent
import pytest
from castellan import options as castellan_options
from castellan.common import exception
from castellan.common.credentials.keystone_password import KeystonePassword
from castellan.common.credentials.keystone_token import KeystoneToken
from castellan.common.objects import (
    managed_object,
    opaque_data,
    passphrase,
    private_key,
    public_key,
    symmetric_key,
    x_509,
)
from conftest import MakeDriver
from fake_agent import FakeAgent
from oslo_config import cfg
from oslo_context.context import RequestContext

from chatelaine.key_manager.driver import ChatelaineKeyManager
from chatelaine.key_manager.options import list_opts

CONTEXT = RequestContext(auth_token='users-token')
FIXED_ID = '00000000-0000-0000-0000-000000000000'

OBJECTS: list[managed_object.ManagedObject] = [
    symmetric_key.SymmetricKey('AES', 256, bytes(32), name='symmetric'),
    symmetric_key.SymmetricKey('aes', 512, bytes(64)),
    symmetric_key.SymmetricKey('HMACSHA256', 128, bytes(16)),
    # What the registry has no word or no length for.
    symmetric_key.SymmetricKey('Camellia', 256, bytes(32)),
    symmetric_key.SymmetricKey('AES', 40, bytes(5)),
    symmetric_key.SymmetricKey('EC', 256, bytes(32)),
    private_key.PrivateKey('RSA', 2048, b'\x30\x82private', name='private'),
    public_key.PublicKey('RSA', 2048, b'\x30\x82public', name='public'),
    private_key.PrivateKey('ec', 384, b'\x30\x82curve'),
    public_key.PublicKey('ec', 224, b'\x30\x82curve'),
    passphrase.Passphrase(b'open \xff sesame', name='passphrase'),
    passphrase.Passphrase('schlüssel', name='text'),  # type: ignore[arg-type]
    opaque_data.OpaqueData(b'\x00', name='opaque'),
    x_509.X509(b'\x30\x82certificate', name='certificate'),
]


@pytest.mark.parametrize('stored', OBJECTS, ids=lambda one: f'{type(one).__name__}-{one.name}')
def test_every_object_comes_back_as_it_was(driver: Any, stored: managed_object.ManagedObject) -> None:
    object_id = driver.store(CONTEXT, stored)
    read = driver.get(CONTEXT, object_id)
    assert read == stored
    assert type(read) is type(stored)
    assert type(read.get_encoded()) is type(stored.get_encoded())
    assert (read.name, read.id, read.consumers, read.format) == (stored.name, object_id, [], stored.format)
    assert abs((read.created or 0) - time.time()) < 60
    known = driver.get(CONTEXT, object_id, metadata_only=True)
    assert known.is_metadata_only()
    for field in ('name', 'id', 'created', 'algorithm', 'bit_length'):
        assert getattr(known, field, None) == getattr(read, field, None)
    assert [one.id for one in driver.list(CONTEXT)] == [object_id]


def test_keys_are_made_by_the_agent(fake: FakeAgent, driver: Any) -> None:
    for algorithm, length in [('aes', 256), ('AES', 128), ('HMACSHA256', 256)]:
        key = driver.get(CONTEXT, driver.create_key(CONTEXT, algorithm, length, name='volume'))
        assert (type(key), key.algorithm, key.bit_length) == (symmetric_key.SymmetricKey, algorithm, length)
        assert (len(key.get_encoded()) * 8, key.name) == (length, 'volume')
    # One request each.
    assert fake.paths()[::2] == ['POST /v1/keys'] * 3
    unnamed = driver.get(CONTEXT, driver.create_key(CONTEXT, algorithm='aes', length=256))
    assert unnamed.name is None


def test_pairs(driver: Any) -> None:
    from cryptography.hazmat.primitives import serialization

    private_id, public_id = driver.create_key_pair(CONTEXT, 'RSA', 2048, name='pair')
    private, public = driver.get(CONTEXT, private_id), driver.get(CONTEXT, public_id)
    assert (type(private), type(public)) == (private_key.PrivateKey, public_key.PublicKey)
    assert {(one.algorithm, one.bit_length, one.name) for one in (private, public)} == {('RSA', 2048, 'pair')}
    opened: Any = serialization.load_der_private_key(private.get_encoded(), None)
    its_public: Any = serialization.load_der_public_key(public.get_encoded())
    assert opened.public_key().public_numbers() == its_public.public_numbers()
    # The type is known without the key.
    assert type(driver.get(CONTEXT, public_id, metadata_only=True)) is public_key.PublicKey


def test_keys_that_others_put_for_the_service(fake: FakeAgent, driver: Any) -> None:
    for algorithm, kind in [
        ('aes', symmetric_key.SymmetricKey),
        ('generic', symmetric_key.SymmetricKey),
        ('passphrase', passphrase.Passphrase),
        ('certificate', x_509.X509),
        ('opaque', opaque_data.OpaqueData),
        ('rsa', private_key.PrivateKey),
        ('of-the-future', opaque_data.OpaqueData),
    ]:
        key = fake._put(algorithm, 2048, bytes(256), {'attributes': {'castellan.type': 'no type'}})
        assert type(driver.get(CONTEXT, key['id'])) is kind


def test_the_listing(fake: FakeAgent, driver: Any) -> None:
    assert driver.list(CONTEXT) == []
    ids = [driver.store(CONTEXT, one) for one in OBJECTS]
    assert [one.id for one in driver.list(CONTEXT)] == ids
    assert [one.get_encoded() for one in driver.list(CONTEXT)] == [one.get_encoded() for one in OBJECTS]
    phrases = driver.list(CONTEXT, object_type=passphrase.Passphrase, metadata_only=True)
    assert [(one.name, one.get_encoded()) for one in phrases] == [('passphrase', None), ('text', None)]
    with pytest.raises(exception.KeyManagerError, match=r'no object type str; there are OpaqueData'):
        driver.list(CONTEXT, object_type=str)
    # What is not released is left out, and what goes meanwhile is no error.
    fake.keys[ids[0]]['state'] = 'compromised'
    fake.keys[ids[1]]['expires_at'] = '2001-01-01T00:00:00Z'
    fake.faults += [lambda handler: False, fake_agent.refuse(404), fake_agent.refuse(403)]
    assert [one.id for one in driver.list(CONTEXT)] == ids[4:]
    fake.faults += [lambda handler: False, fake_agent.refuse(503)]
    with pytest.raises(exception.KeyManagerError):
        driver.list(CONTEXT)


def test_what_is_not_there(driver: Any) -> None:
    absent = str(uuid.uuid4())
    gone = driver.create_key(CONTEXT, 'aes', 256)
    driver.delete(CONTEXT, gone, force=True)
    for object_id in (absent, gone, 'no-uuid', '../keys', f'{absent}/metadata', absent + 'x', '\n' + absent):
        for call in (
            lambda: driver.get(CONTEXT, object_id),
            lambda: driver.get(CONTEXT, object_id, metadata_only=True),
            lambda: driver.delete(CONTEXT, object_id),
        ):
            with pytest.raises(exception.ManagedObjectNotFoundError) as caught:
                call()
            assert object_id in str(caught.value)
    for object_id in (None, ''):
        for call in (lambda: driver.get(CONTEXT, object_id), lambda: driver.delete(CONTEXT, object_id)):
            with pytest.raises(exception.KeyManagerError, match='not provided'):
                call()


def test_ids_in_other_spellings(driver: Any) -> None:
    object_id = driver.create_key(CONTEXT, 'aes', 256)
    assert driver.get(CONTEXT, object_id.upper()).id == object_id
    assert driver.get(CONTEXT, object_id.replace('-', '')).id == object_id


def test_expiry(fake: FakeAgent, driver: Any) -> None:
    for given, sent in [
        ('2051-02-03T04:05:06', '2051-02-03T04:05:06Z'),
        ('2051-02-03T04:05:06.123456', '2051-02-03T04:05:06.123456Z'),
        ('2051-02-03T04:05:06Z', '2051-02-03T04:05:06Z'),
        ('2051-02-03T04:05:06+02:00', '2051-02-03T02:05:06Z'),
        (datetime.datetime(2051, 2, 3), '2051-02-03T00:00:00Z'),
    ]:
        object_id = driver.create_key(CONTEXT, 'aes', 256, expiration=given)
        assert fake.keys[object_id]['expires_at'] == sent
        assert driver.get(CONTEXT, object_id).id == object_id
    for wrong in ('tomorrow', '2051-02-30T00:00:00'):
        for call in (
            lambda: driver.create_key(CONTEXT, 'aes', 256, expiration=wrong),
            lambda: driver.create_key_pair(CONTEXT, 'rsa', 2048, expiration=wrong),
            lambda: driver.store(CONTEXT, OBJECTS[0], expiration=wrong),
        ):
            with pytest.raises(exception.KeyManagerError, match='expiration: it is not a moment in ISO 8601'):
                call()
    # As with Barbican, what has expired is not there.
    fake.keys[object_id]['expires_at'] = '2001-01-01T00:00:00Z'
    for metadata_only in (False, True):
        with pytest.raises(exception.ManagedObjectNotFoundError):
            driver.get(CONTEXT, object_id, metadata_only=metadata_only)
    driver.delete(CONTEXT, object_id)
    # The key manager's clock is ahead by some seconds.
    object_id = driver.create_key(CONTEXT, 'aes', 256)
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
    fake.keys[object_id].update(state='deactivated', expires_at=soon.isoformat())
    with pytest.raises(exception.ManagedObjectNotFoundError):
        driver.get(CONTEXT, object_id)


def test_a_key_in_another_state_is_there_and_not_released(fake: FakeAgent, driver: Any) -> None:
    object_id = driver.create_key(CONTEXT, 'aes', 256)
    fake.keys[object_id]['state'] = 'compromised'
    with pytest.raises(exception.KeyManagerError, match='compromised'):
        driver.get(CONTEXT, object_id)
    # Revoked long before its time.
    fake.keys[object_id].update(state='deactivated', expires_at='2099-01-01T00:00:00Z')
    with pytest.raises(exception.KeyManagerError, match='deactivated'):
        driver.get(CONTEXT, object_id)
    assert driver.get(CONTEXT, object_id, metadata_only=True).id == object_id


def test_what_cannot_be_made_or_stored(fake: FakeAgent, driver: Any) -> None:
    for stored, said in [
        (opaque_data.OpaqueData(b''), 'no data'),
        (symmetric_key.SymmetricKey('AES', 256, None), 'no data'),
        (opaque_data.OpaqueData(bytes(65_537)), 'at most 65536'),
        (symmetric_key.SymmetricKey('DES', 64, bytes(8)), 'des is refused.*use aes'),
        (symmetric_key.SymmetricKey('AES', 256, bytes(16)), 'key_string'),
        (passphrase.Passphrase(b'x', name='x' * 256), 'name: 1 to 255 characters'),
    ]:
        with pytest.raises(exception.KeyManagerError, match=said):
            driver.store(CONTEXT, stored)
    for algorithm, length, said in [('rot13', 256, 'known algorithms'), ('DES', 64, 'refused'), ('aes', 100, '100')]:
        with pytest.raises(exception.KeyManagerError, match=said):
            driver.create_key(CONTEXT, algorithm, length)
    assert fake.keys == {}


def test_failures_are_castellans(fake: FakeAgent, driver: Any) -> None:
    object_id = driver.create_key(CONTEXT, 'aes', 256)
    calls = [
        lambda: driver.create_key(CONTEXT, 'aes', 256),
        lambda: driver.create_key_pair(CONTEXT, 'rsa', 2048),
        lambda: driver.store(CONTEXT, OBJECTS[0]),
        lambda: driver.get(CONTEXT, object_id),
        lambda: driver.delete(CONTEXT, object_id),
        lambda: driver.list(CONTEXT),
    ]
    for call in calls:
        for status in (400, 409, 429, 500, 503):
            fake.faults.append(fake_agent.refuse(status))
            with pytest.raises(exception.KeyManagerError, match=fake_agent.REQUEST_ID) as caught:
                call()
            assert 'Forbidden' not in str(caught.value)
        for status in (401, 403):
            fake.faults.append(fake_agent.refuse(status))
            with pytest.raises(exception.Forbidden, match='Forbidden') as denied:
                call()
            # Cinder and Nova look for the other class.
            assert isinstance(denied.value, exception.KeyManagerError)
        # To these there is nothing that could be missing.
        if call in (calls[0], calls[1], calls[2], calls[5]):
            fake.faults.append(fake_agent.refuse(404))
            with pytest.raises(exception.KeyManagerError):
                call()
    fake.stop()
    for call in calls:
        with pytest.raises(exception.KeyManagerError, match=r'agent\.sock cannot be reached'):
            call()


def test_percent_signs_in_an_answer_are_no_format(fake: FakeAgent, driver: Any) -> None:
    fake.faults.append(fake_agent.refuse(403, message='100% %(reason)s'))
    with pytest.raises(exception.Forbidden, match=r'100% %\(reason\)s'):
        driver.get(CONTEXT, str(uuid.uuid4()))
    with pytest.raises(exception.ManagedObjectNotFoundError, match='%s%d'):
        driver.get(CONTEXT, '%s%d')


def test_nobody_gets_nothing(fake: FakeAgent, driver: Any) -> None:
    for call in (
        lambda: driver.create_key(None, 'aes', 256),
        lambda: driver.create_key_pair(None, 'rsa', 2048),
        lambda: driver.store(None, OBJECTS[0]),
        lambda: driver.get(None, FIXED_ID),
        lambda: driver.delete(None, FIXED_ID),
        lambda: driver.list(None),
    ):
        with pytest.raises(exception.Forbidden, match='Forbidden'):
            call()
    assert fake.requests == []


def test_consumers_are_for_the_other_way_of_wrapping(driver: Any) -> None:
    for call in (driver.add_consumer, driver.remove_consumer):
        with pytest.raises(NotImplementedError, match='wrapping = server'):
            call(CONTEXT, FIXED_ID, {'service': 'volume', 'resource_type': 'volume', 'resource_id': 'x'})


@pytest.mark.parametrize(
    'context',
    [
        RequestContext(auth_token='users-token'),
        KeystoneToken('users-token'),
        RequestContext(),
        KeystonePassword('secret'),
    ],
    ids=['request', 'token', 'no-token', 'password'],
)
def test_whose_token_goes_along(fake: FakeAgent, make_driver: MakeDriver, context: Any) -> None:
    own = make_driver(agent_socket=fake.path)
    key_id = own.create_key(context, 'aes', 256)
    assert 'X-Auth-Token' not in fake.requests[-1][2]
    forwarding = make_driver(agent_socket=fake.path, forward_user_token=True)
    if getattr(context, 'auth_token', None) or getattr(context, 'token', None):
        forwarding.get(context, key_id)
        assert fake.requests[-1][2]['X-Auth-Token'] == 'users-token'
    else:
        with pytest.raises(exception.Forbidden, match='forward_user_token'):
            forwarding.get(context, key_id)


def test_the_fixed_key_of_old(fake: FakeAgent, make_driver: MakeDriver) -> None:
    driver = make_driver(agent_socket=fake.path, fixed_key='00' * 32)
    assert type(driver).__name__ == 'MigrationKeyManager'
    assert isinstance(driver, ChatelaineKeyManager)
    assert driver.get(CONTEXT, FIXED_ID).get_encoded() == bytes(32)
    driver.delete(CONTEXT, FIXED_ID)
    assert fake.requests == []
    object_id = driver.store(CONTEXT, OBJECTS[0])
    assert driver.get(CONTEXT, object_id) == OBJECTS[0]
    assert [one.id for one in driver.list(CONTEXT)] == [object_id]
    driver.delete(CONTEXT, object_id)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        driver.get(CONTEXT, object_id)


def test_drivers_that_nobody_uses_cost_nothing(fake: FakeAgent, make_driver: MakeDriver) -> None:
    for options in ({'agent_socket': '/nowhere'}, {'agent_socket': fake.path}, {'wrapping': 'server'}):
        assert make_driver(**options)._server is None or options == {'wrapping': 'server'}
    assert fake.connections == 0


def test_options() -> None:
    configuration = cfg.ConfigOpts()
    driver = ChatelaineKeyManager(configuration)
    assert configuration.chatelaine.wrapping == 'agent'
    assert configuration.chatelaine.agent_socket == '/run/chatelaine/agent.sock'
    assert configuration.chatelaine.forward_user_token is False
    assert driver.list_options_for_discovery() == list_opts()
    # As oslo-config-generator asks for them, and as services set defaults.
    assert ('chatelaine', list_opts()[0][1]) in castellan_options.list_opts()
    castellan_options.set_defaults(configuration, backend='chatelaine')
    for option, value in [('wrapping', 'nobody'), ('timeout', '0'), ('max_connections', '0')]:
        with pytest.raises(ValueError):
            configuration.set_override(option, value, group='chatelaine')


def test_greenthreads_wait_beside_each_other(fake: FakeAgent) -> None:
    program = f"""
import warnings
warnings.simplefilter('ignore')
import eventlet
eventlet.monkey_patch()
import time
from chatelaine.agent import Agent
from chatelaine import errors

agent = Agent({fake.path!r}, timeout=10, max_connections=8)
ids = [agent.create_key('aes').document.id for _ in range(8)]
ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        eventlet.sleep(0.01)

eventlet.spawn(tick)
pool = eventlet.GreenPool(40)
start = time.monotonic()
found = list(pool.imap(lambda n: agent.key(ids[n % 8]).document.id, range(40)))
took = time.monotonic() - start
assert found == [ids[n % 8] for n in range(40)], found
assert ticks > 5, ticks

# A greenthread that is ended in the middle leaves no half answer behind.
with eventlet.Timeout(0.1, False):
    agent.key('{FIXED_ID}')
    raise AssertionError('no answer was to come')
assert [agent.key(one).document.id for one in ids * 3] == ids * 3
print(f'{{took:.3f}}')
"""
    # Each of the 40 takes 0.1 s, 8 at a time.
    fake.faults += [lambda handler: False] * 8 + [fake_agent.wait(0.1)] * 40 + [fake_agent.hang(3)]
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 0.4 < float(done.stdout) < 2.5
    assert fake.connections <= 10
