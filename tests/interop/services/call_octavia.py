"""Octavia's certificate managers and what its API and its workers do with them."""

from octavia.common import config, context, data_models
from octavia.common.tls_utils import cert_parser
from oslo_config import cfg
from stevedore import driver


def start(configuration: str) -> None:
    config.init(['--config-file', configuration])


def manager(name: str | None = None):
    """As the API and the workers load it."""
    return driver.DriverManager(
        namespace='octavia.cert_manager', name=name or cfg.CONF.certificates.cert_manager, invoke_on_load=True
    ).driver


def caller(who: dict) -> context.RequestContext:
    return context.RequestContext(**who)


def store(who: dict, certificate: str, private_key: str, intermediates: str | None, name: str) -> str:
    """As the service's own user."""
    more = {} if intermediates is None else {'intermediates': intermediates.encode()}
    return manager().store_cert(caller(who), certificate.encode(), private_key.encode(), name=name, **more)


def accept(who: dict, reference: str) -> None:
    """What the API does with the certificate of a listener that a user makes."""
    manager().set_acls(caller(who), reference)
    manager().get_cert(caller(who), reference, check_only=True)


def load(project_id: str, reference: str, sni: list[str]) -> dict:
    """What a worker does to fill an amphora: it has no token of the user."""
    names = [data_models.SNI(tls_container_id=reference) for reference in sni]
    listener = data_models.Listener(project_id=project_id, tls_certificate_id=reference, sni_containers=names)
    found = cert_parser.load_certificates_data(manager(), listener)
    return {
        'certificate': tls(found['tls_cert']),
        'sni': [tls(one) for one in found['sni_certs']],
    }


def tls(container: data_models.TLSContainer) -> dict:
    return {
        'common_name': container.primary_cn,
        'certificate': container.certificate.decode(),
        'private_key': container.private_key.decode(),
        'intermediates': [one.decode() for one in container.intermediates],
    }


def consume(who: dict, reference: str, resource: str) -> str:
    """Reads a certificate and registers as its consumer."""
    return manager().get_cert(caller(who), reference, resource, service_name='octavia').get_certificate().decode()


def release(who: dict, reference: str, resource: str) -> None:
    """Ends being a consumer."""
    manager().delete_cert(caller(who), reference, resource, service_name='octavia')


def forget(who: dict, reference: str) -> None:
    """Takes the service's user off the access lists."""
    manager().unset_acls(caller(who), reference)


def secret(who: dict, reference: str) -> bytes | str:
    """A list of revoked certificates, or an authority's certificate."""
    manager().set_acls(caller(who), reference)
    return manager().get_secret(caller(who), reference)


def by_castellan(who: dict, reference: str) -> str:
    """With the other manager, which works as the user."""
    return manager('castellan_cert_manager').get_cert(caller(who), reference).get_certificate().decode()
