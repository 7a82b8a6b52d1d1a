"""Castellan with the driver `chatelaine`: keys that the agent wraps, and keys that the key manager wraps.

The tests of everything that both can do run with each.
"""

import base64
import concurrent.futures
import dataclasses
import datetime
import os
import pathlib
import subprocess
import sys
import textwrap
import uuid

import pytest
from castellan import key_manager as castellan_key_manager
from castellan.common import exception
from castellan.common.credentials.keystone_password import KeystonePassword
from castellan.common.credentials.keystone_token import KeystoneToken
from castellan.common.objects import opaque_data, passphrase, private_key, public_key, symmetric_key, x_509
from castellan.key_manager import barbican_key_manager
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from oslo_config import cfg

from support.agent import Agent, keystone_settings
from support.key_manager import BINARY, CONSUMER, FUTURE, USER, is_recent
from support.keystone import REGION
from support.servers import wait_until

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)
PROGRAM_SECONDS = 120


@dataclasses.dataclass
class Service:
    """A service with Castellan: its file of options, its key manager, and the context of its requests."""

    wrapping: str
    path: pathlib.Path
    keys: object
    context: object


@pytest.fixture(scope='module')
def agent(keystone, chatelaine, tmp_path_factory):
    """Cinder's agent beside a key manager."""
    folder = tmp_path_factory.mktemp('agent')
    agent = Agent(folder, *keystone_settings(folder, keystone, chatelaine.url, 'cinder')).init().start()
    yield agent
    agent.remove()


@pytest.fixture
def service(keystone, chatelaine, tmp_path):
    """Makes a service with these options of `[chatelaine]`, and any in `[key_manager]`."""

    def make(context, key_manager=(), **options):
        lines = ['[key_manager]', 'backend = chatelaine', *key_manager, '[chatelaine]']
        lines += [f'{name} = {value}' for name, value in options.items()]
        lines += ['[barbican]', f'auth_endpoint = {keystone.url}', f'barbican_region_name = {REGION}']
        path = tmp_path / f'service-{uuid.uuid4()}.conf'
        path.write_text('\n'.join(lines) + '\n')
        return Service(options['wrapping'], path, castellan(path), context)

    # Those that look for a key manager in the catalogue find this one.
    keystone.set_key_manager(chatelaine.url)
    return make


def castellan(path):
    configuration = cfg.ConfigOpts()
    configuration([], project='service', default_config_files=[str(path)], default_config_dirs=[])
    return castellan_key_manager.API(configuration)


def password_of(keystone, user, project):
    return KeystonePassword(
        password=keystone.users[user].password,
        auth_url=keystone.url,
        user_id=keystone.users[user].id,
        project_id=keystone.projects[project],
    )


@pytest.fixture
def wrapped(request, keystone, service):
    """Cinder with its agent."""
    agent = request.getfixturevalue('agent')
    return service(password_of(keystone, 'cinder', 'service'), wrapping='agent', agent_socket=agent.socket_path)


@pytest.fixture
def served(keystone, service):
    """A user's service, in a project nobody else uses, with the key manager."""
    project = keystone.new_project((USER, 'member'))
    return service(password_of(keystone, USER, project), wrapping='server')


@pytest.fixture(params=['wrapped', 'served'])
def either(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='module')
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def managed_objects(key) -> list:
    der = serialization.Encoding.DER
    private = key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'a certificate')])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(der)
    return [
        symmetric_key.SymmetricKey('AES', 256, BINARY[:32], name='symmetric'),
        public_key.PublicKey('RSA', 2048, public, name='public'),
        private_key.PrivateKey('RSA', 2048, private, name='private'),
        passphrase.Passphrase('open sesame', name='passphrase'),
        opaque_data.OpaqueData(BINARY, name='opaque'),
        x_509.X509(certificate, name='certificate'),
    ]


# What both do


def test_every_kind_of_object(either, rsa_key):
    keys, context = either.keys, either.context
    objects = managed_objects(rsa_key)
    made = []
    for stored in objects:
        made.append(keys.store(context, stored))
        read = keys.get(context, made[-1])
        assert read == stored
        assert type(read) is type(stored)
        assert (read.name, read.id, read.consumers) == (stored.name, made[-1], [])
        assert is_recent(datetime.datetime.fromtimestamp(read.created, datetime.UTC))
        known = keys.get(context, made[-1], metadata_only=True)
        assert (type(known), known.get_encoded(), known.name, known.created) == (
            type(stored),
            None,
            stored.name,
            read.created,
        )
        assert made[-1] in [one.id for one in keys.list(context, type(stored), metadata_only=True)]
    listed = {one.id: one for one in keys.list(context)}
    assert [listed[one] for one in made] == objects
    for one in made:
        keys.delete(context, one)
        with pytest.raises(exception.ManagedObjectNotFoundError):
            keys.get(context, one)
    assert not set(made) & {one.id for one in keys.list(context, metadata_only=True)}


def test_keys_are_made(either):
    keys, context = either.keys, either.context
    for length in (128, 256):
        # Without a name, as volumes are encrypted.
        key = keys.get(context, keys.create_key(context, algorithm='aes', length=length))
        assert (type(key), key.algorithm, key.bit_length, key.name) == (symmetric_key.SymmetricKey, 'aes', length, None)
        assert len(key.get_encoded()) * 8 == length
    # The copy of a key, as of a volume.
    copy = keys.get(context, keys.store(context, key))
    assert copy == key
    assert copy.id != key.id
    named = keys.create_key(context, 'AES', 256, name='named', expiration=FUTURE)
    assert keys.get(context, named).name == 'named'
    private_id, public_id = keys.create_key_pair(context, 'RSA', 2048, name='pair')
    private = serialization.load_der_private_key(keys.get(context, private_id).get_encoded(), None)
    public = serialization.load_der_public_key(keys.get(context, public_id).get_encoded())
    assert private.public_key().public_numbers() == public.public_numbers()
    assert type(keys.get(context, public_id, metadata_only=True)) is public_key.PublicKey


def test_the_listing_has_all(either):
    keys, context = either.keys, either.context
    made = {keys.store(context, opaque_data.OpaqueData(b'x')) for _ in range(103)}
    assert made <= {one.id for one in keys.list(context, metadata_only=True)}
    with pytest.raises(exception.KeyManagerError):
        keys.list(context, object_type=str)


def test_what_is_not_there(either):
    keys, context = either.keys, either.context
    for absent in (str(uuid.uuid4()), 'no-uuid'):
        for call in (
            lambda: keys.get(context, absent),
            lambda: keys.get(context, absent, metadata_only=True),
            lambda: keys.delete(context, absent),
            lambda: keys.delete(context, absent, force=True),
        ):
            with pytest.raises(exception.ManagedObjectNotFoundError):
                call()
    with pytest.raises(exception.KeyManagerError):
        keys.get(context, None)
    for call in (lambda: keys.get(None, absent), lambda: keys.create_key(None, 'aes', 256), lambda: keys.list(None)):
        with pytest.raises(exception.Forbidden):
            call()


def test_what_cannot_be_made(either):
    keys, context = either.keys, either.context
    for call in (
        lambda: keys.create_key(context, 'aes', 17),
        lambda: keys.create_key(context, 'rot13', 256),
        lambda: keys.create_key_pair(context, 'rsa', 17),
        lambda: keys.create_key(context, 'aes', 256, expiration='tomorrow'),
        lambda: keys.create_key(context, 'aes', 256, expiration='2001-01-01T00:00:00'),
        lambda: keys.store(context, opaque_data.OpaqueData(b'')),
    ):
        with pytest.raises(exception.KeyManagerError) as caught:
            call()
        assert not isinstance(caught.value, exception.Forbidden)


def test_what_expires_is_gone(either):
    keys, context = either.keys, either.context
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    key_id = keys.store(context, passphrase.Passphrase(b'brief'), expiration=soon.isoformat())
    assert keys.get(context, key_id).get_encoded() == b'brief'

    def is_gone():
        try:
            keys.get(context, key_id)
        except exception.ManagedObjectNotFoundError:
            return True
        return False

    wait_until('the expiry', is_gone, 20)
    assert key_id not in [one.id for one in keys.list(context, metadata_only=True)]


def test_a_fixed_key_of_old(either, service):
    options = {'wrapping': either.wrapping}
    if either.wrapping == 'agent':
        text = either.path.read_text()
        options['agent_socket'] = text.split('agent_socket = ')[1].split()[0]
    old = service(either.context, key_manager=[f'fixed_key = {"00" * 32}'], **options)
    fixed = '00000000-0000-0000-0000-000000000000'
    assert old.keys.get(old.context, fixed).get_encoded() == bytes(32)
    key_id = old.keys.create_key(old.context, 'aes', 256)
    assert either.keys.get(either.context, key_id) == old.keys.get(old.context, key_id)
    old.keys.delete(old.context, key_id)
    with pytest.raises(exception.ManagedObjectNotFoundError):
        old.keys.get(old.context, key_id)


def test_threads(either):
    keys, context = either.keys, either.context
    made = [keys.create_key(context, 'aes', 256) for _ in range(8)]
    expected = {one: keys.get(context, one) for one in made}
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        read = list(threads.map(lambda number: keys.get(context, made[number % 8]), range(160)))
    assert [one == expected[one.id] for one in read] == [True] * 160


def test_forked_workers(either):
    """A service loads its key manager and forks, as uwsgi and oslo.service do."""
    keys, context = either.keys, either.context
    made = [keys.create_key(context, 'aes', 256) for _ in range(4)]
    expected = [keys.get(context, one) for one in made]
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(10):
                    assert [keys.get(context, one) for one in made] == expected
                status = 0
            finally:
                os._exit(status)
        children.append(child)
        assert [keys.get(context, one) for one in made] == expected
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4


GREENTHREADS = """
    import warnings
    warnings.simplefilter('ignore')
    import eventlet
    eventlet.monkey_patch()
    import sys
    from castellan import key_manager
    from castellan.common.credentials.keystone_password import KeystonePassword
    from oslo_config import cfg

    path, auth_url, user_id, password, project_id = sys.stdin.read().split()
    configuration = cfg.ConfigOpts()
    configuration([], project='service', default_config_files=[path], default_config_dirs=[])
    keys = key_manager.API(configuration)
    context = KeystonePassword(password=password, auth_url=auth_url, user_id=user_id, project_id=project_id)
    ticks = 0

    def tick():
        global ticks
        while True:
            ticks += 1
            eventlet.sleep(0.001)

    eventlet.spawn(tick)
    made = [keys.create_key(context, 'aes', 256) for _ in range(4)]
    expected = [keys.get(context, one) for one in made]
    pool = eventlet.GreenPool(50)
    read = list(pool.imap(lambda number: keys.get(context, made[number % 4]), range(200)))
    assert read == [expected[number % 4] for number in range(200)]
    assert len(set(pool.imap(lambda _: keys.create_key(context, 'aes', 256), range(20)))) == 20
    # Nobody was kept from running meanwhile.
    assert ticks > 3, ticks
"""


def test_greenthreads(either):
    context = either.context
    given = [either.path, context.auth_url, context.user_id, context.password, context.project_id]
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(GREENTHREADS)],
        input='\n'.join(map(str, given)),
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert done.returncode == 0, done.stderr


# Keys that the agent wraps


def test_the_key_manager_never_sees_a_wrapped_key(wrapped, chatelaine, cinder):
    stored = symmetric_key.SymmetricKey('AES', 256, os.urandom(32))
    key_id = wrapped.keys.store(wrapped.context, stored)
    answer = cinder.get(key_id)
    assert answer.status_code == 200
    key = stored.get_encoded()
    released = base64.b64decode(answer.json()['key_string'])
    # An envelope: more than the key, and the key is nowhere in it.
    assert len(released) > len(key)
    for text in (key, key.hex().encode(), base64.b64encode(key)):
        assert text not in released
        assert not [file for file in chatelaine.files() if text in file.read_bytes()]


def test_wrapped_keys_have_no_consumers(wrapped):
    key_id = wrapped.keys.create_key(wrapped.context, 'aes', 256)
    for call in (wrapped.keys.add_consumer, wrapped.keys.remove_consumer):
        with pytest.raises(NotImplementedError, match='wrapping = server'):
            call(wrapped.context, key_id, CONSUMER)


def test_a_users_token_decides_where_it_is_forwarded(wrapped, agent, keystone, service):
    key_id = wrapped.keys.create_key(wrapped.context, 'aes', 256)

    def forwarding(user, project):
        token = KeystoneToken(keystone.token(user, project).value, auth_url=keystone.url)
        made = service(token, wrapping='agent', agent_socket=agent.socket_path, forward_user_token=True)
        return made.keys.get(made.context, key_id)

    assert forwarding('cinder', 'service').id == key_id
    with pytest.raises(exception.KeyManagerError, match='Forbidden'):
        forwarding('demo', 'demo')
    with pytest.raises(exception.ManagedObjectNotFoundError):
        forwarding('nova', 'service')


def test_without_an_agent(wrapped, service, tmp_path):
    away = service(wrapped.context, wrapping='agent', agent_socket=tmp_path / 'away.sock', timeout=2)
    with pytest.raises(exception.KeyManagerError, match='cannot be reached'):
        away.keys.create_key(away.context, 'aes', 256)


# Keys that the key manager wraps


def test_consumers(served):
    keys, context = served.keys, served.context
    key_id = keys.store(context, passphrase.Passphrase(b'x'))
    keys.add_consumer(context, key_id, CONSUMER)
    assert keys.get(context, key_id).consumers == [CONSUMER]
    with pytest.raises(exception.KeyManagerError):
        keys.delete(context, key_id)
    keys.remove_consumer(context, key_id, CONSUMER)
    assert keys.get(context, key_id).consumers == []
    keys.add_consumer(context, key_id, CONSUMER)
    keys.delete(context, key_id, force=True)
    absent = str(uuid.uuid4())
    for call in (keys.add_consumer, keys.remove_consumer):
        with pytest.raises(exception.ManagedObjectNotFoundError):
            call(context, absent, CONSUMER)


def test_denials_are_told(served, keystone, service):
    key_id = served.keys.create_key(served.context, 'aes', 256)
    stranger = service(password_of(keystone, 'alt_member', 'alt_demo'), wrapping='server')
    for call in (
        lambda: stranger.keys.get(stranger.context, key_id),
        lambda: stranger.keys.delete(stranger.context, key_id),
    ):
        # Cinder and Nova look at the class and the word, others at Castellan's own class.
        with pytest.raises(exception.Forbidden, match='Forbidden') as caught:
            call()
        assert isinstance(caught.value, exception.KeyManagerError)
    nobody = password_of(keystone, USER, 'demo')
    nobody._password = 'wrong'
    with pytest.raises(exception.Forbidden, match='Forbidden'):
        stranger.keys.get(nobody, key_id)


def test_a_revoked_token_is_logged_in_anew(served, keystone):
    """Credentials with a password outlive the token that they got."""
    keys, context = served.keys, served.context
    key_id = keys.create_key(context, 'aes', 256)
    (login,) = keys._server._logins.values()
    session = login.client.client.session
    revoked = session.get_token()
    session.delete(f'{keystone.url}/auth/tokens', headers={'X-Subject-Token': revoked})
    assert keys.get(context, key_id).id == key_id


def test_it_needs_fewer_requests_than_castellans_own_driver(served, chatelaine, monkeypatch):
    import requests

    asked = []
    send = requests.Session.send

    def counting(session, request, **how):
        if request.url.startswith(chatelaine.url):
            asked.append(f'{request.method} {request.path_url}')
        return send(session, request, **how)

    monkeypatch.setattr(requests.Session, 'send', counting)
    own = barbican_key_manager.BarbicanKeyManager(served.keys._server.conf)

    def count(call):
        asked.clear()
        call()
        return len(asked)

    context = served.context
    key_id = served.keys.create_key(context, 'aes', 256)
    assert count(lambda: served.keys.get(context, key_id)) == 2
    assert count(lambda: served.keys.get(context, key_id, metadata_only=True)) == 1
    assert count(lambda: served.keys.create_key(context, 'aes', 256)) == 3
    assert count(lambda: served.keys.store(context, opaque_data.OpaqueData(b'x'))) == 1
    assert count(lambda: served.keys.list(context, metadata_only=True)) == 1
    assert count(lambda: own.get(context, key_id)) > 8
    assert own.get(context, key_id) == served.keys.get(context, key_id)
