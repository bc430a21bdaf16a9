"""The CA: certificates with the profile of those that AWS IoT signs; and RSA keys made ahead."""

import asyncio
import os
import secrets
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools.awsiot.errors import refusal

# AWS IoT writes its whole issuer into one organizational unit.
ISSUER = x509.Name(
    [
        x509.NameAttribute(
            NameOID.ORGANIZATIONAL_UNIT_NAME,
            "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US",
        )
    ]
)
SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")])
NOT_AFTER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
BACKDATED = timedelta(minutes=2)
LOOPBACK = x509.IPAddress(ip_address("127.0.0.1"))
CURVES = ("secp256r1", "secp384r1", "secp521r1")

CaKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
DeviceKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Issued:
    """A signed certificate: its id is the SHA-256 of the DER, in hex."""

    id: str
    pem: str
    not_before: datetime
    not_after: datetime


def new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Authority:
    """One CA. `kind` is `rsa` (as AWS: sha256WithRSAEncryption) or `ec` (P-256: cheaper, for load tests).

    With a directory the key is made once and found again: ca.key (0600), ca.pem, ca.der.
    Raises ValueError if the directory holds a CA of the other kind.
    """

    def __init__(self, kind: str, state_dir: Path | None = None) -> None:
        self._key = self._load_or_make_key(kind, state_dir)
        self._key_id = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._certificate = self._own_certificate(state_dir)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        self.der = self._certificate.public_bytes(serialization.Encoding.DER)
        if state_dir:
            (state_dir / "ca.pem").write_bytes(self.pem)
            (state_dir / "ca.der").write_bytes(self.der)

    def issue(self, subject: x509.Name, public_key: DeviceKey) -> Issued:
        """A device's certificate, with AWS's profile."""
        certificate = self._sign(
            self._builder(subject, public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
        )
        return Issued(
            certificate.fingerprint(hashes.SHA256()).hex(),
            certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )

    def write_broker(self, name: str, directory: Path) -> None:
        """Write broker.pem and broker.key (0600) for a TLS server at `name`, localhost and 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(each) for each in dict.fromkeys((name, "localhost"))]
        certificate = self._sign(
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([*names, LOOPBACK]), critical=False)
        )
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "broker.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(directory / "broker.key", key)

    def _load_or_make_key(self, kind: str, state_dir: Path | None) -> CaKey:
        if state_dir and (state_dir / "ca.key").exists():
            key = serialization.load_pem_private_key((state_dir / "ca.key").read_bytes(), None)
            wanted = rsa.RSAPrivateKey if kind == "rsa" else ec.EllipticCurvePrivateKey
            if not isinstance(key, wanted):
                raise ValueError(f"{state_dir / 'ca.key'} is no {kind} key: name another directory or kind")
            return key
        key = new_rsa_key() if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
        if state_dir:
            state_dir.mkdir(parents=True, exist_ok=True)
            _write_key(state_dir / "ca.key", key)
        return key

    def _own_certificate(self, state_dir: Path | None) -> x509.Certificate:
        if state_dir and (state_dir / "ca.pem").exists():
            certificate = x509.load_pem_x509_certificate((state_dir / "ca.pem").read_bytes())
            if certificate.public_key() == self._key.public_key():
                return certificate
        return self._sign(
            self._builder(ISSUER, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(digital_signature=True, signs_certificates=True), critical=True)
        )

    def _builder(self, subject: x509.Name, public_key: DeviceKey) -> x509.CertificateBuilder:
        not_before = datetime.now(UTC).replace(microsecond=0) - BACKDATED
        return (
            x509.CertificateBuilder()
            .issuer_name(ISSUER)
            .subject_name(subject)
            .public_key(public_key)
            .serial_number(_serial())
            .not_valid_before(not_before)
            .not_valid_after(NOT_AFTER)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._key_id), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def read_csr(pem: str) -> tuple[x509.Name, DeviceKey]:
    """A CSR's subject and public key, proven by its signature. Raises InvalidRequestException."""
    try:
        csr = x509.load_pem_x509_csr(pem.encode("utf-8"))
        key = csr.public_key()
        signed = csr.is_signature_valid
        subject = csr.subject
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise refusal("InvalidRequestException", "The certificate signing request cannot be read") from error
    if not signed:
        raise refusal("InvalidRequestException", "The certificate signing request has a wrong signature")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return subject, key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return subject, key
    raise refusal("InvalidRequestException", "The key must be P-256, P-384, P-521 or RSA from 2048 bits on")


class RsaKeys:
    """RSA-2048 keys for CreateKeysAndCertificate, made in a thread; `ready` of them are kept in stock.

    The stock is filled from the first key taken on, so that a server that gives none costs nothing.
    """

    def __init__(self, ready: int) -> None:
        self._ready = ready
        self._stock: deque[rsa.RSAPrivateKey] = deque()
        self._filling: asyncio.Task[None] | None = None

    async def take(self) -> rsa.RSAPrivateKey:
        key = self._stock.popleft() if self._stock else await asyncio.to_thread(new_rsa_key)
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self.fill())
        return key

    async def fill(self) -> None:
        while len(self._stock) < self._ready:
            self._stock.append(await asyncio.to_thread(new_rsa_key))

    async def close(self) -> None:
        if self._filling:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)


def _serial() -> int:
    """158 random bits in 20 bytes, always, so that a certificate's size does not vary."""
    return 1 << 158 | secrets.randbits(158)


def _write_key(path: Path, key: CaKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)


def _key_usage(*, digital_signature: bool, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
