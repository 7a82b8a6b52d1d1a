"""Magnum's certificate manager."""

from magnum.common import config
from magnum.common.cert_manager import cert_manager, get_backend


def start(configuration: str) -> None:
    config.parse_args(['magnum-conductor', '--config-file', configuration])


def manager() -> type[cert_manager.CertManager]:
    """The one its configuration names."""
    return get_backend().CertManager


def store(certificate: str, private_key: str, intermediates: str | None, passphrase: str | None, name: str) -> str:
    return manager().store_cert(
        certificate=certificate,
        private_key=private_key,
        intermediates=intermediates,
        private_key_passphrase=passphrase,
        name=name,
    )


def get(reference: str) -> dict:
    found = manager().get_cert(reference)
    return {
        'certificate': found.get_certificate(),
        'intermediates': found.get_intermediates(),
        'private_key': found.get_private_key(),
        'passphrase': found.get_private_key_passphrase(),
        'decrypted': found.get_decrypted_private_key().decode(),
    }


def delete(reference: str) -> None:
    manager().delete_cert(reference)
