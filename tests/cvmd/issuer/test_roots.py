"""The root CA for devices: the shipped ones are Amazon's, a file is one CA certificate or a clear error."""

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import cvmd.issuer.roots
from cvmd.errors import ConfigError
from cvmd.issuer.keys import der_to_pem
from cvmd.issuer.roots import MAX_ROOT_CA, SHIPPED, root_ca


def certificate(*, ca: bool | None, filler: int = 0) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a root of our own")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if filler:
        comment = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.16.840.1.113730.1.13"), bytes(filler))
        builder = builder.add_extension(comment, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(("number", "size", "curve"), [(1, 837, "rsaEncryption"), (3, 442, "prime256v1")])
def test_the_shipped_roots_are_amazons(number: int, size: int, curve: str) -> None:
    der = root_ca(f"amazon-root-ca-{number}", region="eu-west-1")
    shown = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-text"], input=der, capture_output=True,
        check=True, timeout=30,
    ).stdout.decode()  # fmt: skip
    assert len(der) == size
    assert f"subject=C = US, O = Amazon, CN = Amazon Root CA {number}" in shown
    assert curve in shown
    assert "CA:TRUE" in shown


@pytest.mark.parametrize("region", ["", "us-east-1", "us-gov-west-1"])
def test_auto_is_the_root_that_every_ats_endpoint_serves(region: str) -> None:
    assert hashlib.sha256(root_ca("auto", region=region)).hexdigest() == SHIPPED["amazon-root-ca-1"]


def test_auto_does_not_guess_for_china() -> None:
    with pytest.raises(ConfigError, match="cn-north-1; name a file"):
        root_ca("auto", region="cn-north-1")
    root_ca("amazon-root-ca-1", region="cn-north-1")


def test_a_shipped_root_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHIPPED:
        (tmp_path / f"{name}.der").write_bytes(certificate(ca=True))
    monkeypatch.setattr(cvmd.issuer.roots, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ConfigError, match="was changed; install cvmd again"):
        root_ca("auto", region="")


def test_a_file_may_be_pem_or_der(tmp_path: Path) -> None:
    der = certificate(ca=True)
    (tmp_path / "ca.der").write_bytes(der)
    (tmp_path / "ca.pem").write_text(der_to_pem(der, "CERTIFICATE"))
    assert root_ca(str(tmp_path / "ca.der"), region="") == der
    assert root_ca(str(tmp_path / "ca.pem"), region="cn-north-1") == der


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not one X.509 certificate"),
        (b"\xff" * 100, "not one X.509 certificate"),
        (b"-----BEGIN \xff", "not one X.509 certificate"),
        (certificate(ca=True) + b"\n", "not one X.509 certificate"),
        (der_to_pem(certificate(ca=True), "CERTIFICATE").encode() * 2, "not exactly one PEM block"),
        (der_to_pem(b"key", "PRIVATE KEY").encode(), "not exactly one PEM block"),
        (certificate(ca=False), "not a CA's"),
        (certificate(ca=None), "not a CA's"),
        (certificate(ca=True, filler=2000), f"devices take {MAX_ROOT_CA}"),
    ],
)
def test_a_file_that_is_no_root_ca_is_told_why(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "ca").write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        root_ca(str(tmp_path / "ca"), region="")


def test_a_name_that_is_neither_root_nor_file_is_told_what_there_is() -> None:
    with pytest.raises(ConfigError, match="one of auto, amazon-root-ca-1, amazon-root-ca-3"):
        root_ca("amazon-root-ca-4", region="")
