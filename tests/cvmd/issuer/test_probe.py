"""An account that is well, and each way in which it is not: the line that says so, and what to do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvmd.checks import Check
from cvmd.issuer.aws_iot import AwsSettings
from cvmd.issuer.permissions import actions, iam_policy
from cvmd.issuer.probe import Probe, _questions
from cvmd.model import Account
from tools.awsiot import Control, Settings, run_in_thread

ROLE = "arn:aws:iam::123456789012:role/cvmd"
WITHOUT_A_CALL = {"iot:CreateKeysAndCertificate"} & set(actions())
"""What cannot be asked for without making a certificate."""

Probing = Callable[..., dict[str, Check]]


@pytest.fixture
def probing(standin: Control, account: Account) -> Probing:
    """The checks of the account by their names."""

    def run(**changes: Any) -> dict[str, Check]:
        return checks(standin, replace(account, **changes))

    return run


def checks(standin: Control, account: Account, *, endpoint: str | None = None, **settings: Any) -> dict[str, Check]:
    defaults = {"region": "us-east-1", "endpoint_url": standin.url, "sts_endpoint_url": standin.url}
    probe = Probe(AwsSettings(**(defaults | settings)))
    return {it.name: it for it in probe.run(account, data_endpoint=endpoint)}


def not_passed(found: dict[str, Check]) -> dict[str, str]:
    return {name: it.word for name, it in found.items() if it.word != "passed" and name not in WITHOUT_A_CALL}


def test_an_account_that_is_well(standin: Control, probing: Probing) -> None:
    before = standin.state()
    found = probing(role_arn=ROLE)
    assert list(found) == ["credentials", "role", "clock", "endpoint", *actions(), "quotas"]
    assert not_passed(found) == {}
    assert found["credentials"].detail == "arn:aws:iam::123456789012:user/stand-in"
    assert found["role"].detail == "arn:aws:sts::123456789012:assumed-role/cvmd/cvmd"
    assert found["endpoint"].detail.endswith("-ats.iot.us-east-1.amazonaws.com")
    assert standin.state() == before, "nothing has changed at AWS"


def test_every_permission_has_its_question() -> None:
    assert set(_questions("arn")) == set(actions()) - WITHOUT_A_CALL


@pytest.mark.parametrize("action", sorted(set(actions()) - WITHOUT_A_CALL))
def test_a_permission_that_lacks_is_named(standin: Control, probing: Probing, action: str) -> None:
    standin.allow(without(action))
    found = probing()
    endpoint = {"endpoint": "failed"} if action == "iot:DescribeEndpoint" else {}
    assert not_passed(found) == {action: "failed"} | endpoint
    assert f"not authorized to perform: {action}" in found[action].detail
    assert "`cvmd accounts policy main`" in found[action].to_do


def without(action: str) -> dict[str, Any]:
    """The policy that we ship, but for this action."""
    document = iam_policy("aws")
    for statement in document["Statement"]:
        named = statement["Action"]
        statement["Action"] = [it for it in ([named] if isinstance(named, str) else named) if it != action]
    return document


@pytest.mark.parametrize("clock_s", [3600, -3600])
def test_a_clock_that_is_off_by_an_hour(account: Account, clock_s: float) -> None:
    with run_in_thread(Settings(ca_key="ec", clock_s=clock_s)) as standin:
        found = checks(standin, account)
    assert (found["credentials"].passed, found["clock"].passed) == (False, False)
    assert ("behind AWS's" if clock_s > 0 else "ahead of AWS's") in found["clock"].detail
    assert "NTP" in found["clock"].to_do
    assert "set the clock" in found["credentials"].to_do
    assert all(found[name].passed is None for name in ("endpoint", *actions()))


def test_a_role_whose_external_id_is_wrong(account: Account) -> None:
    with run_in_thread(Settings(ca_key="ec", external_id="right")) as standin:
        found = checks(standin, replace(account, role_arn=ROLE, external_id="wrong"))
        assert not_passed(checks(standin, replace(account, role_arn=ROLE, external_id="right"))) == {}
    assert (found["credentials"].passed, found["role"].passed, found["clock"].passed) == (True, False, True)
    assert "sts:AssumeRole" in found["role"].detail
    assert "`cvmd accounts policy main --caller`" in found["role"].to_do
    assert found["iot:GetPolicy"].passed is None


def test_credentials_that_aws_does_not_know(account: Account) -> None:
    with run_in_thread(Settings(ca_key="ec", access_keys=frozenset({"AKIDOTHER"}))) as standin:
        found = checks(standin, replace(account, role_arn=ROLE))
    assert (found["credentials"].passed, found["role"].passed, found["clock"].passed) == (False, None, True)
    assert "UnrecognizedClientException" in found["credentials"].detail
    assert "renew the credentials" in found["credentials"].to_do


def test_no_credentials(standin: Control, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = checks(standin, account)
    assert "NoCredentialsError" in found["credentials"].detail
    assert "docs/accounts.md" in found["credentials"].to_do
    assert (found["credentials"].passed, found["clock"].passed) == (False, None)


def test_no_region(standin: Control, account: Account) -> None:
    found = checks(standin, account, region=None)
    assert (found["credentials"].passed, "accounts set main --region" in found["credentials"].to_do) == (False, True)


def test_sts_is_needed_for_a_role_only(standin: Control, account: Account) -> None:
    """As in a private network that has no endpoint for it."""
    nowhere = "http://127.0.0.1:1"
    found = checks(standin, account, sts_endpoint_url=nowhere)
    assert not_passed(found) == {"credentials": "not checked"}
    found = checks(standin, replace(account, role_arn=ROLE), sts_endpoint_url=nowhere)
    assert (found["credentials"].passed, found["iot:GetPolicy"].passed) == (False, None)
    assert "network, DNS, proxy" in found["credentials"].to_do


def test_iot_that_cannot_be_reached(standin: Control, probing: Probing) -> None:
    found = probing(endpoint_url="http://127.0.0.1:1")
    assert (found["credentials"].passed, found["endpoint"].passed) == (True, False)
    assert all(found[action].passed is None for action in actions())


def test_what_is_throttled_is_not_checked(standin: Control, probing: Probing) -> None:
    standin.fault("GetPolicy", "throttle")
    found = probing()
    assert not_passed(found) == {"iot:GetPolicy": "not checked"}
    assert found["iot:GetPolicy"].to_do == "ask again"


def test_an_endpoint_that_is_not_the_accounts_own(standin: Control, account: Account) -> None:
    found = checks(standin, account, endpoint="mqtt.example.com")
    assert not_passed(found) == {"endpoint": "warning"}
    assert "devices are told mqtt.example.com, AWS IoT says" in found["endpoint"].detail


def test_more_creates_than_aws_activates_by_default(probing: Probing) -> None:
    found = probing(creates_per_s=11)
    assert not_passed(found) == {"quotas": "warning"}
    assert "11 new certificates a second" in found["quotas"].detail
    assert "--creates-per-s 10" in found["quotas"].to_do


def test_inv6_no_secret_is_in_what_is_found(standin: Control, account: Account, tmp_path: Path) -> None:
    file = tmp_path / "aws"
    file.write_text("[own]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hush-hush\n")
    standin.allow({"Statement": []})
    found = checks(standin, replace(account, profile="own"), config_file=file)
    assert "hush-hush" not in str(found)
