"""Accounts as an operator makes them."""

import pytest

from cvmd.errors import ConfigError
from cvmd.store.accounts import AccountRules
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene, a_claim, a_key

ALL = AccountRules(
    partition="aws-cn",
    region="cn-north-1",
    profile="china",
    role_arn="arn:aws-cn:iam::123456789012:role/cvmd",
    external_id="external",
    endpoint_url="https://iot",
    sts_endpoint_url="https://sts",
    data_endpoint="data",
    root_ca="amazon-root-ca-3",
    creates_per_s=15,
    exclusive=True,
)


def test_names_that_are_wrong_taken_or_not_there(scene: Scene) -> None:
    for name in ("", "-x", "a b", "ä", "x" * 65, "x\n"):
        with pytest.raises(ConfigError, match="a name is"):
            scene.admin.add_account(name, AccountRules())
    with pytest.raises(ConfigError, match="there already"):
        scene.admin.add_account("default", AccountRules())
    for missing in (
        lambda: scene.admin.set_account("Default", AccountRules()),
        lambda: scene.admin.show_account("other"),
    ):
        with pytest.raises(ConfigError, match="there is no account"):
            missing()


@pytest.mark.parametrize("rate", [0, -1, 10_001])
def test_a_rate_that_is_none(rate: int) -> None:
    with pytest.raises(ConfigError, match="creates_per_s"):
        AccountRules(creates_per_s=rate)


def test_an_external_id_is_of_a_role() -> None:
    with pytest.raises(ConfigError, match="external_id without role_arn"):
        AccountRules(external_id="external")


def test_an_account_is_what_was_said_and_can_be_used(scene: Scene) -> None:
    scene.admin.add_account("china", ALL)
    scene.admin.add_product("pump", ProductRules(), account="china")
    record = scene.admin.show_account("china")
    assert (record.rules, record.products, record.certificates) == (ALL, 1, 0)
    issuance = scene.queued(scene.device(product="pump"))
    account = issuance.account
    assert account == record.account
    for name in (
        "region", "profile", "role_arn", "external_id", "endpoint_url", "sts_endpoint_url", "data_endpoint", "root_ca",
        "creates_per_s",
    ):  # fmt: skip
        assert getattr(account, name) == getattr(ALL, name), name
    assert scene.store.open_attempt(issuance, a_claim(), key=a_key())
    scene.admin.set_account("china", AccountRules())
    assert scene.admin.show_account("china").rules == AccountRules()


def test_a_certificate_counts_while_it_is_at_aws(scene: Scene) -> None:
    issuance = scene.active(scene.device())
    (before,) = scene.admin.list_accounts()
    assert (before.account.name, before.certificates) == ("default", 1)
    assert issuance.certificate_id is not None
    scene.sql("UPDATE certificates SET status = 'deleted', live_device_id = NULL")
    (after,) = scene.admin.list_accounts()
    assert after.certificates == 0
