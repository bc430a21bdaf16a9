"""Faults on demand, as an unchanged boto3 client meets them."""

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from mypy_boto3_iot import IoTClient

from tools.awsiot import AWS_QUOTAS, Control, Fault, Settings, run_in_thread
from tools.awsiot.errors import ServiceError
from tools.awsiot.faults import KINDS, Faults
from tools.awsiot.quotas import Quotas


def held(standin: Control) -> int:
    return len(standin.state()["certificates"])


def code_of(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("rule", "answer", "certificates"),
    [
        ({"kind": "throttle"}, ("ThrottlingException", 400), 0),
        ({"kind": "throttle", "status": 429}, ("ThrottlingException", 429), 0),
        ({"kind": "error"}, ("InternalFailureException", 500), 0),
        ({"kind": "error", "code": "ServiceUnavailableException"}, ("ServiceUnavailableException", 503), 0),
        ({"kind": "error", "code": "AccessDeniedException"}, ("AccessDeniedException", 403), 0),
        ({"kind": "error", "code": "SomethingNew", "status": 418}, ("SomethingNew", 418), 0),
        ({"kind": "error-after"}, ("InternalFailureException", 500), 1),
    ],
)
def test_an_error_comes_before_or_after_the_effect(
    standin: Control, iot: IoTClient, rule: dict[str, object], answer: tuple[str, int], certificates: int
) -> None:
    standin.fault("CreateKeysAndCertificate", **rule)
    assert code_of(iot.create_keys_and_certificate) == answer
    assert held(standin) == certificates
    iot.create_keys_and_certificate()


@pytest.mark.parametrize(("kind", "certificates"), [("reset", 0), ("lost", 1)])
def test_a_connection_is_reset_before_or_after_the_effect(
    standin: Control, iot: IoTClient, kind: str, certificates: int
) -> None:
    standin.fault("CreateKeysAndCertificate", kind)
    with pytest.raises(ConnectionClosedError) as caught:
        iot.create_keys_and_certificate()
    assert "reset by peer" in repr(caught.value.__cause__ or caught.value.kwargs["error"])
    assert held(standin) == certificates
    assert standin.counters() == {"CreateKeysAndCertificate": {kind: 1}}


def test_boto3_left_alone_makes_two_certificates_of_one_call(
    standin: Control, connect: Callable[..., IoTClient]
) -> None:
    standin.fault("CreateKeysAndCertificate", "lost")
    connect(standin.url, retries={"mode": "legacy"}).create_keys_and_certificate()
    assert held(standin) == 2


def test_garbage_with_status_200_raises_nothing_in_boto3(standin: Control, iot: IoTClient) -> None:
    standin.fault("CreateKeysAndCertificate", "html")
    assert set(iot.create_keys_and_certificate()) == {"ResponseMetadata"}
    assert held(standin) == 0
    standin.fault("CreateKeysAndCertificate", "fields")
    assert set(iot.create_keys_and_certificate()) == {"ResponseMetadata"}
    standin.fault("CreateKeysAndCertificate", "fields", members=["certificateId", "keyPair"])
    left = set(iot.create_keys_and_certificate())
    assert left == {"ResponseMetadata", "certificateArn", "certificatePem"}
    assert held(standin) == 2


@pytest.mark.parametrize(("kind", "done_at_once"), [("latency", 0), ("late", 1)])
def test_a_client_gives_up_on_a_late_answer_and_nobody_else_waits(
    connect: Callable[..., IoTClient], kind: str, done_at_once: int
) -> None:
    with run_in_thread(Settings(ca_key="ec")) as standin:
        standin.fault("CreateKeysAndCertificate", kind, delay_s=3600)
        with pytest.raises(ReadTimeoutError):
            connect(standin.url, read_timeout=0.5).create_keys_and_certificate()
        assert held(standin) == done_at_once


def test_what_the_operation_refuses_stays_refused(standin: Control, iot: IoTClient) -> None:
    standin.fault("DescribeCertificate", "lost")
    refused = code_of(lambda: iot.describe_certificate(certificateId="0" * 64))
    assert refused == ("ResourceNotFoundException", 404)


def test_a_rule_spares_spoils_and_is_spent() -> None:
    faults = Faults()
    faults.add(Fault("A", "throttle", after=1, count=2), Fault("*", "html", after=2, count=None))
    met = [faults.take(name) for name in ("A", "B", "A", "A", "A", "B")]
    assert [fault and fault.kind for fault in met] == [None, None, "throttle", "throttle", "html", "html"]
    faults.clear()
    assert faults.take("A") is None


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"operation": "A"}, "operation, kind"),
        ({"operation": "A", "kind": "throttle", "times": 1}, "operation, kind"),
        ({"operation": "A", "kind": "explode"}, "kind must be one of latency"),
        ({"operation": "A", "kind": "error", "code": "Odd"}, "give its status"),
    ],
)
def test_a_rule_that_is_none_is_told_so(standin: Control, rule: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        standin._json("POST", "faults", [rule])


def test_every_kind_is_in_the_readme() -> None:
    import tools.awsiot

    with open(f"{tools.awsiot.__path__[0]}/README.md", encoding="utf-8") as readme:
        text = readme.read()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in text] == []


def test_a_quota_lets_its_burst_through_and_then_its_rate() -> None:
    now = 0.0
    quotas = Quotas({"A": 10}, burst_s=0.5, clock=lambda: now)

    def expect(calls: int) -> None:
        for _ in range(calls):
            quotas.spend("A")
        with pytest.raises(ServiceError, match="ThrottlingException"):
            quotas.spend("A")

    expect(5)
    now = 0.25
    expect(2)  # and half a call stays
    now = 0.5
    expect(3)
    now = 60.0
    expect(5)
    for _ in range(1000):
        quotas.spend("B")


def test_a_spent_quota_throttles_without_effect(connect: Callable[..., IoTClient]) -> None:
    with run_in_thread(Settings(ca_key="ec", quotas={"CreateKeysAndCertificate": 0.001})) as standin:
        iot = connect(standin.url)
        iot.create_keys_and_certificate()
        assert code_of(iot.create_keys_and_certificate) == ("ThrottlingException", 400)
        assert held(standin) == 1
        standin.reset()
        iot.create_keys_and_certificate()


def test_awss_quotas_name_operations_that_exist(iot: IoTClient) -> None:
    assert AWS_QUOTAS.keys() <= set(iot.meta.service_model.operation_names)
