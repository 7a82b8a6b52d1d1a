"""The driver's options, in the group ``[chatelaine]``."""

from __future__ import annotations

from oslo_config import cfg

from chatelaine import agent

GROUP = 'chatelaine'

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        'wrapping',
        default='agent',
        choices=[
            (
                'agent',
                "The agent of this host wraps keys with the service's master key: the key manager cannot read them.",
            ),
            (
                'server',
                'Keys go to the key manager over TLS, by its Barbican API, and it wraps them: whoever its rules let '
                'can read them, for example compute hosts. The options of [barbican] say where it is.',
            ),
        ],
        help='Who wraps the keys.',
    ),
    cfg.StrOpt(
        'agent_socket',
        default=agent.DEFAULT_SOCKET,
        help="The socket of this service's agent on this host.",
    ),
    cfg.FloatOpt(
        'timeout',
        default=agent.DEFAULT_TIMEOUT,
        min=0.1,
        help='Seconds that one call of the agent, or one request to the key manager, may take. The agent itself gives '
        'the key manager its agent.timeout_seconds, which should be less.',
    ),
    cfg.IntOpt(
        'max_connections',
        default=agent.DEFAULT_MAX_CONNECTIONS,
        min=1,
        max=1024,
        help='Most connections of one process to the agent; further calls wait for one.',
    ),
    cfg.BoolOpt(
        'forward_user_token',
        default=False,
        help='With wrapping = agent: give the token of the user whose request it is to the agent, so that the key manager '
        "decides for that user; a context without a token is then refused. Otherwise every operation is the service's own.",
    ),
]


def register(configuration: cfg.ConfigOpts) -> None:
    """Makes the options known; more than once does no harm."""
    configuration.register_opts(OPTIONS, group=GROUP)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For oslo-config-generator."""
    return [(GROUP, OPTIONS)]
