"""Keys and CSRs: openssl reads what is made here, and no bytes of a stranger raise anything but CsrError."""

import base64
import functools
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from cvmd.errors import CsrError
from cvmd.issuer.keys import (
    MAX_CSR,
    P256KeyMaker,
    certificate_key_id,
    check_csr,
    csr_key_id,
    der_to_pem,
    pem_to_der,
    to_pkcs8,
)
from tests.cvmd.issuer.conftest import key_id, name, openssl

SERIAL = b"dev_0001"
MAKER = P256KeyMaker()


@functools.cache
def rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    # Tests alone: a tiny exponent is what is to be refused.
    return rsa.generate_private_key(exponent, bits)


@functools.cache
def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


CN = name((NameOID.COMMON_NAME, SERIAL.decode()))


def csr_of(key: Any, subject: x509.Name = CN, hash_: Any = None, **sign: Any) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hash_ or hashes.SHA256(), **sign).public_bytes(Encoding.DER)


def refused(csr_der: bytes, serial: bytes = SERIAL) -> int:
    with pytest.raises(CsrError) as caught:
        check_csr(csr_der, serial)
    return caught.value.detail


# What is made here


def test_a_key_is_sec1_and_its_csr_names_the_issuance() -> None:
    pair = MAKER.make("A" * 52)
    key = load_der_private_key(pair.key_der.reveal(), None)
    csr = x509.load_der_x509_csr(pair.csr_der)
    assert len(pair.key_der.reveal()) == 121
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert isinstance(csr.signature_hash_algorithm, hashes.SHA256)
    assert csr.subject == name((NameOID.COMMON_NAME, "A" * 52))
    assert pair.public_key_id == key_id(key) == csr_key_id(pair.csr_der)
    assert pair.public_key_id == check_csr(pair.csr_der, b"A" * 52)


def test_no_two_keys_are_alike() -> None:
    assert len({MAKER.make("x").public_key_id for _ in range(20)}) == 20


def test_openssl_agrees_with_key_and_csr() -> None:
    pair = MAKER.make("B" * 52)
    shown = openssl("req", "-inform", "DER", "-verify", "-noout", "-subject", "-pubkey", given=pair.csr_der)
    shown = shown.decode()
    assert f"CN = {'B' * 52}" in shown
    sec1 = openssl("ec", "-inform", "DER", "-pubout", given=pair.key_der.reveal()).decode()
    pkcs8 = openssl("pkey", "-inform", "DER", "-pubout", given=to_pkcs8(pair.key_der).reveal()).decode()
    assert sec1 in shown
    assert sec1 == pkcs8
    pem = der_to_pem(pair.csr_der, "CERTIFICATE REQUEST")
    assert openssl("req", given=pem.encode()).decode() == pem


def test_inv4_pkcs8_is_always_the_same_138_bytes() -> None:
    pair = MAKER.make("x")
    pkcs8 = to_pkcs8(pair.key_der)
    assert len(pkcs8.reveal()) == 138
    assert pkcs8 == to_pkcs8(pair.key_der)
    assert pkcs8.reveal() == openssl(
        "pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", given=pair.key_der.reveal()
    )


# What devices may send


@pytest.mark.parametrize("subject", [CN, x509.Name([])])
@pytest.mark.parametrize(
    ("key", "hash_"),
    [
        (lambda: ec_key(), hashes.SHA256()),
        (lambda: ec_key(), hashes.SHA512()),
        (lambda: ec_key(ec.SECP384R1), hashes.SHA384()),
        (lambda: rsa_key(2048), hashes.SHA256()),
        (lambda: rsa_key(4096), hashes.SHA512()),
    ],
)
def test_acceptable_csrs(key: Any, hash_: Any, subject: x509.Name) -> None:
    csr_der = csr_of(key(), subject, hash_)
    assert len(csr_der) <= MAX_CSR
    assert check_csr(csr_der, SERIAL) == key_id(key()) == csr_key_id(csr_der)


@pytest.mark.parametrize("serial", [b"a", b"Z" * 64, b"A-z:0_9."])
@pytest.mark.parametrize("mask", ["utf8only", "nombstr"])
def test_openssls_own_csr_is_acceptable_whatever_string_type_it_picks(serial: bytes, mask: str) -> None:
    csr_der = openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
        "-subj", f"/CN={serial.decode()}", "-outform", "DER", "-config", "/dev/stdin",
        given=f"[req]\ndistinguished_name=d\nstring_mask={mask}\n[d]\n".encode(),
    )  # fmt: skip
    if mask == "nombstr" and b"_" in serial:
        assert refused(csr_der, serial) == 4  # T61String: nobody's choice since RFC 5280
    else:
        assert check_csr(csr_der, serial) == csr_key_id(csr_der)


@pytest.mark.parametrize(
    "csr_der",
    [
        b"",
        b"\x30",
        b"not der",
        b"\x30\x80" + bytes(100),
        bytes(MAX_CSR),
        csr_of(ec_key()) + b"\x00",
        csr_of(ec_key())[:-1],
    ],
)
def test_detail_1_what_is_no_csr(csr_der: bytes) -> None:
    assert refused(csr_der) == 1


def test_detail_1_too_long_is_not_even_parsed() -> None:
    assert refused(csr_of(ec_key(), name(*[(NameOID.ORGANIZATION_NAME, "o" * 60)] * 40))) == 1


@pytest.mark.parametrize(
    "csr_der",
    [
        pytest.param(lambda: csr_of(ec_key(ec.SECP256K1)), id="secp256k1"),
        pytest.param(lambda: csr_of(ec_key(ec.SECP521R1)), id="P-521"),
        pytest.param(lambda: csr_of(rsa_key(1024)), id="RSA-1024"),
        pytest.param(lambda: csr_of(rsa_key(2048, 3)), id="RSA exponent 3"),
        pytest.param(lambda: unusual(ed25519.Ed25519PrivateKey.generate(), None), id="Ed25519"),
    ],
)
def test_detail_2_keys_that_aws_or_sense_refuse(csr_der: Any) -> None:
    assert refused(csr_der()) == 2


def unusual(key: Any, hash_: Any) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(CN)
    return builder.sign(key, hash_).public_bytes(Encoding.DER)


def test_detail_2_a_compressed_point_is_refused(tmp_path: Path) -> None:
    plain = ec_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key_der = openssl("ec", "-inform", "DER", "-conv_form", "compressed", "-outform", "DER", given=plain)
    (tmp_path / "key").write_bytes(key_der)
    csr_der = openssl(
        "req", "-new", "-key", str(tmp_path / "key"), "-keyform", "DER", "-subj", f"/CN={SERIAL.decode()}",
        "-outform", "DER", "-config", "/dev/stdin", given=b"[req]\ndistinguished_name=d\n[d]\n",
    )  # fmt: skip
    assert refused(csr_der) == 2


@pytest.mark.parametrize(
    "csr_der",
    [
        pytest.param(lambda: csr_of(ec_key())[:-3] + b"\x01\x02\x03", id="last bytes changed"),
        pytest.param(lambda: csr_of(ec_key()).replace(point(ec_key()), point(OTHER_KEY)), id="another's key"),
        pytest.param(lambda: csr_of(rsa_key(2048), rsa_padding=PSS), id="RSA-PSS"),
        pytest.param(lambda: unusual(ec_key(), hashes.SHA224()), id="SHA-224"),
    ],
)
def test_detail_3_signatures(csr_der: Any) -> None:
    assert refused(csr_der()) == 3


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize(
    "subject",
    [
        name((NameOID.COMMON_NAME, "dev_0002")),
        name((NameOID.COMMON_NAME, "DEV_0001")),
        name((NameOID.COMMON_NAME, "dev_0001 ")),
        name((NameOID.COMMON_NAME, "dev_0001\x00")),
        name((NameOID.COMMON_NAME, "dev_000\u0661")),
        name((NameOID.COMMON_NAME, "dev_0001"), (NameOID.COMMON_NAME, "admin")),
        name((NameOID.COMMON_NAME, "dev_0001"), (NameOID.ORGANIZATION_NAME, "Admins")),
        name((NameOID.ORGANIZATION_NAME, "dev_0001")),
        name((NameOID.USER_ID, "dev_0001")),
        x509.Name([
            x509.RelativeDistinguishedName([
                x509.NameAttribute(NameOID.COMMON_NAME, "dev_0001"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Admins"),
            ])
        ]),
    ],
)  # fmt: skip
def test_detail_4_a_subject_that_says_anything_but_the_serial(subject: x509.Name) -> None:
    assert refused(csr_of(ec_key(), subject)) == 4


def test_detail_4_an_overlong_name_is_refused_without_a_warning() -> None:
    with pytest.warns(UserWarning, match="length must be"):  # the library's, at the making
        overlong = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 65, _validate=False)])
    assert refused(csr_of(ec_key(), overlong)) == 4


def test_detail_5_extensions_and_attributes() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(CN)
    with_extension = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    with_attribute = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"password")
    for each in (with_extension, with_attribute):
        assert refused(each.sign(ec_key(), hashes.SHA256()).public_bytes(Encoding.DER)) == 5


VALID = [csr_of(ec_key()), csr_of(ec_key(ec.SECP384R1), x509.Name([])), csr_of(rsa_key(2048))]


KINDS = st.sampled_from(["set", "cut", "add"])
CHANGE = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), KINDS)


@settings(max_examples=600)
@given(st.sampled_from(VALID), st.lists(CHANGE, min_size=1, max_size=4))
def test_a_changed_csr_is_a_csr_error_and_never_another(valid: bytes, changes: list[tuple[float, int, str]]) -> None:
    csr_der = bytearray(valid)
    for where, byte, kind in changes:
        at = int(where * len(csr_der))
        if kind == "set":
            csr_der[at] = byte
        elif kind == "cut":
            del csr_der[at : at + byte % 8 + 1]
        else:
            csr_der[at:at] = bytes([byte])
    if bytes(csr_der) != valid:
        assert 1 <= refused(bytes(csr_der)) <= 5


@given(st.binary(max_size=MAX_CSR + 10))
def test_any_bytes_are_a_csr_error(noise: bytes) -> None:
    assert refused(noise) == 1


@pytest.mark.parametrize("valid", VALID[:2])
def test_a_csr_with_any_one_bit_flipped_is_refused(valid: bytes) -> None:
    for position in range(len(valid)):
        for bit in range(8):
            changed = bytearray(valid)
            changed[position] ^= 1 << bit
            assert 1 <= refused(bytes(changed)) <= 5


def test_an_error_shows_nothing_of_the_csr() -> None:
    with pytest.raises(CsrError) as caught:
        check_csr(csr_of(ec_key(), name((NameOID.COMMON_NAME, "\x1b[31mterminal"))), SERIAL)
    assert "\x1b" not in str(caught.value)
    assert "terminal" not in str(caught.value)


# Encodings


@given(st.binary(min_size=1, max_size=3000))
def test_pem_and_der_are_each_others_inverse(der: bytes) -> None:
    pem = der_to_pem(der, "CERTIFICATE")
    assert pem_to_der(pem, "CERTIFICATE") == der
    assert max(map(len, pem.splitlines())) <= 64
    assert pem_to_der(pem.replace("\n", "\r\n") + "\n\n", "CERTIFICATE") == der


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "<html>",
        base64.b64encode(b"x" * 100).decode(),
        der_to_pem(b"one", "CERTIFICATE") * 2,
        der_to_pem(b"one", "CERTIFICATE") + "text",
        "text\n" + der_to_pem(b"one", "CERTIFICATE"),
        der_to_pem(b"one", "PRIVATE KEY"),
        der_to_pem(b"one", "CERTIFICATE").replace("b25l", "b25"),
        der_to_pem(b"one", "CERTIFICATE").replace("b25l", "b2=l"),
        der_to_pem(b"one", "CERTIFICATE").replace("b25l", "b2!l"),
        der_to_pem(b"one", "CERTIFICATE").replace("END CERT", "END CURT"),
    ],
)
def test_what_is_not_exactly_one_pem_block_is_a_value_error(pem: str) -> None:
    with pytest.raises(ValueError, match="PEM block CERTIFICATE"):
        pem_to_der(pem, "CERTIFICATE")


@given(st.binary(max_size=300))
def test_what_is_no_certificate_is_a_value_error(noise: bytes) -> None:
    with pytest.raises(ValueError, match=r"no X\.509 certificate"):
        certificate_key_id(noise)
