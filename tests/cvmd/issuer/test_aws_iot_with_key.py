"""CreateKeysAndCertificate over real HTTP: what is believed of its answer, and that its key is nowhere but in it."""

import base64
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from moto import mock_aws

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.keys import P256KeyMaker, certificate_key_id, der_to_pem, rsa_key_id
from cvmd.model import Account, Created, Secret
from tests.cvmd.issuer.conftest import key_id, openssl
from tools.awsiot import Control

CREATE = "CreateKeysAndCertificate"


def failing(call: Callable[[], object]) -> IssuerError:
    with pytest.raises(IssuerError) as caught:
        call()
    error = caught.value
    assert error.__context__ is None or error.__suppress_context__, "the frames behind it hold the answer"
    return error


def key_of(created: Created) -> Secret:
    assert created.key_der is not None
    return created.key_der


def test_inv3_one_post_gives_an_inactive_certificate_and_its_key(
    issuer: AwsIot, account: Account, standin: Control
) -> None:
    created = issuer.create_with_key(account)
    key_der = key_of(created).reveal()
    key = load_der_private_key(key_der, None)  # which tests its primes
    assert certificate_key_id(created.cert_der) == key_id(key) == rsa_key_id(key_of(created))
    public = openssl("x509", "-inform", "DER", "-noout", "-pubkey", given=created.cert_der)
    assert openssl("rsa", "-inform", "DER", "-check", "-pubout", given=key_der).endswith(public)
    assert standin.calls(CREATE) == 1
    (shown,) = standin.state()["certificates"]
    assert (shown["id"], shown["status"]) == (created.certificate_id.hex(), "INACTIVE")
    assert issuer.create_with_key(account).certificate_id != created.certificate_id


def test_inv6_the_key_is_in_no_log_and_no_repr(
    issuer: AwsIot, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    created = issuer.create_with_key(account)
    middle = base64.b64encode(key_of(created).reveal())[400:440].decode()
    for text in (caplog.text, repr(created)):
        assert middle not in text
        assert "PRIVATE KEY" not in text
    assert "key_der=Secret()" in repr(created)


@pytest.mark.parametrize(
    ("kind", "rule", "certificates"),
    [
        ("reset", {}, 0),
        ("lost", {}, 1),
        ("error-after", {"code": "InternalFailureException"}, 1),
        ("html", {}, 0),
        ("fields", {}, 1),
        ("fields", {"members": ["keyPair"]}, 1),
        ("fields", {"members": ["certificatePem"]}, 1),
    ],
)
def test_inv5_a_create_of_unknown_outcome_is_one_post_and_is_called_unknown(
    issuer: AwsIot, account: Account, standin: Control, kind: str, rule: dict[str, Any], certificates: int
) -> None:
    standin.fault(CREATE, kind, count=None, **rule)
    error = failing(lambda: issuer.create_with_key(account))
    assert (error.fault, error.operation) == (IssuerFault.UNKNOWN, CREATE)
    assert standin.calls(CREATE) == 1
    made = standin.state()["certificates"]
    assert len(made) == certificates
    if rule.get("members"):
        assert made[0]["id"] in str(error), "an answer without its key still names the certificate"


Answer = Callable[..., Created]


@pytest.fixture
def answered(scripted: Any, account: Account) -> Answer:
    """What is made of an answer: that of `created`, with its private key as given."""
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url))

    def create(created: Created, private_key: object) -> Created:
        answer = {
            "certificateId": created.certificate_id.hex(),
            "certificateArn": created.arn,
            "certificatePem": der_to_pem(created.cert_der, "CERTIFICATE"),
            "keyPair": {"PublicKey": "", "PrivateKey": private_key},
        }
        scripted.body = json.dumps(answer).encode()
        return issuer.create_with_key(account)

    return create


def test_inv4_a_key_that_is_not_the_certificates_is_refused_and_named(
    issuer: AwsIot, account: Account, answered: Answer
) -> None:
    created, other = issuer.create_with_key(account), issuer.create_with_key(account)
    assert answered(created, pem_of(created)) == created
    error = failing(lambda: answered(created, pem_of(other)))
    assert error.fault is IssuerFault.KEY_MISMATCH
    assert created.certificate_id.hex() in str(error)


def pem_of(created: Created) -> str:
    return der_to_pem(key_of(created).reveal(), "RSA PRIVATE KEY")


def changed(created: Created, at: int) -> str:
    """The key with one byte of another value."""
    key_der = bytearray(key_of(created).reveal())
    key_der[at] ^= 1
    return der_to_pem(bytes(key_der), "RSA PRIVATE KEY")


def test_what_is_no_key_that_signs_is_unknown_named_and_not_shown(
    issuer: AwsIot, account: Account, answered: Answer
) -> None:
    created = issuer.create_with_key(account)
    pkcs8 = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for private_key in (
        None,
        7,
        "",
        pem_of(created) * 2,
        pem_of(created).replace("RSA PRIVATE KEY", "PRIVATE KEY"),
        der_to_pem(key_of(created).reveal()[:-1], "RSA PRIVATE KEY"),
        der_to_pem(P256KeyMaker().make("x").key_der.reveal(), "RSA PRIVATE KEY"),
        der_to_pem(pkcs8, "RSA PRIVATE KEY"),
        changed(created, 30),  # the modulus
    ):
        error = failing(lambda private_key=private_key: answered(created, private_key))
        assert error.fault is IssuerFault.UNKNOWN, private_key
        assert created.certificate_id.hex() in str(error)
        assert "BEGIN" not in str(error)


def test_under_moto_the_check_of_the_id_refuses_it_until_moto_is_told_to_be_right(account: Account) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1"))
    with mock_aws():
        error = failing(lambda: issuer.create_with_key(account))
    assert error.fault is IssuerFault.KEY_MISMATCH
    with mock_aws(config={"iot": {"use_valid_cert": True}}):
        created = AwsIot(AwsSettings(region="us-east-1")).create_with_key(account)
    assert rsa_key_id(key_of(created)) == certificate_key_id(created.cert_der)
