"""The neighbours the tests meet, and the end of their logs when a test fails. A skipped test is a failed test."""

import pytest

from support import servers
from support.agent import Agent
from support.barbican import Barbican
from support.certificates import Authority
from support.chatelaine import Chatelaine
from support.key_manager import USER, KeyManager
from support.keystone import Keystone
from support.native import Keys
from support.standalone import Standalone


@pytest.fixture(scope='session')
def keystone(tmp_path_factory):
    """One Keystone for all tests; who stops it starts it again."""
    keystone = Keystone(tmp_path_factory.mktemp('keystone'))
    yield keystone
    keystone.stop()


@pytest.fixture(scope='session')
def short_lived(keystone):
    """The URL of a front end of the same Keystone whose tokens live two seconds."""
    server, url = keystone.front_end('keystone-short-lived', expiration=2)
    yield url
    server.stop()


@pytest.fixture(scope='module')
def barbican(keystone, tmp_path_factory):
    """The Barbican that ours is compared with, as new as ours, with the rules it recommends."""
    barbican = Barbican(tmp_path_factory.mktemp('barbican'), keystone)
    yield barbican
    barbican.stop()


@pytest.fixture(scope='module')
def barbican_legacy(keystone, tmp_path_factory):
    """Another with the rules it starts with when nobody chooses."""
    barbican = Barbican(tmp_path_factory.mktemp('barbican-legacy'), keystone, new_defaults=False)
    yield barbican
    barbican.stop()


@pytest.fixture(scope='module')
def chatelaine(keystone, tmp_path_factory):
    """A key manager with default settings, for the tests of one file."""
    chatelaine = Chatelaine(tmp_path_factory.mktemp('chatelaine'), keystone)
    yield chatelaine
    chatelaine.stop()


@pytest.fixture
def own_chatelaine(keystone, tmp_path):
    """Makes a key manager for one test, with settings of its own; the catalogue names the last one made."""
    made = []

    def make(settings=None):
        state = tmp_path / f'chatelaine-{len(made)}'
        state.mkdir()
        made.append(Chatelaine(state, keystone, settings))
        return made[-1]

    yield make
    for chatelaine in made:
        chatelaine.stop()


@pytest.fixture
def agents(tmp_path):
    """Makes agents of services of a key manager; each service has a token of its own."""
    made: list[Agent] = []

    def make(server, service: str = 'service', *settings: str, name: str = '', token: str = '', init: bool = True) -> Agent:
        name = name or f'agent-{service}-{len(made)}'
        token_file = tmp_path / f'{name}.token'
        token_file.write_text(token or server.token())
        token_file.chmod(0o600)
        agent = Agent(
            tmp_path, f'key_manager.endpoint={server.url}', f'key_manager.token_file={token_file}', *settings, name=name
        )
        made.append(agent)
        return agent.init() if init else agent

    yield make
    for agent in made:
        agent.remove()


@pytest.fixture
def cinder(keystone, chatelaine):
    """The keys of one service."""
    return Keys(chatelaine.url, keystone.token('cinder', 'service'))


@pytest.fixture
def swift(keystone, chatelaine):
    """The keys of another service."""
    return Keys(chatelaine.url, keystone.token('swift', 'service'))


@pytest.fixture
def standalone(tmp_path):
    """Makes a server without neighbours, started unless told otherwise; all are ended, which must be in good order."""
    made = []

    def make(*settings, authority=None, client=None, start=True, **where):
        folder = tmp_path / f'house-{len(made)}'
        folder.mkdir()
        made.append(Standalone(folder, *settings, **where))
        if authority is not None:
            made[-1].trusting(authority, client)
        return made[-1].start() if start else made[-1]

    yield make
    for house in made:
        assert house.close() in (0, None), house.server.log_tail()


@pytest.fixture
def authority(tmp_path):
    """An authority for certificates."""
    return Authority(tmp_path)


@pytest.fixture(scope='module', params=['barbican', 'chatelaine'])
def catalogued(request, keystone):
    """The name and address of the server whose turn it is, which stands in the catalogue."""
    server = request.getfixturevalue(request.param)
    keystone.set_key_manager(server.url)
    return request.param, server.url


@pytest.fixture
def manager(catalogued, keystone):
    """That server with a project nobody else uses."""
    return KeyManager(*catalogued, keystone, keystone.new_project((USER, 'member'), ('key_admin', 'admin')))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped:
        report.outcome = 'failed'
        report.longrepr = f'nothing is skipped here, and this was: {report.longrepr}'
    if report.failed:
        report.sections += [(server.name, server.log_tail()) for server in servers.running]
    return report
