"""Strict mode: what the policy allows passes, and nothing else; a refusal says action and resource."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_iot import IoTClient

from cvmd.issuer.permissions import iam_policy
from tools.awsiot import Control, Settings, run_in_thread

ID = "0" * 64
ARN = f"arn:aws:iot:us-east-1:123456789012:cert/{ID}"


def document(action: str | list[str], resource: str | list[str] = "*", effect: str = "Allow") -> dict[str, Any]:
    return {"Statement": [{"Effect": effect, "Action": action, "Resource": resource}]}


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert response["Error"]["Code"] == "AccessDeniedException"
    return response["Error"]["Message"]


def test_nothing_is_allowed_that_the_policy_does_not_name(standin: Control, iot: IoTClient) -> None:
    standin.allow(document("iot:DescribeEndpoint"))
    assert iot.describe_endpoint()
    said = refused(lambda: iot.update_certificate(certificateId=ID, newStatus="ACTIVE"))
    assert "User: arn:aws:iam::123456789012:user/stand-in is not authorized" in said
    assert f"perform: iot:UpdateCertificate on resource: {ARN} because no identity-based policy" in said
    assert standin.calls("UpdateCertificate", "AccessDeniedException") == 1


def test_a_call_that_is_refused_has_no_effect(standin: Control, iot: IoTClient, make_csr: Callable[..., str]) -> None:
    standin.allow(document("iot:List*"))
    refused(lambda: iot.create_certificate_from_csr(certificateSigningRequest=make_csr()))
    assert iot.list_certificates()["certificates"] == []


@pytest.mark.parametrize("action", ["iot:*", "iot:Describe*", "IOT:describecertificate", "iot:DescribeCertificat?"])
@pytest.mark.parametrize("resource", ["*", "arn:aws:iot:*:*:cert/*", [ARN, "x"], ARN[:-1] + "?"])
def test_patterns(standin: Control, iot: IoTClient, action: str, resource: str | list[str]) -> None:
    standin.allow(document(action, resource))
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_certificate(certificateId=ID)


@pytest.mark.parametrize("resource", ["arn:aws:iot:*:*:thing/*", "arn:aws-cn:iot:*:*:cert/*", ARN[:-1], "arn.aws*"])
def test_another_resource_is_not_meant(standin: Control, iot: IoTClient, resource: str) -> None:
    standin.allow(document("iot:*", resource))
    refused(lambda: iot.describe_certificate(certificateId=ID))
    refused(iot.list_certificates)


def test_a_deny_wins(standin: Control, iot: IoTClient) -> None:
    both = document("iot:*")["Statement"] + document("iot:ListThings", effect="Deny")["Statement"]
    standin.allow({"Statement": both})
    assert iot.list_policies()
    assert "explicit deny" in refused(iot.list_things)


def test_each_call_is_judged_by_what_it_is_asked_of(standin: Control, iot: IoTClient) -> None:
    standin.allow(document("iot:ListCertificates"))
    calls: dict[str, Callable[[], object]] = {
        "cert/" + ID: lambda: iot.attach_policy(policyName="p", target=ARN),
        "cert/" + ID + " ": lambda: iot.detach_thing_principal(thingName="t", principal=ARN),
        "policy/p": lambda: iot.get_policy(policyName="p"),
        "thing/t": lambda: iot.list_thing_principals(thingName="t"),
        "*": lambda: iot.list_principal_things(principal=ARN),
    }
    for resource, call in calls.items():
        assert f"{resource.strip()} because" in refused(call)


def test_a_reset_is_back_to_the_settings(connect: Callable[..., IoTClient]) -> None:
    with run_in_thread(Settings(ca_key="ec", iam_policy=document("iot:ListThings"))) as standin:
        iot = connect(standin.url)
        standin.allow(None)
        assert iot.list_policies()
        standin.reset()
        refused(iot.list_policies)
        assert iot.list_things()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ([], "a list Statement"),
        ({"Statement": [{"Effect": "Allow", "Action": "*"}]}, "all but Sid"),
        ({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {}}]}, "and nothing else"),
        (document("*", effect="Maybe"), "Allow or Deny"),
    ],
)
def test_a_policy_that_it_cannot_judge_by_is_refused(standin: Control, wrong: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        standin.allow(wrong)


def test_the_policy_that_cvmd_ships_is_one(standin: Control, iot: IoTClient) -> None:
    standin.allow(iam_policy("aws", region="us-east-1", account="123456789012"))
    assert iot.list_certificates()
    refused(lambda: iot.create_thing(thingName="t"))
