"""Keys made here, CSRs made by devices, and the encodings between them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from cvmd.errors import CsrError
from cvmd.model import KeyPair, Secret

MAX_CSR = 2048
"""Bytes of DER (SPEC.md)."""

# SPEC.md's details of CSR_BAD.
_NOT_DER, _KEY, _SIGNATURE, _SUBJECT, _ATTRIBUTES = 1, 2, 3, 4, 5

_EC_SIGNATURES = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
}
_RSA_SIGNATURES = {
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
}
_EXPONENTS = range(65537, 1 << 32, 2)  # NIST SP 800-56B asks for at least 65537; above 32 bits it only costs
_UTF8, _PRINTABLE, _OID, _SEQUENCE, _SET = 0x0C, 0x13, 0x06, 0x30, 0x31
_COMMON_NAME = b"\x55\x04\x03"  # 2.5.4.3

T = TypeVar("T")


def check_csr(csr_der: bytes, serial: bytes) -> bytes:
    """The public key id of an acceptable CSR. Raises CsrError, and nothing else, whatever the bytes are.

    Acceptable: P-256, P-384, or RSA of 2048 to 4096 bits; signed with SHA-2; the subject empty or CN =
    `serial` and no more (AWS copies it, and policies may trust it); no attributes, so no extensions.
    """
    if len(csr_der) > MAX_CSR:
        raise CsrError(_NOT_DER, f"a CSR has at most {MAX_CSR} bytes")
    csr = _judge(_NOT_DER, lambda: x509.load_der_x509_csr(csr_der))
    spki = _judge(_KEY, lambda: _acceptable_key(csr))
    _check_body(csr, spki, serial)
    # The signature comes last, in whole bytes: the parser would pass a BIT STRING with spare bits.
    whole = csr_der.endswith(b"\x00" + csr.signature)
    if not (whole and _judge(_SIGNATURE, lambda: csr.is_signature_valid)):
        raise CsrError(_SIGNATURE, "the CSR's signature is not by its key")
    return hashlib.sha256(spki).digest()


class P256KeyMaker:
    """Makes P-256 keys (implements ports.KeyMaker). It has no state."""

    def make(self, subject_cn: str) -> KeyPair:
        """A new key (SEC1 DER, 121 bytes) and a CSR (SHA-256) with that CN alone."""
        return key_pair(ec.generate_private_key(ec.SECP256R1()), subject_cn)


def key_pair(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, subject_cn: str) -> KeyPair:
    """The key as SEC1 or PKCS#1 DER, and a CSR of it (SHA-256) with that CN alone."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject_cn)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return KeyPair(
        Secret(key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())),
        csr.public_bytes(Encoding.DER),
        hashlib.sha256(_spki(key.public_key())).digest(),
    )


def to_pkcs8(key_der: Secret) -> Secret:
    """The same key, given as SEC1 or PKCS#1, as PKCS#8 DER: 138 bytes of P-256's 121. Always the same bytes (invariant
    4)."""
    # Made here or by AWS, and proven to be the certificate's: to test an RSA key's primes once more takes 34 ms.
    key = load_der_private_key(key_der.reveal(), None, unsafe_skip_rsa_key_validation=True)
    return Secret(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def rsa_key_id(key_der: Secret) -> bytes:
    """The public key id of an RSA key in PKCS#1 DER, which has signed what its public key verifies. Raises ValueError.

    A signature takes 1 ms, the library's own test of an RSA key 34.
    """
    try:
        key = load_der_private_key(key_der.reveal(), None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("of another type")
        scheme = PKCS1v15(), SHA256()
        key.public_key().verify(key.sign(b"proof", *scheme), b"proof", *scheme)
    except Exception as error:  # what the library raises on a stranger's bytes has no common root
        raise ValueError(f"no RSA key: {type(error).__name__}") from None
    return hashlib.sha256(_spki(key.public_key())).digest()


def csr_key_id(csr_der: bytes) -> bytes:
    """The public key id, SHA-256 of the SubjectPublicKeyInfo DER, of a CSR that was checked or made here."""
    return hashlib.sha256(_spki(x509.load_der_x509_csr(csr_der).public_key())).digest()


def certificate_key_id(cert_der: bytes) -> bytes:
    """The public key id of one whole X.509 certificate. Raises ValueError if it is none."""
    try:
        return hashlib.sha256(_spki(x509.load_der_x509_certificate(cert_der).public_key())).digest()
    except Exception as error:  # what the parser raises on a stranger's bytes has no common root
        raise ValueError(f"no X.509 certificate with a key in it: {type(error).__name__}") from None


def der_to_pem(der: bytes, label: str) -> str:
    """RFC 7468. By base64, not by a parser: the bytes inside are not looked at."""
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def pem_to_der(pem: str, label: str) -> bytes:
    """What the one PEM block of that label holds. Raises ValueError if there is anything besides."""
    found = re.fullmatch(rf"\s*-----BEGIN {label}-----([A-Za-z0-9+/=\s]+)-----END {label}-----\s*", pem)
    if found is None:
        raise ValueError(f"not exactly one PEM block {label}")
    try:
        return base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error:
        raise ValueError(f"the PEM block {label} is not base64") from None


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _judge(detail: int, part: Callable[[], T]) -> T:
    """What `part` gives; whatever the library raises on hostile bytes is a CsrError with `detail`."""
    try:
        return part()
    except CsrError:
        raise
    except Exception as error:
        raise CsrError(detail, f"the CSR cannot be read: {type(error).__name__}") from None


def _acceptable_key(csr: x509.CertificateSigningRequest) -> bytes:
    """The SubjectPublicKeyInfo of a key of a type, size and signature that AWS takes."""
    key = csr.public_key()
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            signatures = _EC_SIGNATURES
        case rsa.RSAPublicKey() if 2048 <= key.key_size <= 4096 and key.public_numbers().e in _EXPONENTS:
            signatures = _RSA_SIGNATURES
        case _:
            raise CsrError(_KEY, "the CSR's key is not P-256, P-384 or RSA (2048 to 4096 bits, e = 65537)")
    if csr.signature_algorithm_oid not in signatures:
        raise CsrError(_SIGNATURE, "the CSR is not signed by SHA-256, SHA-384 or SHA-512 and its key's type")
    return _spki(key)


def _check_body(csr: x509.CertificateSigningRequest, spki: bytes, serial: bytes) -> None:
    """Version, subject, key, no attributes: three spellings are right, so the bytes are compared to those.

    The library's reading of names and attributes would warn, or raise, in too many ways before a stranger.
    """
    body = _content(csr.tbs_certrequest_bytes)
    version = b"\x02\x01\x00"
    for name in (b"\x30\x00", _common_name(_UTF8, serial), _common_name(_PRINTABLE, serial)):
        if body.startswith(version + name):
            rest = body[len(version + name) :]
            break
    else:
        raise CsrError(_SUBJECT, "the CSR's subject is neither empty nor CN = the serial alone")
    if not rest.startswith(spki):
        raise CsrError(_KEY, "the CSR's key is not in its usual encoding (uncompressed point, named curve)")
    if rest[len(spki) :] != b"\xa0\x00":
        raise CsrError(_ATTRIBUTES, "the CSR has attributes, or requests extensions: leave them out")


def _common_name(string_type: int, serial: bytes) -> bytes:
    value = _tlv(_OID, _COMMON_NAME) + _tlv(string_type, serial)
    return _tlv(_SEQUENCE, _tlv(_SET, _tlv(_SEQUENCE, value)))


def _tlv(tag: int, content: bytes) -> bytes:
    """DER with a length of one byte: a serial has at most 64 bytes, its name 77."""
    return bytes((tag, len(content))) + content


def _content(der: bytes) -> bytes:
    """What is inside the one element that `der`, known to be DER, consists of."""
    long_form = der[1] & 0x7F if der[1] & 0x80 else 0
    return der[2 + long_form :]
