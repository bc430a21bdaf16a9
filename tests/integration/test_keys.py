"""Every key that may be vended, in each encoding, and every key that a device may make: openssl agrees with each."""

import hashlib
from pathlib import Path

import pytest
from harness import KEY_SOURCES, MakeStack, device, openssl, with_products

from protocol.constants import Suite
from tools.client import DirectoryFlash, Done, vend
from tools.stack import Stack

SERVER_MADE = [product for product in KEY_SOURCES if product != "csr"]
HEADINGS = {
    ("ec", "sec1"): "EC PRIVATE KEY", ("rsa", "sec1"): "RSA PRIVATE KEY", ("aws", "sec1"): "RSA PRIVATE KEY",
    ("ec", "pkcs8"): "PRIVATE KEY", ("rsa", "pkcs8"): "PRIVATE KEY", ("aws", "pkcs8"): "PRIVATE KEY",
}  # fmt: skip
"""What openssl calls what is in the file, if it is read as nothing else."""


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return with_products(make_stack(listen__trusted_network=False))


def vended(stack: Stack, directory: Path, product: str, **options: str) -> tuple[Path, str]:
    """Where the files of a new device are, and what openssl says of its public key: that of certificate and key."""
    serial = "-".join(["SN", product, *options.values()])
    where = directory / serial
    result = vend(device(stack, serial, product, suite=Suite.NOISE, **options), DirectoryFlash(where))
    assert isinstance(result.outcome, Done), (serial, result.outcome)
    assert result.meta is not None
    cert_der = (where / "cert.der").read_bytes()
    assert hashlib.sha256(cert_der).hexdigest() == result.meta.certificate_id
    pem = where / "cert.pem"
    pem.write_bytes(openssl("x509", "-inform", "DER", stdin=cert_der))
    openssl("verify", "-CAfile", stack.ca, pem)
    public = openssl("pkey", "-inform", "DER", "-in", where / "key.der", "-pubout")
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == public
    return where, openssl("pkey", "-pubin", "-noout", "-text", stdin=public).decode()


def test_inv4_each_key_in_each_encoding(stack: Stack, tmp_path: Path) -> None:
    for (product, key_format), heading in HEADINGS.items():
        where, said = vended(stack, tmp_path, product, key_format=key_format)
        assert ("2048 bit" if product != "ec" else "prime256v1") in said
        key_der = (where / "key.der").read_bytes()
        structure = openssl("asn1parse", "-inform", "DER", stdin=key_der).decode()
        # PKCS#8 alone names an algorithm; what is inside of it is an OCTET STRING.
        assert ("OBJECT" in structure.splitlines()[3]) == (heading == "PRIVATE KEY"), structure
        writes = ["pkey", "-traditional"] if key_format == "sec1" else ["pkcs8", "-topk8", "-nocrypt"]
        assert openssl(*writes, "-inform", "DER", "-outform", "DER", stdin=key_der) == key_der
        pem = openssl(*writes, "-inform", "DER", stdin=key_der).decode()
        assert pem.startswith(f"-----BEGIN {heading}-----")
    assert {product for product, _ in HEADINGS} == set(SERVER_MADE)


@pytest.mark.parametrize(
    ("key_type", "shown"),
    [("p256", "prime256v1"), ("p384", "secp384r1"), ("rsa2048", "2048 bit"), ("rsa4096", "4096 bit")],
)
def test_each_key_that_a_device_may_make(stack: Stack, tmp_path: Path, key_type: str, shown: str) -> None:
    where, said = vended(stack, tmp_path, "csr", key_type=key_type)
    assert shown in said
    subject = openssl("x509", "-in", where / "cert.pem", "-noout", "-subject", "-nameopt", "RFC2253").decode()
    assert subject == f"subject=CN=SN-csr-{key_type}\n"
    assert stack.aws.calls("CreateCertificateFromCsr") == 1
