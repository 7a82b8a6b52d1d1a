"""The verification of signed images, as Glance, Nova and Cinder do it: by certificates in the key manager."""

import base64

import cryptography.exceptions
from castellan import options
from cursive import certificate_utils, signature_utils
from oslo_config import cfg
from oslo_context import context


def start(configuration: str) -> None:
    cfg.CONF(['--config-file', configuration], project='glance')
    options.set_defaults(cfg.CONF)


def is_good(who: dict, certificate_id: str, hash_method: str, signature: str, key_type: str, image: str) -> bool:
    """Whether an image in base64 was signed by the certificate's owner."""
    properties = {
        signature_utils.CERT_UUID: certificate_id,
        signature_utils.HASH_METHOD: hash_method,
        signature_utils.SIGNATURE: signature,
        signature_utils.KEY_TYPE: key_type,
    }
    assert signature_utils.should_create_verifier(properties)
    verifier = signature_utils.get_verifier(context.RequestContext(**who), **properties)
    verifier.update(base64.b64decode(image))
    try:
        verifier.verify()
    except cryptography.exceptions.InvalidSignature:
        return False
    return True


def check_certificate(who: dict, certificate_id: str, trusted: list[str]) -> None:
    """Whether trusted certificates vouch for it, as Nova asks."""
    certificate_utils.verify_certificate(context.RequestContext(**who), certificate_id, trusted)
