"""AwsIot over real HTTP against the stand-in: what it asks, what it believes, and one POST for one Create."""

import hashlib
import inspect
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from moto import mock_aws

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer import aws_iot
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.keys import P256KeyMaker, certificate_key_id, der_to_pem
from cvmd.model import Account, Created
from cvmd.ports import Issuer
from tools.awsiot import Control

CREATE = "CreateCertificateFromCsr"
THING, POLICY = "thing-1", "policy-1"
PAIR = P256KeyMaker().make("A" * 52)
NO_ARN = "arn:aws:iot:us-east-1:123456789012:cert/" + "0" * 64


def failing(call: Callable[[], object]) -> IssuerError:
    with pytest.raises(IssuerError) as caught:
        call()
    error = caught.value
    assert error.__context__ is None or error.__suppress_context__, "botocore's frames hold the answer"
    return error


def settled(condition: Callable[[], object]) -> None:
    """Returns when `condition()` is true; fails after 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def certificate(standin: Control, created: Created) -> dict[str, Any]:
    found = [each for each in standin.state()["certificates"] if each["id"] == created.certificate_id.hex()]
    assert len(found) == 1
    return dict(found[0])


# As it should go


def test_a_vend_at_aws(issuer: AwsIot, account: Account, standin: Control) -> None:
    created = issuer.create(account, PAIR.csr_der)
    assert certificate_key_id(created.cert_der) == PAIR.public_key_id
    assert created.certificate_id == hashlib.sha256(created.cert_der).digest()
    assert created.arn.endswith(f":cert/{created.certificate_id.hex()}")
    assert not issuer.certificate_is_active(account, created.certificate_id)
    for _ in range(2):  # safe to repeat
        issuer.attach_policy(account, POLICY, created.arn)
        issuer.attach_thing(account, THING, created.arn)
        issuer.activate(account, created.certificate_id)
    assert issuer.certificate_is_active(account, created.certificate_id)
    assert issuer.thing_principals(account, THING) == [created.arn]
    shown = certificate(standin, created)
    assert (shown["status"], shown["things"], shown["policies"]) == ("ACTIVE", [THING], [POLICY])


def test_inv3_a_certificate_is_created_inactive(issuer: AwsIot, account: Account, standin: Control) -> None:
    created = issuer.create(account, PAIR.csr_der)
    assert certificate(standin, created)["status"] == "INACTIVE"
    assert [step["status"] for step in certificate(standin, created)["history"]] == ["INACTIVE"]


def test_thing_principals_are_read_to_the_last_page(
    issuer: AwsIot, account: Account, standin: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issuer.thing_principals(account, THING) == []
    monkeypatch.setattr(aws_iot, "PAGE", 2)
    arns = [issuer.create(account, PAIR.csr_der).arn for _ in range(5)]
    for arn in arns:
        issuer.attach_thing(account, THING, arn)
    assert sorted(issuer.thing_principals(account, THING)) == sorted(arns)
    assert standin.calls("ListThingPrincipals") == 1 + 3


def test_the_endpoint_is_the_ats_one(issuer: AwsIot, account: Account) -> None:
    assert re.fullmatch(r"[a-z0-9]+-ats\.iot\.us-east-1\.amazonaws\.com", issuer.describe_endpoint(account))


def test_it_is_the_issuer_that_ports_asks_for(issuer: AwsIot) -> None:
    asked: Issuer = issuer
    names = [name for name in vars(Issuer) if not name.startswith("_")]
    for name in names:
        assert inspect.signature(getattr(asked, name)) == inspect.signature(getattr(Issuer, name)).replace(
            parameters=list(inspect.signature(getattr(Issuer, name)).parameters.values())[1:]
        )


def test_an_account_says_region_and_endpoint_before_the_settings_do(
    standin: Control, account: Account, scripted: Any
) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url))
    own = replace(account, region="eu-west-1", endpoint_url=standin.url)
    issuer.create(own, PAIR.csr_der)
    assert standin.calls(CREATE, "ok") == 1
    assert scripted.requests == []


# One POST


@pytest.mark.parametrize(
    ("kind", "rule", "certificates"),
    [
        ("reset", {}, 0),
        ("lost", {}, 1),
        ("error", {"code": "InternalFailureException"}, 0),
        ("error-after", {"code": "InternalFailureException"}, 1),
        ("error-after", {"code": "ServiceUnavailableException"}, 1),
        ("error-after", {"code": "WeirdException", "status": 418}, 1),
        ("html", {}, 0),
        ("fields", {}, 1),
        ("fields", {"members": ["certificatePem"]}, 1),
        ("fields", {"members": ["certificateArn"]}, 1),
        ("fields", {"members": ["certificateId"]}, 1),
        ("late", {"delay_s": 1.5}, 1),
    ],
)
def test_inv5_a_create_of_unknown_outcome_is_one_post_and_is_called_unknown(
    account: Account, standin: Control, kind: str, rule: dict[str, Any], certificates: int
) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=standin.url, read_timeout_s=0.4))
    standin.fault(CREATE, kind, count=None, **rule)
    error = failing(lambda: issuer.create(account, PAIR.csr_der))
    assert (error.fault, error.operation) == (IssuerFault.UNKNOWN, CREATE)
    settled(lambda: standin.calls(CREATE))  # the stand-in counts a late answer when it is given
    assert standin.calls(CREATE) == 1
    assert len(standin.state()["certificates"]) == certificates


def test_an_answer_without_its_certificate_still_names_it(issuer: AwsIot, account: Account, standin: Control) -> None:
    standin.fault(CREATE, "fields", members=["certificatePem"])
    error = failing(lambda: issuer.create(account, PAIR.csr_der))
    assert standin.state()["certificates"][0]["id"] in str(error)


# Errors by their code


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("ThrottlingException", IssuerFault.THROTTLED),
        ("LimitExceededException", IssuerFault.QUOTA),
        ("UnauthorizedException", IssuerFault.ACCOUNT),
        ("AccessDeniedException", IssuerFault.ACCOUNT),
        ("ExpiredTokenException", IssuerFault.ACCOUNT),
        ("UnrecognizedClientException", IssuerFault.ACCOUNT),
        ("InvalidSignatureException", IssuerFault.ACCOUNT),
        ("RequestExpired", IssuerFault.ACCOUNT),
        ("InvalidRequestException", IssuerFault.REJECTED),
        ("CertificateStateException", IssuerFault.CONFLICT),
        ("DeleteConflictException", IssuerFault.CONFLICT),
        ("InternalFailureException", IssuerFault.UNKNOWN),
        ("ServiceUnavailableException", IssuerFault.UNKNOWN),
    ],
)
@pytest.mark.parametrize("status", [400, 429, 503])
def test_an_error_is_known_by_its_code_whatever_the_status(
    issuer: AwsIot, account: Account, standin: Control, code: str, fault: IssuerFault, status: int
) -> None:
    standin.fault("*", "error", code=code, status=status, count=None)
    calls: dict[str, Callable[[], object]] = {
        CREATE: lambda: issuer.create(account, PAIR.csr_der),
        "AttachPolicy": lambda: issuer.attach_policy(account, POLICY, NO_ARN),
        "AttachThingPrincipal": lambda: issuer.attach_thing(account, THING, NO_ARN),
        "ListThingPrincipals": lambda: issuer.thing_principals(account, THING),
        "DescribeCertificate": lambda: issuer.certificate_is_active(account, bytes(32)),
        "UpdateCertificate": lambda: issuer.activate(account, bytes(32)),
        "DescribeEndpoint": lambda: issuer.describe_endpoint(account),
    }
    for operation, call in calls.items():
        error = failing(call)
        assert (error.fault, error.operation, error.code) == (fault, operation, code)
        assert standin.calls(operation) == 1, "boto3 must not repeat what the worker paces"


@pytest.mark.parametrize("operation", ["AttachPolicy", "AttachThingPrincipal", "UpdateCertificate"])
def test_a_page_of_html_is_no_success_of_a_call_that_answers_nothing(
    issuer: AwsIot, account: Account, standin: Control, operation: str
) -> None:
    created = issuer.create(account, PAIR.csr_der)
    standin.fault(operation, "html")
    call = {
        "AttachPolicy": lambda: issuer.attach_policy(account, POLICY, created.arn),
        "AttachThingPrincipal": lambda: issuer.attach_thing(account, THING, created.arn),
        "UpdateCertificate": lambda: issuer.activate(account, created.certificate_id),
    }[operation]
    assert failing(call).fault is IssuerFault.UNKNOWN
    call()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"null", b"7", b'"text"', b"{", b"<html>", b"\xff\xfe\x00", b"\x00" * 5000,
        b'{"certificateId": 7, "certificateArn": [], "certificatePem": {}, "principals": 3, '
        b'"certificateDescription": "x", "endpointAddress": "http://evil/"}',
        b'{"principals": null, "certificateDescription": null, "endpointAddress": "' + b"a." * 200 + b'com"}',
        b'{"certificateDescription": {"status": 1}, "endpointAddress": "-a.com"}',
    ],
)  # fmt: skip
def test_whatever_a_200_says_it_is_an_answer_or_unknown(account: Account, scripted: Any, body: bytes) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url))
    scripted.body = body
    for call in (
        lambda: issuer.create(account, PAIR.csr_der),
        lambda: issuer.thing_principals(account, THING),
        lambda: issuer.certificate_is_active(account, bytes(32)),
        lambda: issuer.describe_endpoint(account),
    ):
        assert failing(call).fault is IssuerFault.UNKNOWN
    assert len(scripted.requests) == 4


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"<html>", b'{"message": "\x1b[31m\\n"}'])
def test_an_error_without_a_code_is_unknown_and_its_text_is_cleaned(
    account: Account, scripted: Any, body: bytes
) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url))
    scripted.status, scripted.body = 502, body
    error = failing(lambda: issuer.create(account, PAIR.csr_der))
    assert error.fault is IssuerFault.UNKNOWN
    assert str(error).isprintable()
    assert len(str(error)) < 400
    assert len(scripted.requests) == 1


# What is missing


def test_a_missing_thing_policy_or_certificate_is_told_apart(issuer: AwsIot, account: Account) -> None:
    created = issuer.create(account, PAIR.csr_der)
    missing: list[tuple[Callable[[], object], IssuerFault]] = [
        (lambda: issuer.attach_policy(account, "none", created.arn), IssuerFault.POLICY_MISSING),
        (lambda: issuer.attach_thing(account, "none", created.arn), IssuerFault.THING_MISSING),
        (lambda: issuer.thing_principals(account, "none"), IssuerFault.THING_MISSING),
        (lambda: issuer.attach_policy(account, POLICY, NO_ARN), IssuerFault.CERTIFICATE_MISSING),
        (lambda: issuer.attach_thing(account, THING, NO_ARN), IssuerFault.CERTIFICATE_MISSING),
        (lambda: issuer.activate(account, bytes(32)), IssuerFault.CERTIFICATE_MISSING),
    ]
    assert [failing(call).fault for call, _ in missing] == [fault for _, fault in missing]
    assert not issuer.certificate_is_active(account, bytes(32))


def test_what_is_missing_stays_untold_while_aws_does_not_tell(
    issuer: AwsIot, account: Account, standin: Control
) -> None:
    standin.fault("DescribeCertificate", "throttle")
    error = failing(lambda: issuer.attach_policy(account, "none", NO_ARN))
    assert (error.fault, error.operation) == (IssuerFault.THROTTLED, "DescribeCertificate")


# Not connected, not authorised, not there


def test_a_port_that_nobody_listens_on_is_unreachable(account: Account, scripted: Any) -> None:
    scripted.close()
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url))
    error = failing(lambda: issuer.create(account, PAIR.csr_der))
    assert (error.fault, error.code) == (IssuerFault.UNREACHABLE, "EndpointConnectionError")


def test_a_name_that_does_not_resolve_is_unreachable(account: Account) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url="http://nowhere.invalid"))
    assert failing(lambda: issuer.create(account, PAIR.csr_der)).fault is IssuerFault.UNREACHABLE


def test_tls_to_a_port_that_speaks_none_is_unreachable(account: Account, scripted: Any) -> None:
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url.replace("http:", "https:")))
    error = failing(lambda: issuer.create(account, PAIR.csr_der))
    assert (error.fault, error.code) == (IssuerFault.UNREACHABLE, "SSLError")
    assert scripted.requests == []


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://[::1", "ftp://127.0.0.1/"])
def test_an_endpoint_url_that_is_none_is_an_issuer_error(account: Account, url: str) -> None:
    failing(lambda: AwsIot(AwsSettings(region="not a region", endpoint_url=url)).create(account, PAIR.csr_der))


def test_no_credentials_and_no_region_are_faults_of_the_account(
    account: Account, standin: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failing(lambda: AwsIot(AwsSettings()).create(account, PAIR.csr_der)).fault is IssuerFault.ACCOUNT
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=standin.url))
    error = failing(lambda: issuer.create(account, PAIR.csr_der))
    assert (error.fault, error.code) == (IssuerFault.ACCOUNT, "NoCredentialsError")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    issuer.create(account, PAIR.csr_der)  # a client that could not be made, or sign, is no client for ever


# What a Create may answer


def answer_of(created: Created, **changed: object) -> bytes:
    answer = {
        "certificateId": created.certificate_id.hex(),
        "certificateArn": created.arn,
        "certificatePem": der_to_pem(created.cert_der, "CERTIFICATE"),
    }
    return json.dumps(answer | changed).encode()


@pytest.fixture
def created(issuer: AwsIot, account: Account) -> Created:
    return issuer.create(account, PAIR.csr_der)


Answer = Callable[..., Created]


@pytest.fixture
def answered(scripted: Any, account: Account) -> Answer:
    """What Create makes of an answer."""
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url))

    def create(body: bytes, csr_der: bytes = PAIR.csr_der) -> Created:
        scripted.body = body
        return issuer.create(account, csr_der)

    return create


def test_inv4_a_certificate_for_another_key_is_refused_and_named(created: Created, answered: Answer) -> None:
    assert answered(answer_of(created)) == created
    other = P256KeyMaker().make("B" * 52)
    error = failing(lambda: answered(answer_of(created), other.csr_der))
    assert error.fault is IssuerFault.KEY_MISMATCH
    assert created.certificate_id.hex() in str(error)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-iso-b"])
def test_the_arn_may_be_of_any_partition(created: Created, answered: Answer, partition: str) -> None:
    arn = created.arn.replace("arn:aws:", f"arn:{partition}:")
    assert answered(answer_of(created, certificateArn=arn)).arn == arn


def test_an_id_that_is_not_the_certificates_digest_is_a_mismatch(created: Created, answered: Answer) -> None:
    wrong = "ab" * 32
    arn = created.arn.replace(created.certificate_id.hex(), wrong)
    body = answer_of(created, certificateId=wrong, certificateArn=arn)
    error = failing(lambda: answered(body))
    assert error.fault is IssuerFault.KEY_MISMATCH
    assert wrong in str(error)


def test_what_cannot_be_believed_is_unknown_and_named(created: Created, answered: Answer) -> None:
    pem = der_to_pem(created.cert_der, "CERTIFICATE")
    for changed in (
        {"certificatePem": pem + pem},
        {"certificatePem": pem.replace("CERTIFICATE", "PRIVATE KEY")},
        {"certificatePem": der_to_pem(created.cert_der + b"\x00", "CERTIFICATE")},
        {"certificatePem": der_to_pem(created.cert_der[:-1], "CERTIFICATE")},
        {"certificatePem": "<html>"},
        {"certificateArn": created.arn[:-1]},
        {"certificateArn": created.arn + "\n"},
        {"certificateArn": created.arn.replace(":iot:", ":iam:")},
        {"certificateArn": NO_ARN},
        {"certificateId": created.certificate_id.hex().upper()},
    ):
        error = failing(lambda changed=changed: answered(answer_of(created, **changed)))
        assert error.fault is IssuerFault.UNKNOWN, changed
        assert created.certificate_id.hex() in str(error).lower()


# moto


def test_inv4_under_moto_the_check_of_the_public_key_refuses_the_certificate(account: Account) -> None:
    # moto signs a key of its own, not the CSR's: a product without this check would vend such a certificate.
    with mock_aws(config={"iot": {"use_valid_cert": True}}):
        error = failing(lambda: AwsIot(AwsSettings(region="us-east-1")).create(account, PAIR.csr_der))
    assert error.fault is IssuerFault.KEY_MISMATCH
    assert "another key than the CSR's" in str(error)


def test_under_moto_as_it_comes_the_check_of_the_id_refuses_the_certificate(account: Account) -> None:
    with mock_aws():
        error = failing(lambda: AwsIot(AwsSettings(region="us-east-1")).create(account, PAIR.csr_der))
    assert error.fault is IssuerFault.KEY_MISMATCH
    assert "SHA-256" in str(error)
