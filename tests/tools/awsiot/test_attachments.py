"""What is attached to what, seen from every side, at once and late."""

from collections.abc import Callable

import pytest
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control, Settings, run_in_thread
from tools.awsiot.store import Links


@pytest.fixture
def arn(standin: Control, certificate: dict[str, str]) -> str:
    standin.seed_things(["t1", "t2"])
    standin.seed_policies([f"p{number}" for number in range(11)])
    return certificate["certificateArn"]


def test_a_policy_is_seen_from_both_sides(iot: IoTClient, arn: str) -> None:
    for _ in range(2):
        iot.attach_policy(policyName="p1", target=arn)
    attached = iot.list_attached_policies(target=arn)["policies"]
    assert attached == [{"policyName": "p1", "policyArn": "arn:aws:iot:us-east-1:123456789012:policy/p1"}]
    assert iot.list_targets_for_policy(policyName="p1")["targets"] == [arn]
    for _ in range(2):
        iot.detach_policy(policyName="p1", target=arn)
    assert iot.list_attached_policies(target=arn)["policies"] == []
    assert iot.list_targets_for_policy(policyName="p1")["targets"] == []


def test_a_certificate_has_ten_policies_and_no_more(iot: IoTClient, arn: str) -> None:
    for number in range(10):
        iot.attach_policy(policyName=f"p{number}", target=arn)
    iot.attach_policy(policyName="p0", target=arn)
    with pytest.raises(iot.exceptions.LimitExceededException) as caught:
        iot.attach_policy(policyName="p10", target=arn)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 410
    iot.detach_policy(policyName="p0", target=arn)
    iot.attach_policy(policyName="p10", target=arn)


def test_a_thing_is_seen_from_both_sides(iot: IoTClient, arn: str) -> None:
    for _ in range(2):
        iot.attach_thing_principal(thingName="t1", principal=arn)
    iot.attach_thing_principal(thingName="t2", principal=arn)
    assert iot.list_thing_principals(thingName="t1")["principals"] == [arn]
    assert iot.list_principal_things(principal=arn)["things"] == ["t1", "t2"]
    for _ in range(2):
        iot.detach_thing_principal(thingName="t1", principal=arn)
    assert iot.list_thing_principals(thingName="t1")["principals"] == []
    assert iot.list_principal_things(principal=arn)["things"] == ["t2"]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("attach_policy", {"policyName": "none", "target": "ARN"}),
        ("attach_policy", {"policyName": "p1", "target": "OTHER"}),
        ("list_attached_policies", {"target": "OTHER"}),
        ("list_targets_for_policy", {"policyName": "none"}),
        ("attach_thing_principal", {"thingName": "none", "principal": "ARN"}),
        ("attach_thing_principal", {"thingName": "t1", "principal": "OTHER"}),
        ("detach_thing_principal", {"thingName": "none", "principal": "ARN"}),
        ("detach_thing_principal", {"thingName": "t1", "principal": "OTHER"}),
        ("list_thing_principals", {"thingName": "none"}),
        ("list_principal_things", {"principal": "OTHER"}),
    ],
)
def test_what_is_not_there_is_not_found(iot: IoTClient, arn: str, call: str, arguments: dict[str, str]) -> None:
    names = {"ARN": arn, "OTHER": arn[:-64] + "0" * 64}
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        getattr(iot, call)(**{key: names.get(value, value) for key, value in arguments.items()})


@pytest.mark.parametrize("target", ["", "arn:aws:iot:us-east-1:999999999999:cert/0", "us-east-1:cognito"])
def test_detach_policy_declares_no_not_found(iot: IoTClient, arn: str, target: str) -> None:
    iot.detach_policy(policyName="none", target=arn)
    iot.detach_policy(policyName="p1", target=arn[:-64] + "0" * 64)
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.detach_policy(policyName="p1", target=target)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("attach_policy", {"policyName": "a b"}),
        ("attach_policy", {"policyName": "p" * 129}),
        ("attach_policy", {"policyName": "\N{LATIN SMALL LETTER E WITH ACUTE}"}),
        ("attach_thing_principal", {"thingName": "a.b"}),
        ("attach_thing_principal", {"thingName": "t" * 129}),
        ("attach_thing_principal", {"thingName": "t1", "thingPrincipalType": "SHARED"}),
        ("attach_thing_principal", {"thingName": "t1", "thingPrincipalType": "EXCLUSIVE_THING"}),
    ],
)
def test_a_name_that_breaks_the_model_is_refused(
    iot: IoTClient, arn: str, call: str, arguments: dict[str, str]
) -> None:
    side = "target" if call == "attach_policy" else "principal"
    with pytest.raises(iot.exceptions.InvalidRequestException):
        getattr(iot, call)(**{**arguments, side: arn})


def test_lists_come_in_pages(standin: Control, iot: IoTClient, arn: str) -> None:
    things = [f"unit-{number}" for number in range(30)]
    standin.seed_things(things)
    for thing in things:
        iot.attach_thing_principal(thingName=thing, principal=arn)
    pages = list(iot.get_paginator("list_principal_things").paginate(principal=arn))
    assert [len(page["things"]) for page in pages] == [25, 5]
    assert [thing for page in pages for thing in page["things"]] == things
    for number in range(5):
        iot.attach_policy(policyName=f"p{number}", target=arn)
    paginator = iot.get_paginator("list_attached_policies")
    pages = list(paginator.paginate(target=arn, PaginationConfig={"PageSize": 2}))
    assert [len(page["policies"]) for page in pages] == [2, 2, 1]


def test_a_history_is_in_the_order_of_the_account(standin: Control, iot: IoTClient, arn: str) -> None:
    identity = arn[-64:]
    iot.attach_policy(policyName="p1", target=arn)
    iot.attach_thing_principal(thingName="t1", principal=arn)
    iot.update_certificate(certificateId=identity, newStatus="ACTIVE")
    (told,) = standin.state()["certificates"]
    assert (told["id"], told["status"]) == (identity, "ACTIVE")
    assert (told["things"], told["policies"]) == (["t1"], ["p1"])
    assert told["history"] == [
        {"n": 1, "status": "INACTIVE"},
        {"n": 2, "attached": "policy/p1"},
        {"n": 3, "attached": "thing/t1"},
        {"n": 4, "status": "ACTIVE"},
    ]
    iot.update_certificate(certificateId=identity, newStatus="INACTIVE")
    iot.detach_thing_principal(thingName="t1", principal=arn)
    iot.delete_certificate(certificateId=identity, forceDelete=True)
    (gone,) = standin.state()["deleted"]
    assert gone["history"][-2:] == [{"n": 6, "detached": "thing/t1"}, {"n": 7, "status": "DELETED"}]


def test_a_change_is_seen_by_both_sides_once_the_lag_is_over() -> None:
    now = 100.0
    links = Links(lag_s=2.0, clock=lambda: now)
    assert links.attach("c", "t")
    assert (links.names("c"), links.certificates("t"), links.settled_names("c")) == ([], [], ["t"])
    now = 102.0
    assert not links.attach("c", "t")
    assert (links.names("c"), links.certificates("t")) == (["t"], ["c"])
    assert links.detach("c", "t")
    assert (links.names("c"), links.certificates("t"), links.settled_names("c")) == (["t"], ["c"], [])
    now = 104.0
    assert (links.names("c"), links.certificates("t")) == ([], [])


def test_with_a_lag_what_was_just_attached_is_not_listed(
    connect: Callable[..., IoTClient], make_csr: Callable[..., str]
) -> None:
    with run_in_thread(Settings(ca_key="ec", lag_s=3600)) as standin:
        standin.seed_policies(["p"])
        iot = connect(standin.url)
        arn = iot.create_certificate_from_csr(certificateSigningRequest=make_csr())["certificateArn"]
        iot.attach_policy(policyName="p", target=arn)
        assert iot.list_attached_policies(target=arn)["policies"] == []
        assert standin.state()["certificates"][0]["policies"] == ["p"]
