"""Nova's secrets of servers, in Nova's own database: of their emulated TPMs and their encrypted local disks."""

import uuid

from nova import config, context, crypto, objects
from nova.db import migration
from oslo_config import cfg

objects.register_all()


def start(configuration: str) -> None:
    config.parse_args(['nova-compute', '--config-file', configuration], init_rpc=False)
    assert cfg.CONF.key_manager.backend == 'barbican'
    migration.db_sync(database='main')


def caller(who: dict) -> context.RequestContext:
    return context.RequestContext(**who)


def new_server(who: dict) -> str:
    server = objects.Instance(
        caller(who), uuid=str(uuid.uuid4()), user_id=who['user_id'], project_id=who['project_id'], system_metadata={}
    )
    server.create()
    return server.uuid


def server_of(who: dict, server: str) -> objects.Instance:
    return objects.Instance.get_by_uuid(caller(who), server, expected_attrs=['system_metadata'])


def vtpm(who: dict, server: str, owner: dict | None = None) -> list:
    """The id and the secret of a server's TPM, made at its first start; as somebody else than the server's owner."""
    return list(crypto.ensure_vtpm_secret(caller(who), server_of(owner or who, server)))


def drop_vtpm(who: dict, server: str) -> None:
    crypto.delete_vtpm_secret(caller(who), server_of(who, server))


def new_disk(who: dict, server: str) -> list[str]:
    disk = {'uuid': str(uuid.uuid4())}
    return list(crypto.create_encryption_secret(caller(who), server_of(who, server), disk))


def open_disk(who: dict, secret: str) -> str | bytes | None:
    return crypto.get_encryption_secret(caller(who), secret)


def drop_disk(who: dict, server: str, secret: str) -> None:
    crypto.delete_encryption_secret(caller(who), server, secret)
