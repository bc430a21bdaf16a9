"""A CA of the test's own, and certificates for servers on loopback."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class ServerFiles:
    """A server's certificate and its key."""

    certificate: Path
    key: Path


class Pki:
    """Writes into one directory; `ca` is what a device trusts."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = directory / f"{name}.pem"
        certificate = self._certificate(self._name, self._key, days=3650, extension=x509.BasicConstraints(True, None))
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))

    def server(self, name: str = "server", *, days: float = 90, password: bytes | None = None) -> ServerFiles:
        """Signed for 127.0.0.1, from a day ago until in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        files = ServerFiles(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        certificate = self._certificate(subject, key, days=days, extension=address)
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        seal = NoEncryption() if password is None else BestAvailableEncryption(password)
        files.key.unlink(missing_ok=True)
        files.key.touch(0o600)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, seal))
        return files

    def trusting(self) -> ssl.SSLContext:
        """A device's side that checks."""
        return ssl.create_default_context(cafile=self.ca)

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        signer = self._key.public_key()
        may_sign = subject == self._name
        usage = x509.KeyUsage(not may_sign, False, False, False, False, may_sign, may_sign, False, False)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(extension, critical=True)
            # Since 3.13 Python takes no chain without these (RFC 5280, 4.2.1.1 to 4.2.1.3).
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
