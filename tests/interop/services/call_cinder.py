"""Cinder's handling of the keys of encrypted volumes, in Cinder's own database."""

import os_brick.encryptors.luks  # noqa: F401  (loaded by name)
from castellan import key_manager
from cinder import context, coordination, objects

# Other modules want them.
objects.register_all()

from castellan import options  # noqa: E402
from cinder.common import config  # noqa: E402, F401  (registers the options)
from cinder.db import api as db  # noqa: E402
from cinder.db import migration  # noqa: E402
from cinder.keymgr import migration as key_migration  # noqa: E402
from cinder.keymgr import transfer  # noqa: E402
from cinder.volume import volume_types, volume_utils  # noqa: E402
from cinder.volume.flows.api import create_volume  # noqa: E402
from keystoneauth1 import loading  # noqa: E402
from oslo_config import cfg  # noqa: E402


def start(configuration: str) -> None:
    cfg.CONF(['--config-file', configuration], project='cinder')
    options.set_defaults(cfg.CONF)
    # As Keystone's middleware in front of Cinder's API does.
    loading.register_auth_conf_options(cfg.CONF, 'keystone_authtoken')
    loading.load_auth_from_conf_options(cfg.CONF, 'keystone_authtoken')
    migration.db_sync()
    coordination.COORDINATOR.start()


def caller(who: dict) -> context.RequestContext:
    return context.RequestContext(**who)


def keys():
    return key_manager.API(cfg.CONF)


def encrypted_type(name: str, cipher: str, bits: int) -> str:
    """A volume type whose volumes are encrypted."""
    admin = context.get_admin_context()
    made = volume_types.create(admin, name)
    values = {'provider': 'luks', 'cipher': cipher, 'key_size': bits, 'control_location': 'front-end'}
    db.volume_type_encryption_create(admin, made['id'], values)
    return made['id']


def key_for_a_volume(who: dict, volume_type: str, source_key: str | None = None) -> str:
    """What the creation of a volume does: a new key, or the copy of its source's."""
    task = create_volume.ExtractVolumeRequestTask(image_service=None, availability_zones=None)
    source = None if source_key is None else {'encryption_key_id': source_key}
    return task._get_encryption_key_id(keys(), caller(who), volume_type, None, source, None)


def passphrase(who: dict, key_id: str) -> str:
    """What a host opens the volume with when it attaches it."""
    information = {'data': {'volume_id': 'volume', 'device_path': '/dev/null'}}
    encryptor = volume_utils.brick_get_encryptor(information, provider='luks', encryption_key_id=key_id)
    return encryptor._get_encryption_key_as_passphrase(caller(who))


def delete_key(who: dict, key_id: str) -> None:
    """As the user, and as the service where the user may not."""
    volume_utils.delete_encryption_key(caller(who), keys(), key_id)


def add_volume(who: dict, volume_type: str, key_id: str) -> str:
    """A volume and a snapshot of it, in the database only."""
    admin = context.get_admin_context()
    values = {'user_id': who['user_id'], 'project_id': who['project_id'], 'encryption_key_id': key_id}
    volume = objects.Volume(admin, **values, volume_type_id=volume_type, host='here', size=1, status='available')
    volume.create()
    objects.Snapshot(admin, **values, volume_id=volume.id, volume_type_id=volume_type, status='available').create()
    return volume.id


def volume_keys(volume: str) -> list[str]:
    """The keys of the volume and its snapshots."""
    admin = context.get_admin_context()
    snapshots = objects.SnapshotList.get_all_for_volume(admin, volume)
    found = objects.Volume.get_by_id(admin, volume).encryption_key_id
    return [found, *(snapshot.encryption_key_id for snapshot in snapshots)]


def migrate() -> None:
    """Moves volumes off the one key that stood in the configuration."""
    key_migration.migrate_fixed_key(volumes=objects.VolumeList.get_all(context.get_admin_context()))


def hand_over(who: dict, volume: str) -> None:
    """Begins the transfer of a volume: the key becomes the service's."""
    transfer.transfer_create(caller(who), objects.Volume.get_by_id(context.get_admin_context(), volume))


def take_over(who: dict, volume: str) -> None:
    """Ends it: the key becomes the new owner's."""
    transfer.transfer_accept(caller(who), objects.Volume.get_by_id(context.get_admin_context(), volume))
