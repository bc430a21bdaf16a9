"""Certificates: how they are made, what they say, what may become of them."""

import hashlib
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control

AMAZON = "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US"


def der_of(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def openssl(*arguments: str, given: str = "") -> str:
    run = subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True, text=True)
    return run.stdout


def test_keys_and_certificate_belong_together(iot: IoTClient) -> None:
    made = iot.create_keys_and_certificate()
    pair = made["keyPair"]
    key = serialization.load_pem_private_key(pair["PrivateKey"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert pair["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    public = x509.load_pem_x509_certificate(made["certificatePem"].encode()).public_key()
    assert public == key.public_key()
    assert public == serialization.load_pem_public_key(pair["PublicKey"].encode())


def test_the_id_is_the_digest_of_the_der_and_the_arn_ends_with_it(certificate: dict[str, str]) -> None:
    digest = hashlib.sha256(der_of(certificate["certificatePem"])).hexdigest()
    assert certificate["certificateId"] == digest
    assert certificate["certificateArn"] == f"arn:aws:iot:us-east-1:123456789012:cert/{digest}"


def test_rsa_certificate_has_the_profile_and_size_of_awss(iot: IoTClient) -> None:
    pem = iot.create_keys_and_certificate()["certificatePem"]
    text = openssl("x509", "-noout", "-text", "-nameopt", "utf8,sep_comma_plus_space", given=pem)
    assert "Signature Algorithm: sha256WithRSAEncryption" in text
    assert f"Issuer: OU={AMAZON}" in text
    assert "Subject: CN=AWS IoT Certificate" in text
    assert "Not After : Dec 31 23:59:59 2049 GMT" in text
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in text
    assert "X509v3 Basic Constraints: critical\n                CA:FALSE" in text
    assert "Extended Key Usage" not in text
    assert len(der_of(pem)) == 861
    before = x509.load_pem_x509_certificate(pem.encode()).not_valid_before_utc
    assert before < datetime.now(UTC)


def test_ec_certificate_with_awss_subject_has_the_size_of_awss(iot: IoTClient, make_csr: Callable[..., str]) -> None:
    made = iot.create_certificate_from_csr(certificateSigningRequest=make_csr(subject="AWS IoT Certificate"))
    assert len(der_of(made["certificatePem"])) == 658


def test_openssl_verifies_it_against_the_ca(standin: Control, certificate: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(standin.ca_pem())
    (tmp_path / "device.pem").write_text(certificate["certificatePem"])
    ca, device = f"{tmp_path}/ca.pem", f"{tmp_path}/device.pem"
    verified = openssl("verify", "-purpose", "sslclient", "-CAfile", ca, device)
    assert verified.endswith("OK\n")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "p521", "rsa2048"],
)
def test_a_csr_gives_a_certificate_of_its_key_and_subject(
    iot: IoTClient, make_csr: Callable[..., str], key: ec.EllipticCurvePrivateKey
) -> None:
    made = iot.create_certificate_from_csr(certificateSigningRequest=make_csr(key, "sensor 7"))
    signed = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    assert signed.public_key() == key.public_key()
    assert signed.subject.rfc4514_string() == "CN=sensor 7"


def test_the_same_csr_twice_gives_two_certificates(iot: IoTClient, make_csr: Callable[..., str]) -> None:
    csr = make_csr()
    first, second = (iot.create_certificate_from_csr(certificateSigningRequest=csr) for _ in range(2))
    assert first["certificateId"] != second["certificateId"]


def tampered(csr: str) -> str:
    der = bytearray(x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


def test_a_csr_that_aws_would_refuse_is_refused(iot: IoTClient, make_csr: Callable[..., str]) -> None:
    refused = {
        "garbage": "certainly not a CSR",
        "not ascii": "\N{SNOWMAN}",
        "tampered": tampered(make_csr()),
        "secp256k1": make_csr(ec.generate_private_key(ec.SECP256K1())),
        "rsa 1024": make_csr(rsa.generate_private_key(65537, 1024)),
        "too long": make_csr() + " " * 4096,
    }
    for why, csr in refused.items():
        with pytest.raises(iot.exceptions.InvalidRequestException) as caught:
            iot.create_certificate_from_csr(certificateSigningRequest=csr)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400, why
    assert iot.list_certificates()["certificates"] == []


@pytest.mark.parametrize(
    ("asked", "status"), [({}, "INACTIVE"), ({"setAsActive": False}, "INACTIVE"), ({"setAsActive": True}, "ACTIVE")]
)
def test_a_certificate_is_inactive_unless_asked(
    iot: IoTClient, make_csr: Callable[..., str], asked: dict[str, bool], status: str
) -> None:
    iot.create_certificate_from_csr(certificateSigningRequest=make_csr(), **asked)
    iot.create_keys_and_certificate(**asked)
    assert [each["status"] for each in iot.list_certificates()["certificates"]] == [status, status]


def test_describe_tells_all(iot: IoTClient, certificate: dict[str, str]) -> None:
    iot.update_certificate(certificateId=certificate["certificateId"], newStatus="ACTIVE")
    told = iot.describe_certificate(certificateId=certificate["certificateId"])["certificateDescription"]
    assert told["certificatePem"] == certificate["certificatePem"]
    assert told["certificateArn"] == certificate["certificateArn"]
    assert (told["status"], told["customerVersion"], told["ownedBy"]) == ("ACTIVE", 2, "123456789012")
    assert told["lastModifiedDate"] > told["creationDate"]
    assert told["validity"]["notAfter"] == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_update_is_idempotent_and_revoked_is_final(iot: IoTClient, certificate: dict[str, str]) -> None:
    identity = certificate["certificateId"]
    for status in ("ACTIVE", "ACTIVE", "INACTIVE", "REVOKED", "REVOKED"):
        iot.update_certificate(certificateId=identity, newStatus=status)
    for status in ("ACTIVE", "INACTIVE"):
        with pytest.raises(iot.exceptions.CertificateStateException) as caught:
            iot.update_certificate(certificateId=identity, newStatus=status)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 406
    assert iot.describe_certificate(certificateId=identity)["certificateDescription"]["status"] == "REVOKED"


@pytest.mark.parametrize("word", ["active", "NONSENSE", "PENDING_TRANSFER", "PENDING_ACTIVATION"])
def test_update_takes_no_other_word(iot: IoTClient, certificate: dict[str, str], word: str) -> None:
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.update_certificate(certificateId=certificate["certificateId"], newStatus=word)


def test_an_active_certificate_is_not_deleted(iot: IoTClient, certificate: dict[str, str]) -> None:
    identity = certificate["certificateId"]
    iot.update_certificate(certificateId=identity, newStatus="ACTIVE")
    for force in (False, True):
        with pytest.raises(iot.exceptions.CertificateStateException):
            iot.delete_certificate(certificateId=identity, forceDelete=force)
    iot.update_certificate(certificateId=identity, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=identity)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_certificate(certificateId=identity)


def test_a_revoked_certificate_is_deleted(iot: IoTClient, certificate: dict[str, str]) -> None:
    iot.update_certificate(certificateId=certificate["certificateId"], newStatus="REVOKED")
    iot.delete_certificate(certificateId=certificate["certificateId"])
    assert iot.list_certificates()["certificates"] == []


def test_a_thing_or_a_policy_holds_a_certificate(standin: Control, iot: IoTClient, certificate: dict[str, str]) -> None:
    standin.seed_things(["t"])
    standin.seed_policies(["p"])
    identity, arn = certificate["certificateId"], certificate["certificateArn"]
    iot.attach_thing_principal(thingName="t", principal=arn)
    iot.attach_policy(policyName="p", target=arn)
    with pytest.raises(iot.exceptions.DeleteConflictException) as caught:
        iot.delete_certificate(certificateId=identity, forceDelete=True)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    iot.detach_thing_principal(thingName="t", principal=arn)
    with pytest.raises(iot.exceptions.DeleteConflictException):
        iot.delete_certificate(certificateId=identity)
    iot.delete_certificate(certificateId=identity, forceDelete=True)
    assert iot.list_targets_for_policy(policyName="p")["targets"] == []


@pytest.mark.parametrize("call", ["describe_certificate", "delete_certificate", "update_certificate"])
def test_a_certificate_that_is_not_there_is_not_found(iot: IoTClient, call: str) -> None:
    more = {"newStatus": "ACTIVE"} if call == "update_certificate" else {}
    with pytest.raises(iot.exceptions.ResourceNotFoundException) as caught:
        getattr(iot, call)(certificateId="0" * 64, **more)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_pages_hold_every_certificate_once_whatever_is_deleted_between(
    iot: IoTClient, make_csr: Callable[..., str]
) -> None:
    csr = make_csr()
    answers = [iot.create_certificate_from_csr(certificateSigningRequest=csr) for _ in range(60)]
    made = [answer["certificateId"] for answer in answers]
    pages = iot.get_paginator("list_certificates").paginate(ascendingOrder=True, pageSize=7)
    seen = []
    for page in pages:
        assert len(page["certificates"]) <= 7
        seen += [each["certificateId"] for each in page["certificates"]]
        if len(seen) == 14:
            iot.delete_certificate(certificateId=seen[0])
            iot.delete_certificate(certificateId=made[14])
    assert seen == made[:14] + made[15:]
    newest_first = iot.list_certificates(pageSize=2)
    assert [each["certificateId"] for each in newest_first["certificates"]] == made[:-3:-1]
    assert len(iot.list_certificates()["certificates"]) == 25


@pytest.mark.parametrize(
    "bad",
    [
        {"marker": "AAAA"},
        {"marker": "*"},
        {"marker": "A" * 1025},
        {"pageSize": 251},
    ],
)
def test_what_no_answer_gave_is_no_marker(iot: IoTClient, bad: dict[str, object]) -> None:
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.list_certificates(**bad)


def test_sixteen_clients_at_once_get_a_certificate_each(iot: IoTClient, make_csr: Callable[..., str]) -> None:
    def vend(number: int) -> str:
        csr = make_csr(subject=f"device-{number}")
        pem = iot.create_certificate_from_csr(certificateSigningRequest=csr)["certificatePem"]
        return x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()

    with ThreadPoolExecutor(16) as pool:
        subjects = list(pool.map(vend, range(100)))
    assert subjects == [f"CN=device-{number}" for number in range(100)]
