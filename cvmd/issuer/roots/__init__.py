"""The root CA that devices verify AWS IoT's MQTT server by: Amazon's two as shipped, or a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography import x509

from cvmd.errors import ConfigError
from cvmd.issuer.keys import pem_to_der

AUTO = "auto"
MAX_ROOT_CA = 2048
"""Bytes of DER: what a small device can be asked to hold."""

SHIPPED = {
    "amazon-root-ca-1": "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "amazon-root-ca-3": "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
}
"""Name → SHA-256 of the DER, as published at https://www.amazontrust.com/repository/."""


def root_ca(choice: str, *, region: str) -> bytes:
    """The root CA as DER. Raises ConfigError, which says what to do.

    `choice` is `amazon-root-ca-1` (RSA, 837 bytes), `amazon-root-ca-3` (P-256, 442 bytes), the path of a file
    that holds one CA certificate (PEM or DER), or `auto`: Amazon Root CA 1. AWS's ATS endpoints present the
    chain to that one to every client that offers RSA signatures; the chain to CA 3 is for clients that offer
    ECDSA alone, which only the firmware's author can know.
    """
    if choice == AUTO:
        if region.startswith("cn-"):
            raise ConfigError(f"root_ca: auto does not know which root signs the endpoints of {region}; name a file")
        choice = "amazon-root-ca-1"
    return _shipped(choice) if choice in SHIPPED else _from_file(Path(choice))


def _shipped(name: str) -> bytes:
    der = (Path(__file__).parent / f"{name}.der").read_bytes()
    if hashlib.sha256(der).hexdigest() != SHIPPED[name]:
        raise ConfigError(f"root_ca: the shipped {name}.der was changed; install cvmd again")
    return der


def _from_file(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        known = ", ".join([AUTO, *SHIPPED])
        raise ConfigError(f"root_ca: {path}: {error.strerror}; give a file, or one of {known}") from error
    try:
        der = pem_to_der(content.decode("ascii"), "CERTIFICATE") if content.startswith(b"-----") else content
        is_ca = _is_ca(x509.load_der_x509_certificate(der))
    except ValueError as error:
        raise ConfigError(f"root_ca: {path} is not one X.509 certificate, PEM or DER: {error}") from error
    if not is_ca:
        raise ConfigError(f"root_ca: {path} is a certificate, but not a CA's (its basicConstraints say so)")
    if len(der) > MAX_ROOT_CA:
        raise ConfigError(f"root_ca: {path} has {len(der)} bytes of DER, devices take {MAX_ROOT_CA}")
    return der


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
