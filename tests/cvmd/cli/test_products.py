"""`cvmd products`, run as a process."""

from collections.abc import Callable
from typing import Any

import pytest

Cli = Callable[..., Any]

DEFAULTS = {
    "name": "meter",
    "account": "default",
    "auth": "token",
    "key_source": "ec-p256",
    "reissue_limit": 0,
    "offer_lifetime_s": 604_800,
    "grace_s": 604_800,
    "connect_after_s": 5,
    "share_things": False,
    "devices": 0,
}


def show(admin: Cli, name: str = "meter") -> Any:
    return admin("products", "show", name, "--json").json


def test_a_product_needs_a_name_only(admin: Cli) -> None:
    added = admin("products", "add", "meter")

    assert (added.code, added.out, added.err) == (0, "", "")
    assert show(admin) == DEFAULTS


def test_a_product_can_say_every_rule(admin: Cli) -> None:
    admin(
        "products", "add", "meter", "--auth", "token", "--key-source", "device-csr", "--account", "default",
        "--reissue-limit", "unlimited", "--offer-lifetime", "12h", "--grace", "1d", "--connect-after", "30",
        "--share-things",
    )  # fmt: skip

    assert show(admin) == DEFAULTS | {
        "key_source": "device-csr",
        "reissue_limit": "unlimited",
        "offer_lifetime_s": 43_200,
        "grace_s": 86_400,
        "connect_after_s": 30,
        "share_things": True,
    }


def test_set_changes_what_is_named_and_nothing_else(admin: Cli) -> None:
    admin("products", "add", "meter", "--grace", "1d", "--share-things")

    assert admin("products", "set", "meter", "--reissue-limit", "3", "--no-share-things").code == 0

    assert show(admin) == DEFAULTS | {"grace_s": 86_400, "reissue_limit": 3}


def test_products_are_listed_by_name(admin: Cli) -> None:
    for name in ("valve", "meter"):
        admin("products", "add", name)

    assert [product["name"] for product in admin("products", "list", "--json").json] == ["meter", "valve"]
    printed = admin("products", "list").out
    assert printed.index("meter") < printed.index("valve")


def test_an_empty_list_is_a_list(admin: Cli) -> None:
    assert admin("products", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("add", "meter"), "product 'meter' is there already"),
        (("set", "valve", "--grace", "1d"), "there is no product 'valve'"),
        (("show", "valve"), "there is no product 'valve'"),
        (("add", "valve", "--account", "other"), "there is no account 'other'"),
    ],
)
def test_what_cannot_be_done_is_code_1(admin: Cli, arguments: tuple[str, ...], problem: str) -> None:
    admin("products", "add", "meter")

    assert problem in admin("products", *arguments).complaint(1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--auth", "derived"), "'derived' is not offered by this version of cvmd; offered: token"),
        (("--auth", "password"), "'password' is unknown; offered: token"),
        (("--key-source", "aws-rsa2048"), "not offered by this version of cvmd; offered: ec-p256, rsa2048, device-csr"),
        (("--grace", "1w"), "write 90s, 15m, 12h or 7d"),
        (("--connect-after", "65536"), "from 0s to 65535s"),
        (("--offer-lifetime", "1s"), "from 60s"),
        (("--reissue-limit", "many"), "'many' is no limit"),
    ],
)
def test_a_rule_that_is_wrong_is_code_2(cli: Cli, arguments: tuple[str, ...], problem: str) -> None:
    refused = cli("products", "add", "meter", *arguments)

    assert (refused.code, refused.out) == (2, "")
    assert problem in refused.err
