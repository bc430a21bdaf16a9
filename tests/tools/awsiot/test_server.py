"""The gate and the routes: who may ask, what is understood, and what a refusal looks like."""

import http.client
from collections.abc import Callable
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control, Settings, run_in_thread
from tools.awsiot.errors import STATUSES
from tools.awsiot.model import ServiceModel

MODEL = botocore.session.get_session().get_service_model("iot")
SCOPE = "AKIA/20260101/us-east-1/iot/aws4_request"
SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=0"}


def ask(url: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, str | None]:
    """Status, media type and x-amzn-ErrorType of a request by hand."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.getheader("content-type", ""), response.getheader("x-amzn-ErrorType")


def code_of(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_every_operation_of_the_model_is_found_at_its_path() -> None:
    routes = ServiceModel("iot")
    for name in MODEL.operation_names:
        operation = MODEL.operation_model(name)
        path = operation.http["requestUri"].split("?")[0].replace("{", "a%2Fvalue-").replace("}", "")
        found, members = routes.find(operation.http["method"], path)
        assert found.name == name
        assert all(value == f"a/value-{member}" for member, value in members.items())


def test_the_statuses_are_those_of_the_model() -> None:
    declared = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in MODEL.error_shapes}
    assert {code: status for code, status in STATUSES.items() if code in declared} == {
        code: status for code, status in declared.items() if code in STATUSES
    }


def test_an_unsigned_request_is_refused(standin: Control, connect: Callable[..., IoTClient]) -> None:
    refused = code_of(connect(standin.url, signature_version=UNSIGNED).describe_endpoint)
    assert refused == ("MissingAuthenticationTokenException", 403)
    assert ask(standin.url, "GET", "/endpoint", b"", {"Authorization": "Bearer x"})[0] == 403


def test_where_keys_are_named_no_other_is_taken(connect: Callable[..., IoTClient]) -> None:
    with run_in_thread(Settings(ca_key="ec", access_keys=frozenset({"AKIATEST"}))) as standin:
        assert connect(standin.url).describe_endpoint()["endpointAddress"]
    with run_in_thread(Settings(ca_key="ec", access_keys=frozenset({"AKIAOTHER"}))) as standin:
        assert code_of(connect(standin.url).describe_endpoint) == ("UnrecognizedClientException", 403)


def test_what_the_stand_in_has_not_is_told(iot: IoTClient) -> None:
    assert code_of(lambda: iot.describe_job(jobId="j")) == ("NotImplemented", 501)


@pytest.mark.parametrize(
    ("method", "path", "body", "answer"),
    [
        ("GET", "/nowhere", b"", (404, "UnknownOperationException")),
        ("POST", "/certificates", b"{", (400, "SerializationException")),
        ("POST", "/certificates", b"[]", (400, "SerializationException")),
        ("POST", "/certificates", b"{}", (400, "InvalidRequestException")),
        ("POST", "/certificates", b'{"certificateSigningRequest": 7}', (400, "InvalidRequestException")),
        ("POST", "/certificates", b'{"certificateSigningRequest": ""}', (400, "InvalidRequestException")),
        ("POST", "/keys-and-certificate?setAsActive=maybe", b"", (400, "InvalidRequestException")),
        ("GET", "/certificates?pageSize=ten", b"", (400, "InvalidRequestException")),
        ("GET", "/certificates?pageSize=0", b"", (400, "InvalidRequestException")),
        ("GET", "/certificates/xyz", b"", (400, "InvalidRequestException")),
    ],
)
def test_what_a_client_by_hand_gets_wrong_is_refused(
    standin: Control, method: str, path: str, body: bytes, answer: tuple[int, str]
) -> None:
    status, media_type, code = ask(standin.url, method, path, body, SIGNED)
    assert (status, code) == answer
    assert media_type.startswith("application/json")


def test_calls_are_counted_by_operation_and_outcome(
    standin: Control, iot: IoTClient, certificate: dict[str, str]
) -> None:
    code_of(lambda: iot.describe_certificate(certificateId="0" * 64))
    iot.describe_certificate(certificateId=certificate["certificateId"])
    assert standin.counters() == {
        "CreateCertificateFromCsr": {"ok": 1},
        "DescribeCertificate": {"ok": 1, "ResourceNotFoundException": 1},
    }
    assert standin.calls("DescribeCertificate") == 2
    assert standin.calls("DescribeCertificate", "ok") == 1


def test_a_reset_forgets_all_but_the_ca(standin: Control, iot: IoTClient, certificate: dict[str, str]) -> None:
    standin.seed_things(["t"])
    standin.fault("*", "throttle", count=None)
    ca = standin.ca_pem()
    standin.reset()
    assert standin.state() == {"certificates": [], "deleted": [], "things": [], "policies": []}
    assert standin.counters() == {}
    assert iot.list_certificates()["certificates"] == []
    assert standin.ca_pem() == ca


def test_a_wrong_control_path_names_the_right_ones(standin: Control) -> None:
    with pytest.raises(ValueError, match=r"404 .*GET /_standin/counters"):
        standin._json("GET", "nothing")


def test_no_private_key_stays(standin: Control, iot: IoTClient) -> None:
    key = iot.create_keys_and_certificate()["keyPair"]["PrivateKey"]
    assert key.splitlines()[1] not in str(standin.state())
