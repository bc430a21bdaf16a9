"""AssumeRole at the stand-in, and what the credentials that it lends are good for."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control, Settings, run_in_thread
from tools.awsiot.errors import ServiceError
from tools.awsiot.gate import Gate

ROLE = "arn:aws:iam::123456789012:role/path/vending"
ONCE = Config(retries={"total_max_attempts": 1})


def client_of(
    service: str,
    url: str,
    key: str = "AKIATEST",
    secret: str = "unused",
    token: str | None = None,
) -> IoTClient:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=ONCE,
    )


def code_of(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_lent_credentials_are_taken_and_altered_ones_are_not() -> None:
    with run_in_thread(Settings(ca_key="ec", access_keys=frozenset({"AKIATEST"}))) as standin:
        sts = client_of("sts", standin.url)
        answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="cvmd", DurationSeconds=900)
        assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/vending/cvmd"
        lent = answer["Credentials"]
        assert 0 < (lent["Expiration"] - datetime.now(UTC)).total_seconds() <= 900
        key, secret, token = lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"]
        assert client_of("iot", standin.url, key, secret, token).describe_endpoint()["endpointAddress"]
        for wrong in (None, token[:-1]):
            altered = client_of("iot", standin.url, key, secret, wrong)
            assert code_of(altered.describe_endpoint) == ("UnrecognizedClientException", 403)
        assert standin.calls("AssumeRole", "ok") == 1
        who = client_of("sts", standin.url, key, secret, token).get_caller_identity()["Arn"]
        assert who == answer["AssumedRoleUser"]["Arn"]
        standin.reset()
        forgotten = client_of("iot", standin.url, key, secret, token)
        assert code_of(forgotten.describe_endpoint) == ("UnrecognizedClientException", 403)


def test_a_session_can_be_made_short() -> None:
    with run_in_thread(Settings(ca_key="ec", session_s=0)) as standin:
        lent = client_of("sts", standin.url).assume_role(RoleArn=ROLE, RoleSessionName="cvmd")["Credentials"]
        iot = client_of("iot", standin.url, lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])
        assert code_of(iot.describe_endpoint) == ("ExpiredTokenException", 403)


def test_credentials_expire_at_their_time() -> None:
    now = 1000.0
    gate = Gate(access_keys=None, own_arn="arn:own", clock=lambda: now)
    lent = gate.lend("arn:lent", 60)
    header = f"AWS4-HMAC-SHA256 Credential={lent.access_key}/20260101/us-east-1/iot/aws4_request, SignedHeaders=host"
    now = 1059.9
    assert gate.admit(header, lent.token) == "arn:lent"
    assert gate.admit(header.replace(lent.access_key, "AKIA"), "") == "arn:own"
    now = 1060.0
    with pytest.raises(ServiceError, match="ExpiredTokenException"):
        gate.admit(header, lent.token)
    assert lent.token not in repr(lent)
    assert lent.secret_key not in repr(lent)


def test_a_role_can_ask_for_an_external_id() -> None:
    with run_in_thread(Settings(ca_key="ec", external_id="fleet")) as standin:
        sts = client_of("sts", standin.url)
        for wrong in ({}, {"ExternalId": "other"}):
            refused = code_of(lambda wrong=wrong: sts.assume_role(RoleArn=ROLE, RoleSessionName="cvmd", **wrong))
            assert refused == ("AccessDenied", 403)
        assert sts.assume_role(RoleArn=ROLE, RoleSessionName="cvmd", ExternalId="fleet")["Credentials"]


@pytest.mark.parametrize(("clock_s", "word"), [(400, "expired"), (-400, "not yet current")])
def test_a_clock_that_is_off_refuses_every_signature(clock_s: float, word: str) -> None:
    with run_in_thread(Settings(ca_key="ec", clock_s=clock_s)) as standin:
        for call in (
            client_of("iot", standin.url).describe_endpoint,
            client_of("sts", standin.url).get_caller_identity,
        ):
            with pytest.raises(ClientError, match=f"InvalidSignatureException.* Signature {word}") as caught:
                call()
        said = caught.value.response["ResponseMetadata"]["HTTPHeaders"]["date"]
        assert abs(parsedate_to_datetime(said).timestamp() - time.time() - clock_s) < 200


def test_sts_refuses_in_its_own_form(standin: Control) -> None:
    sts = client_of("sts", standin.url)
    assert sts.get_caller_identity()["Account"] == "123456789012"
    foreign = "arn:aws:iam::999999999999:role/vending"
    assert code_of(lambda: sts.assume_role(RoleArn=foreign, RoleSessionName="cvmd")) == ("AccessDenied", 403)
    assert code_of(lambda: sts.assume_role(RoleArn=ROLE, RoleSessionName="a b")) == ("InvalidRequestException", 400)
    assert code_of(sts.get_session_token) == ("NotImplemented", 501)
    standin.fault("AssumeRole", "throttle")
    assert code_of(lambda: sts.assume_role(RoleArn=ROLE, RoleSessionName="cvmd")) == ("ThrottlingException", 400)


def test_sessions_end_when_they_are_told_to() -> None:
    with run_in_thread(Settings(ca_key="ec")) as standin:
        sts = client_of("sts", standin.url)
        lent = sts.assume_role(RoleArn=ROLE, RoleSessionName="cvmd")["Credentials"]
        key, secret, token = lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"]
        iot = client_of("iot", standin.url, key, secret, token)
        assert iot.describe_endpoint()["endpointAddress"]
        standin.end_sessions()
        assert code_of(iot.describe_endpoint) == ("ExpiredTokenException", 403)
        again = sts.assume_role(RoleArn=ROLE, RoleSessionName="cvmd")["Credentials"]
        key, secret, token = again["AccessKeyId"], again["SecretAccessKey"], again["SessionToken"]
        assert client_of("iot", standin.url, key, secret, token).describe_endpoint()["endpointAddress"]
