"""Octavia's and Magnum's certificates, signed images: the services' own code, with a real Barbican and with ours."""

import base64
import datetime

import pytest
from barbicanclient import exceptions as barbican_exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from support.key_manager import USER
from support.services import Service, ServiceError, caller, castellan, credentials

# The clients themselves warn about what is to change in the libraries they use.
pytestmark = pytest.mark.filterwarnings(
    'ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning', 'ignore::ResourceWarning'
)

LISTENER = 'http://octavia.example.org/v2/lbaas/listeners/1'
IMAGE = b'an image, more or less' * 1000
PEM = serialization.Encoding.PEM


def new_certificate(name: str, key, issuer: x509.Certificate | None = None, issuer_key=None, ca=False):
    """A certificate for a day, self-signed unless an issuer is named."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if ca:
        usage = dict.fromkeys(
            ['digital_signature', 'content_commitment', 'key_encipherment', 'data_encipherment'], False
        ) | dict.fromkeys(['key_agreement', 'encipher_only', 'decipher_only'], False)
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
    return builder.sign(issuer_key or key, hashes.SHA256())


def pem(one) -> str:
    """A certificate or a private key as text, without the last line's end, which some of the clients take away."""
    if isinstance(one, x509.Certificate):
        return one.public_bytes(PEM).decode().strip()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return one.private_bytes(PEM, form, serialization.NoEncryption()).decode().strip()


class Site:
    """A web site's certificate, its key and the intermediate authority that signed it."""

    def __init__(self, name: str):
        self.name = name
        self.authority_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.authority = new_certificate(f'authority of {name}', self.authority_key, ca=True)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.certificate = new_certificate(name, self.key, self.authority, self.authority_key)

    def pkcs12(self) -> bytes:
        return pkcs12.serialize_key_and_certificates(
            self.name.encode(), self.key, self.certificate, [self.authority], serialization.NoEncryption()
        )

    def seen_by(self, loaded: dict) -> bool:
        """Whether a service has loaded all of it."""
        key = serialization.load_pem_private_key(loaded['private_key'].encode(), None)
        return (
            loaded['certificate'] == pem(self.certificate)
            and loaded['intermediates'] == [pem(self.authority)]
            and key.private_numbers() == self.key.private_numbers()
        )


@pytest.fixture(scope='module')
def site():
    return Site('www.example.org')


@pytest.fixture(scope='module')
def other_site():
    return Site('other.example.org')


@pytest.fixture
def owner(manager):
    return caller(manager.keystone.token(USER, manager.project))


# Octavia


@pytest.fixture
def octavia_user(manager):
    """Octavia's own user has nothing to do with the project whose load balancers it keeps."""
    return manager.keystone.new_user(('service', 'service'), ('member', 'service'))


@pytest.fixture
def octavia(manager, octavia_user, tmp_path):
    sections = {
        'certificates': {'cert_manager': 'barbican_cert_manager', 'barbican_auth': 'barbican_acl_auth'},
        'service_auth': credentials(manager.keystone, octavia_user),
    } | castellan(manager.keystone)
    sections['certificates']['region_name'] = sections['barbican']['barbican_region_name']
    with Service('call_octavia', tmp_path, sections) as octavia:
        yield octavia


def test_octavia_loads_what_a_user_has_stored(manager, octavia, octavia_user, owner, site, other_site):
    """Access is granted by the user's token and used by the service's, again and again."""
    client = manager.barbican()
    references = [
        client.secrets.create(name=one.name, payload=one.pkcs12()).store() for one in [site, other_site]
    ]
    with pytest.raises(ServiceError, match='CertificateRetrievalException'):
        octavia.call('load', project_id=owner['project_id'], reference=references[0], sni=[])
    for reference in references * 2:
        octavia.call('accept', who=owner, reference=reference)
    assert [client.acls.get(reference).read.users for reference in references] == [[octavia_user.id]] * 2
    loaded = octavia.call('load', project_id=owner['project_id'], reference=references[0], sni=references[1:])
    assert site.seen_by(loaded['certificate'])
    assert loaded['certificate']['common_name'] == site.name
    assert [other_site.seen_by(one) for one in loaded['sni']] == [True]
    # What it releases was never registered, and that must not hurt.
    octavia.call('release', who=owner, reference=references[0], resource=LISTENER)
    octavia.call('forget', who=owner, reference=references[0])
    assert client.acls.get(references[0]).read.users == []
    with pytest.raises(ServiceError, match='CertificateRetrievalException'):
        octavia.call('load', project_id=owner['project_id'], reference=references[0], sni=[])


def test_octavia_keeps_the_users_on_an_access_list(manager, octavia, octavia_user, owner, site):
    client = manager.barbican()
    nova = manager.keystone.users['nova'].id
    reference = client.secrets.create(name='shared', payload=site.pkcs12()).store()
    client.acls.create(entity_ref=reference, users=[nova], project_access=False).submit()
    octavia.call('accept', who=owner, reference=reference)
    access = client.acls.get(reference).read
    assert (set(access.users), access.project_access) == ({nova, octavia_user.id}, False)
    octavia.call('forget', who=owner, reference=reference)
    access = client.acls.get(reference).read
    assert (access.users, access.project_access) == ([nova], False)


def test_octavia_certificate_containers(manager, octavia, octavia_user, owner, site):
    """The older form: a container of secrets, whose consumers are registered."""
    client = manager.barbican()
    secrets = [
        client.secrets.create(name=name, payload=payload)
        for name, payload in [
            ('Certificate', pem(site.certificate)),
            ('Intermediates', pem(site.authority)),
            ('Private Key', pem(site.key)),
        ]
    ]
    container = client.containers.create_certificate('older', *secrets)
    reference = container.store()
    octavia.call('accept', who=owner, reference=reference)
    loaded = octavia.call('load', project_id=owner['project_id'], reference=reference, sni=[])
    assert site.seen_by(loaded['certificate'])
    found = octavia.call('consume', who=owner, reference=reference, resource=LISTENER)
    assert found == pem(site.certificate)
    assert client.containers.get(reference).consumers == [{'name': 'octavia', 'URL': LISTENER}]
    octavia.call('release', who=owner, reference=reference, resource=LISTENER)
    assert client.containers.get(reference).consumers == []
    octavia.call('forget', who=owner, reference=reference)
    # The container's list first: after that Octavia no longer sees which secrets are in it, and leaves theirs.
    assert client.acls.get(reference).read.users == []
    assert [client.acls.get(secret.secret_ref).read.users for secret in secrets] == [[octavia_user.id]] * 3
    with pytest.raises(ServiceError, match='CertificateRetrievalException'):
        octavia.call('load', project_id=owner['project_id'], reference=reference, sni=[])


def test_octavia_stores_and_reads_other_secrets(manager, octavia, octavia_user, owner, site):
    client = manager.barbican()
    service = caller(
        manager.keystone.identity.token(
            octavia_user, {'project': {'id': manager.keystone.projects['service']}}
        )
    )
    reference = octavia.call(
        'store',
        who=service,
        certificate=pem(site.certificate),
        private_key=pem(site.key),
        intermediates=pem(site.authority),
        name='bundle',
    )
    loaded = octavia.call('load', project_id=service['project_id'], reference=reference, sni=[])
    assert site.seen_by(loaded['certificate'])
    authority = client.secrets.create(name='authority', payload=pem(site.authority)).store()
    assert octavia.call('secret', who=owner, reference=authority) == pem(site.authority)
    with pytest.raises(ServiceError, match='CertificateRetrievalException'):
        octavia.call('load', project_id=owner['project_id'], reference=authority, sni=[])


def test_octavia_with_castellan(manager, octavia, owner, site):
    reference = manager.barbican().secrets.create(name='bundle', payload=site.pkcs12()).store()
    found = octavia.call('by_castellan', who=owner, reference=reference.rsplit('/', 1)[-1])
    assert found == pem(site.certificate)


# Magnum


@pytest.fixture
def magnum(manager, tmp_path):
    """Magnum keeps the certificates of all clusters in its own project."""
    user = manager.keystone.new_user(('service', 'service'), ('member', manager.project))
    sections = {
        'DEFAULT': {'transport_url': 'fake://'},
        'certificates': {'cert_manager_type': 'barbican'},
        'keystone_auth': credentials(manager.keystone, user, manager.project),
        'barbican_client': {'region_name': 'RegionOne', 'endpoint_type': 'publicURL'},
    }
    with Service('call_magnum', tmp_path, sections) as magnum:
        yield magnum


def test_magnum_certificates(manager, magnum, site):
    client = manager.barbican()
    encryption = serialization.BestAvailableEncryption(b'geheim')
    encrypted = site.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption).decode().strip()
    full = {'certificate': pem(site.certificate), 'intermediates': pem(site.authority), 'private_key': encrypted}
    reference = magnum.call('store', **full, passphrase='geheim', name='cluster')
    assert reference.startswith(f'{manager.url}/v1/containers/')
    found = magnum.call('get', reference=reference)
    decrypted = serialization.load_pem_private_key(found.pop('decrypted').encode(), None)
    assert decrypted.private_numbers() == site.key.private_numbers()
    assert found == full | {'passphrase': 'geheim'}
    assert client.containers.get(reference).name == 'cluster'
    bare = magnum.call('store', **full | {'intermediates': None}, passphrase='geheim', name='bare')
    assert magnum.call('get', reference=bare)['intermediates'] is None
    magnum.call('delete', reference=reference)
    with pytest.raises(barbican_exceptions.HTTPClientError):
        client.containers.get(reference).name  # noqa: B018
    assert sorted(secret.name for secret in client.secrets.list()) == [
        'Certificate',
        'Private Key',
        'Private Key Passphrase',
    ]
    magnum.call('delete', reference=bare)
    assert (client.secrets.list(), client.containers.list()) == ([], [])
    with pytest.raises(ServiceError, match='NotFound'):
        magnum.call('get', reference=bare)


# Signed images


@pytest.fixture
def images(manager, tmp_path):
    with Service('call_cursive', tmp_path, castellan(manager.keystone)) as images:
        yield images


def stored(client, certificate: x509.Certificate) -> str:
    """The id of a certificate in the form which the images' documentation tells users to store."""
    secret = client.secrets.create(
        name='signer', payload=certificate.public_bytes(PEM), secret_type='certificate', algorithm='RSA'
    )
    return secret.store().rsplit('/', 1)[-1]


def test_signed_images(manager, images, owner):
    client = manager.barbican()
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key = ec.generate_private_key(ec.SECP384R1())
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
    cases = [
        (rsa_key, 'RSA-PSS', rsa_key.sign(IMAGE, pss, hashes.SHA256())),
        (ec_key, 'ECC_SECP384R1', ec_key.sign(IMAGE, ec.ECDSA(hashes.SHA256()))),
    ]
    for key, kind, signature in cases:
        question = {
            'who': owner,
            'certificate_id': stored(client, new_certificate('signer', key)),
            'hash_method': 'SHA-256',
            'signature': base64.b64encode(signature).decode(),
            'key_type': kind,
        }
        assert images.call('is_good', **question, image=base64.b64encode(IMAGE).decode())
        assert not images.call('is_good', **question, image=base64.b64encode(IMAGE + b'x').decode())
        stranger = caller(manager.keystone.token('alt_listed', 'alt_demo'))
        with pytest.raises(ServiceError, match='Unable to retrieve certificate'):
            images.call('is_good', **question | {'who': stranger}, image='')
        client.secrets.delete(question['certificate_id'])
        with pytest.raises(ServiceError, match='Certificate not found'):
            images.call('is_good', **question, image='')


def test_trusted_image_certificates(manager, images, owner, site, other_site):
    client = manager.barbican()
    signer, root, other_root = (
        stored(client, one) for one in [site.certificate, site.authority, other_site.authority]
    )
    images.call('check_certificate', who=owner, certificate_id=signer, trusted=[other_root, root])
    with pytest.raises(ServiceError, match='SignatureVerificationError'):
        images.call('check_certificate', who=owner, certificate_id=signer, trusted=[other_root])
