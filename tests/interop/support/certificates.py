"""Certificate authorities and what they issue, made in memory and written where a test wants them."""

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


class Issued:
    """A certificate and its private key as PEM files; the key's mode is 0600."""

    def __init__(self, folder: pathlib.Path, name: str, certificate: x509.Certificate, key):
        self.serial = certificate.serial_number
        self.certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.certificate = folder / f'{name}.crt'
        self.key = folder / f'{name}.key'
        self.write(self.certificate, self.key)

    def write(self, certificate: pathlib.Path, key: pathlib.Path) -> None:
        certificate.write_bytes(self.certificate_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)

    @property
    def files(self) -> tuple[str, str]:
        """As clients take them."""
        return str(self.certificate), str(self.key)


class Authority:
    """Signs for servers on loopback and for clients."""

    def __init__(self, folder: pathlib.Path, name: str = 'authority'):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key, -DAY, 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = {'digital_signature': False, 'key_cert_sign': True, 'crl_sign': True}
        others = ['content_commitment', 'key_encipherment', 'data_encipherment', 'key_agreement']
        others += ['encipher_only', 'decipher_only']
        builder = builder.add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False)), critical=True)
        self.file = folder / f'{name}.crt'
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key, begins: datetime.timedelta, ends: datetime.timedelta):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def issue(self, name: str, usage=SERVER, begins=-DAY, ends=DAY) -> Issued:
        """A certificate for 127.0.0.1 that is valid from `begins` to `ends`, counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        addresses = [x509.IPAddress(ipaddress.ip_address('127.0.0.1')), x509.DNSName('localhost')]
        builder = self._builder(subject, key, begins, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return Issued(self._folder, name, builder.sign(self._key, hashes.SHA256()), key)
