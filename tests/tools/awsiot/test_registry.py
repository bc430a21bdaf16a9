"""Things, policies, the endpoint, and the account's names."""

from collections.abc import Callable

import pytest
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control, Settings, run_in_thread

DOCUMENT = '{"Version": "2012-10-17", "Statement": []}'


def test_a_thing_is_made_once_and_described(iot: IoTClient) -> None:
    payload = {"attributes": {"colour": "red"}}
    first = iot.create_thing(thingName="t:1", attributePayload=payload)
    assert iot.create_thing(thingName="t:1", attributePayload=payload)["thingId"] == first["thingId"]
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_thing(thingName="t:1")
    told = iot.describe_thing(thingName="t:1")
    assert told["thingArn"] == first["thingArn"] == "arn:aws:iot:us-east-1:123456789012:thing/t:1"
    assert (told["attributes"], told["defaultClientId"]) == ({"colour": "red"}, "t:1")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName="t:2")


def test_a_policy_is_made_once_and_got(iot: IoTClient) -> None:
    made = iot.create_policy(policyName="p+=,.@-1", policyDocument=DOCUMENT)
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_policy(policyName="p+=,.@-1", policyDocument=DOCUMENT)
    with pytest.raises(iot.exceptions.MalformedPolicyException):
        iot.create_policy(policyName="p2", policyDocument="{")
    got = iot.get_policy(policyName="p+=,.@-1")
    assert (got["policyDocument"], got["policyArn"]) == (DOCUMENT, made["policyArn"])
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_policy(policyName="p2")


def test_what_is_attached_is_not_deleted(standin: Control, iot: IoTClient, certificate: dict[str, str]) -> None:
    standin.seed_things(["t"])
    standin.seed_policies(["p"])
    arn = certificate["certificateArn"]
    iot.attach_thing_principal(thingName="t", principal=arn)
    iot.attach_policy(policyName="p", target=arn)
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.delete_thing(thingName="t")
    with pytest.raises(iot.exceptions.DeleteConflictException):
        iot.delete_policy(policyName="p")
    iot.detach_thing_principal(thingName="t", principal=arn)
    iot.detach_policy(policyName="p", target=arn)
    iot.delete_policy(policyName="p")
    for _ in range(2):
        iot.delete_thing(thingName="t")
    assert (standin.state()["things"], standin.state()["policies"]) == ([], [])


def test_seeds_come_in_pages_and_twice_is_once(standin: Control, iot: IoTClient) -> None:
    names = [f"n{number}" for number in range(5001)]
    for _ in range(2):
        standin.seed_things(names)
        standin.seed_policies(names[:30])
    pages = iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 250})
    assert [thing["thingName"] for page in pages for thing in page["things"]] == names
    pages = list(iot.get_paginator("list_policies").paginate(ascendingOrder=True))
    assert [len(page["policies"]) for page in pages] == [25, 5]
    assert [policy["policyName"] for page in pages for policy in page["policies"]] == names[:30]


def test_a_seed_that_is_no_list_of_names_is_told_so(standin: Control) -> None:
    with pytest.raises(ValueError, match="JSON list"):
        standin._json("POST", "things", {"thingName": "t"})


def test_the_endpoint_is_constant(iot: IoTClient) -> None:
    hosts = {iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"] for _ in range(3)}
    (host,) = hosts
    assert host.endswith("-ats.iot.us-east-1.amazonaws.com")
    assert iot.describe_endpoint()["endpointAddress"] != host
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.describe_endpoint(endpointType="iot:Nonsense")


def test_account_region_partition_and_endpoint_are_the_settings(
    connect: Callable[..., IoTClient], make_csr: Callable[..., str]
) -> None:
    china = Settings(ca_key="ec", partition="aws-cn", region="cn-north-1", account_id="000011112222")
    with run_in_thread(china) as standin:
        iot = connect(standin.url)
        made = iot.create_certificate_from_csr(certificateSigningRequest=make_csr())
        assert made["certificateArn"].startswith("arn:aws-cn:iot:cn-north-1:000011112222:cert/")
        assert iot.describe_endpoint()["endpointAddress"].endswith(".iot.cn-north-1.amazonaws.com.cn")
    with run_in_thread(Settings(ca_key="ec", endpoint="broker.test")) as standin:
        iot = connect(standin.url)
        assert iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"] == "broker.test"
