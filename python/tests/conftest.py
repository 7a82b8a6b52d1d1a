from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from castellan import key_manager
from fake_agent import FakeAgent
from oslo_config import cfg

from chatelaine.agent import Agent

MakeDriver = Callable[..., Any]


@pytest.fixture
def fake(tmp_path: pathlib.Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path)
    yield fake
    fake.stop()


@pytest.fixture
def agent(fake: FakeAgent) -> Iterator[Agent]:
    agent = Agent(fake.path, timeout=5)
    yield agent
    agent.close()


@pytest.fixture
def make_driver(tmp_path: pathlib.Path) -> MakeDriver:
    """Castellan's way to a driver: by its name, from a file of options."""

    def make(fixed_key: str | None = None, **options: object) -> Any:
        lines = ['[key_manager]', 'backend = chatelaine']
        lines += [f'fixed_key = {fixed_key}'] if fixed_key else []
        lines += ['[chatelaine]', *(f'{name} = {value}' for name, value in options.items())]
        path = tmp_path / 'service.conf'
        path.write_text('\n'.join(lines) + '\n')
        configuration = cfg.ConfigOpts()
        configuration([], project='service', default_config_files=[str(path)], default_config_dirs=[])
        return key_manager.API(configuration)

    return make


@pytest.fixture
def driver(fake: FakeAgent, make_driver: MakeDriver) -> Any:
    return make_driver(agent_socket=fake.path, timeout=5)
