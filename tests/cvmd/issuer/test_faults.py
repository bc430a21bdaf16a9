"""Exceptions of boto3 by class: what was never sent, what may have had its effect (docstring of issuer_error)."""

import ssl

import pytest
import urllib3.exceptions
from botocore import exceptions as boto
from hypothesis import given
from hypothesis import strategies as st

from cvmd.errors import IssuerFault
from cvmd.issuer.faults import _CODES, clean, issuer_error

URL = "http://user:password@proxy/"


def fault_of(error: Exception) -> IssuerFault:
    return issuer_error("AttachPolicy", error, missing=IssuerFault.POLICY_MISSING).fault


def tls(reason: str) -> boto.SSLError:
    cause = ssl.SSLError(1, f"[SSL: {reason}] text")
    cause.reason = reason
    error = boto.SSLError(endpoint_url=URL, error=urllib3.exceptions.SSLError(cause))
    error.__cause__ = urllib3.exceptions.SSLError(cause)
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (boto.EndpointConnectionError(endpoint_url=URL), IssuerFault.UNREACHABLE),
        (boto.ConnectTimeoutError(endpoint_url=URL), IssuerFault.UNREACHABLE),
        (boto.ProxyConnectionError(proxy_url=URL), IssuerFault.UNREACHABLE),
        (tls("CERTIFICATE_VERIFY_FAILED"), IssuerFault.UNREACHABLE),
        (tls("TLSV1_ALERT_PROTOCOL_VERSION"), IssuerFault.UNREACHABLE),
        (tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), IssuerFault.UNREACHABLE),
        (tls("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), IssuerFault.UNKNOWN),
        (boto.ReadTimeoutError(endpoint_url=URL), IssuerFault.UNKNOWN),
        (boto.ConnectionClosedError(endpoint_url=URL), IssuerFault.UNKNOWN),
        (boto.HTTPClientError(error=URL), IssuerFault.UNKNOWN),
        (boto.ResponseStreamingError(error=URL), IssuerFault.UNKNOWN),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), IssuerFault.UNKNOWN),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), IssuerFault.UNKNOWN),
        (MemoryError(), IssuerFault.UNKNOWN),
        (boto.NoCredentialsError(), IssuerFault.ACCOUNT),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), IssuerFault.ACCOUNT),
        (boto.CredentialRetrievalError(provider="x", error_msg="y"), IssuerFault.ACCOUNT),
        (boto.ProfileNotFound(profile="x"), IssuerFault.ACCOUNT),
        (boto.NoRegionError(), IssuerFault.ACCOUNT),
        (boto.UnauthorizedSSOTokenError(), IssuerFault.ACCOUNT),
        (boto.ParamValidationError(report="x"), IssuerFault.REJECTED),
    ],
)
def test_an_exception_is_known_by_its_class(error: Exception, fault: IssuerFault) -> None:
    assert fault_of(error) is fault


@pytest.mark.parametrize(("code", "fault"), [(code, fault) for fault, codes in _CODES.items() for code in codes])
def test_an_error_is_known_by_its_code(code: str, fault: IssuerFault) -> None:
    assert fault_of(boto.ClientError({"Error": {"Code": code, "Message": "m"}}, "AttachPolicy")) is fault


def test_no_code_has_two_meanings() -> None:
    codes = [code for each in _CODES.values() for code in each]
    assert len(codes) == len(set(codes))


def test_every_error_that_the_calls_declare_has_a_meaning() -> None:
    import boto3

    model = boto3.client("iot", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y").meta
    for operation in (
        "CreateCertificateFromCsr", "AttachPolicy", "AttachThingPrincipal", "ListThingPrincipals",
        "DescribeCertificate", "UpdateCertificate", "DescribeEndpoint", "GetPolicy", "ListAttachedPolicies",
        "ListPrincipalThings", "DetachPolicy", "DetachThingPrincipal", "DeleteCertificate", "ListCertificates",
    ):  # fmt: skip
        declared = {shape.name for shape in model.service_model.operation_model(operation).error_shapes}
        known = {code for codes in _CODES.values() for code in codes} | {"ResourceNotFoundException"}
        assert declared <= known


@pytest.mark.parametrize("code", ["", "503", "403", "Throttled", "throttlingexception", "SomethingNewException"])
def test_a_code_that_nobody_knows_is_unknown(code: str) -> None:
    error = boto.ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "AttachPolicy")
    assert fault_of(error) is IssuerFault.UNKNOWN


@pytest.mark.parametrize("response", [{}, {"Error": {}}, {"Error": {"Code": 7, "Message": None}}])
def test_an_error_without_what_errors_have_is_unknown(response: dict[str, dict[str, object]]) -> None:
    assert fault_of(boto.ClientError(response, "AttachPolicy")) is IssuerFault.UNKNOWN


def test_not_found_means_what_the_operation_says() -> None:
    error = boto.ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "Not Found"}}, "x")
    assert fault_of(error) is IssuerFault.POLICY_MISSING
    assert issuer_error("x", error, missing=IssuerFault.THING_MISSING).fault is IssuerFault.THING_MISSING


def test_inv6_texts_with_urls_and_pieces_of_answers_are_not_repeated() -> None:
    for error in (boto.ProxyConnectionError(proxy_url=URL), boto.HTTPClientError(error="-----BEGIN RSA")):
        assert str(issuer_error("x", error, missing=IssuerFault.UNKNOWN)) == f"x: {type(error).__name__}"


@given(st.text(max_size=1000))
def test_what_aws_says_is_printable_ascii_of_limited_length(text: str) -> None:
    assert re_printable(clean(text))
    assert len(clean(text)) <= 300


def re_printable(text: str) -> bool:
    return text.isascii() and (not text or text.isprintable())
