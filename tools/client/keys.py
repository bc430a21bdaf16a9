"""Keys and certificates as a device sees them: a key of its own and its CSR, DER and PEM, does this key fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

KEY_TYPES: Final[Mapping[str, Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]]] = {
    "p256": partial(ec.generate_private_key, ec.SECP256R1()),
    "p384": partial(ec.generate_private_key, ec.SECP384R1()),
    **{f"rsa{bits}": partial(rsa.generate_private_key, 65537, bits) for bits in (2048, 3072, 4096)},
}
"""What a device may make for its CSR (SPEC.md 9.2), by the name of `--key-type`."""
_FORMATS = {"sec1": PrivateFormat.TraditionalOpenSSL, "pkcs8": PrivateFormat.PKCS8}


def new_key(key_type: str) -> bytes:
    """A new key of one of KEY_TYPES, DER (PKCS#8)."""
    return KEY_TYPES[key_type]().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def signing_request(key_der: bytes, serial: str) -> bytes:
    """A CSR for this key, DER: subject CN = the serial, nothing else in it."""
    key = _load(key_der)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey), "made by new_key"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.DER)


def converted(key_der: bytes, key_format: str) -> bytes:
    """The same key as `sec1` (PKCS#1 for RSA) or `pkcs8`, DER."""
    return _load(key_der).private_bytes(Encoding.DER, _FORMATS[key_format], NoEncryption())


def key_pem(key_der: bytes, key_format: str) -> bytes:
    """The same key as PEM."""
    return _load(key_der).private_bytes(Encoding.PEM, _FORMATS[key_format], NoEncryption())


def certificate_pem(cert_der: bytes) -> bytes:
    """The same certificate as PEM."""
    return x509.load_der_x509_certificate(cert_der).public_bytes(Encoding.PEM)


def fits(cert_der: bytes, key_der: bytes) -> bool:
    """Whether this is the certificate of this key; False too where one of them cannot be read."""
    try:
        certified = x509.load_der_x509_certificate(cert_der).public_key()
        own = _load(key_der).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return certified.public_bytes(*form) == own.public_bytes(*form)


def _load(key_der: bytes) -> PrivateKeyTypes:
    # The check of an RSA key's primes takes 34 ms; it is enough that the certificate is of this key.
    return load_der_private_key(key_der, None, unsafe_skip_rsa_key_validation=True)
