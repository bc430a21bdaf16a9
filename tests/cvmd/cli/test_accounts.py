"""`cvmd accounts`, run as a process."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvmd.issuer.permissions import iam_policy
from cvmd.issuer.roots import root_ca
from cvmd.store import AdminStore, Store
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import TRAIL, LosingDatabase, Scene
from tools.awsiot import Control

Cli = Callable[..., Any]

ROLE = "arn:aws-cn:iam::123456789012:role/cvmd"
DEFAULTS = {
    "name": "china",
    "partition": None,
    "region": None,
    "profile": None,
    "role_arn": None,
    "external_id": None,
    "endpoint_url": None,
    "sts_endpoint_url": None,
    "data_endpoint": None,
    "root_ca": None,
    "creates_per_s": 10,
    "exclusive": False,
    "products": 0,
    "certificates": 0,
}


def shown(admin: Cli, name: str = "china") -> Any:
    (found,) = (it for it in admin("accounts", "list", "--json").json if it["name"] == name)
    return found


def test_an_account_needs_a_name_only(admin: Cli) -> None:
    added = admin("accounts", "add", "china")
    assert (added.code, added.out, added.err) == (0, "", "")
    assert shown(admin) == DEFAULTS


def test_an_account_can_say_every_rule_and_take_it_back(admin: Cli) -> None:
    said = {
        "--partition": "aws-cn", "--region": "cn-north-1", "--profile": "china", "--role-arn": ROLE,
        "--external-id": "an:id", "--endpoint-url": "https://vpce-1.iot.cn-north-1.vpce.amazonaws.com.cn",
        "--sts-endpoint-url": "http://127.0.0.1:8090", "--data-endpoint": "a1-ats.iot.cn-north-1.amazonaws.com.cn",
        "--root-ca": "amazon-root-ca-3", "--creates-per-s": "15",
    }  # fmt: skip
    admin("accounts", "add", "china", *(part for pair in said.items() for part in pair), "--exclusive")

    rules = {option.removeprefix("--").replace("-", "_"): value for option, value in said.items()}
    assert shown(admin) == DEFAULTS | rules | {"creates_per_s": 15, "exclusive": True}

    none = [part for option in said if option != "--creates-per-s" for part in (option, "none")]
    assert admin("accounts", "set", "china", *none, "--no-exclusive").code == 0
    assert shown(admin) == DEFAULTS | {"creates_per_s": 15}


def test_set_changes_what_is_named_and_nothing_else(admin: Cli) -> None:
    admin("accounts", "add", "china", "--region", "cn-north-1", "--root-ca", "amazon-root-ca-1")
    assert admin("accounts", "set", "china", "--creates-per-s", "3").code == 0
    assert shown(admin) == DEFAULTS | {"region": "cn-north-1", "root_ca": "amazon-root-ca-1", "creates_per_s": 3}


def test_a_root_ca_is_kept_by_its_whole_path(admin: Cli, tmp_path: Path) -> None:
    """The daemon does not stand where the operator does."""
    (tmp_path / "ca.der").write_bytes(root_ca("amazon-root-ca-1", region=""))
    for said, kept in (("ca.der", str(tmp_path / "ca.der")), ("auto", "auto"), ("none", None)):
        assert admin("accounts", "set", "default", "--region", "eu-west-1", "--root-ca", said).code == 0
        assert shown(admin, "default")["root_ca"] == kept


def test_accounts_are_listed_by_name_with_what_hangs_on_them(admin: Cli) -> None:
    admin("accounts", "add", "china", "--region", "cn-north-1", "--root-ca", "amazon-root-ca-1")
    admin("products", "add", "meter", "--account", "china")
    assert [(it["name"], it["products"]) for it in admin("accounts", "list", "--json").json] == [
        ("china", 1),
        ("default", 0),
    ]
    assert "cn-north-1" in admin("accounts", "list").out


def a_certificate(directory: Path) -> None:
    """One of the account `default` that is at AWS, and its endpoint as AWS IoT said it."""
    with sqlite3.connect(directory / "cvmd.db") as database:
        database.execute("UPDATE accounts SET data_endpoint = 'old-ats.iot' WHERE id = 1")
        database.execute(
            "INSERT INTO certificates (certificate_id, account_id, arn, cert_der, status, created_us)"
            " VALUES (x'00', 1, 'arn', x'00', 'inactive', 1)"
        )
    database.close()


def test_an_account_with_certificates_is_not_led_elsewhere_unasked(admin: Cli, tmp_path: Path) -> None:
    a_certificate(tmp_path)
    for elsewhere in (("--region", "eu-west-1"), ("--role-arn", "arn:aws:iam::123456789012:role/cvmd")):
        complaint = admin("accounts", "set", "default", *elsewhere).complaint(1)
        assert "account default has 1 certificates at AWS" in complaint
    assert admin("accounts", "set", "default", "--external-id", "id").complaint(1)
    assert admin("accounts", "set", "default", "--creates-per-s", "3").code == 0
    assert shown(admin, "default")["data_endpoint"] == "old-ats.iot"

    moved = admin("accounts", "set", "default", "--region", "eu-west-1", "--yes")
    assert (moved.code, "asked anew for the endpoint, which was old-ats.iot" in moved.err) == (0, True)
    assert shown(admin, "default")["data_endpoint"] is None


def test_nor_one_of_which_nobody_knows_what_an_attempt_has_left(admin: Cli, tmp_path: Path) -> None:
    database = LosingDatabase(f"sqlite:///{tmp_path / 'cvmd.db'}")
    scene = Scene(database, Store(database, TRAIL), AdminStore(database, TRAIL))
    scene.admin.add_product("sensor", ProductRules())
    scene.intent()
    database.close()
    complaint = admin("accounts", "set", "default", "--region", "eu-west-1").complaint(1)
    assert "0 certificates, and perhaps what 1 attempts without an outcome have left, at AWS" in complaint


def test_the_region_of_the_configuration_may_be_said_of_the_account(
    admin: Cli, configuration: Path, tmp_path: Path
) -> None:
    configuration.write_text(configuration.read_text() + '[aws]\nregion = "eu-west-1"\n')
    a_certificate(tmp_path)
    assert admin("accounts", "set", "default", "--region", "eu-west-1").code == 0
    assert shown(admin, "default")["data_endpoint"] == "old-ats.iot"


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("add", "default"), 1, "account 'default' is there already; change it with `cvmd accounts set`"),
        (("set", "other", "--region", "eu-west-1"), 1, "there is no account 'other'"),
        (("add", "x", "--region", "cn-north-1", "--role-arn", ROLE.replace("-cn", "")), 2, "no role crosses"),
        (("add", "x", "--region", "moon-base-1"), 2, "'moon-base-1' is of no partition"),
        (("add", "x", "--external-id", "id"), 2, "external_id without role_arn"),
        (("add", "x", "--root-ca", "/no/such/file"), 2, "give a file, or one of auto"),
        (("add", "x", "--region", "cn-north-1", "--root-ca", "auto"), 2, "auto does not know which root"),
        (("add", "x", "--creates-per-s", "0"), 2, "must be 1 to 10000"),
        (("policy", "other"), 1, "there is no account 'other'"),
        (("policy", "default"), 2, "has no region, nor has [aws]: say --partition"),
        (("policy", "default", "--caller"), 1, "has no role: its own credentials need the policy"),
        (("policy", "--caller"), 2, "are of an account that has a role"),
    ],
)
def test_what_cannot_be_done_says_why(admin: Cli, arguments: tuple[str, ...], code: int, problem: str) -> None:
    assert problem in admin("accounts", *arguments).complaint(code)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--region", "Frankfurt"), "'Frankfurt' is no region: such as eu-central-1"),
        (("--role-arn", "cvmd"), "'cvmd' is no role: such as arn:aws:iam::123456789012:role/cvmd"),
        (("--endpoint-url", "http://iot.example.com"), "http only to this machine"),
        (("--data-endpoint", "mqtt://host"), "is no host name"),
        (("--external-id", "x"), "2 to 1224"),
        (("--partition", "azure"), "aws, aws-cn, aws-us-gov"),
    ],
)
def test_a_rule_that_is_wrong_is_code_2(cli: Cli, arguments: tuple[str, ...], problem: str) -> None:
    refused = cli("accounts", "add", "x", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert problem in refused.err


def test_the_policy_is_of_the_accounts_partition_region_and_role(admin: Cli) -> None:
    admin(
        "accounts", "add", "china", "--region", "cn-north-1", "--role-arn", ROLE, "--external-id", "id",
        "--root-ca", "amazon-root-ca-1",
    )  # fmt: skip
    policy = admin("accounts", "policy", "china").json
    assert {it["Resource"] for it in policy["Statement"]} == {
        "*", *(f"arn:aws-cn:iot:cn-north-1:123456789012:{kind}/*" for kind in ("cert", "policy", "thing"))
    }  # fmt: skip
    assert admin("accounts", "policy", "china", "--caller").json["Statement"][0]["Resource"] == ROLE
    machine = "arn:aws-cn:iam::123456789012:role/machine"
    trust = admin("accounts", "policy", "china", "--trust", machine).json["Statement"][0]
    assert trust["Principal"] == {"AWS": machine}
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "id"}}


def test_the_policy_is_there_before_there_is_a_database(cli: Cli) -> None:
    assert '"arn:aws:iot:*:*:cert/*"' in cli("accounts", "policy").out
    gov = cli("accounts", "policy", "--partition", "aws-us-gov")
    assert "arn:aws-us-gov:iot:" in json.dumps(gov.json)
    assert "arn:aws:" not in gov.out


# test


@pytest.fixture
def at_aws(standin: Control, configuration: Path, tmp_path: Path) -> Path:
    """The stand-in as AWS, by credentials in a file; the configuration."""
    file = tmp_path / "aws.config"
    file.touch(mode=0o600)
    file.write_text("[profile fleet]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n")
    settings = {
        "region": "us-east-1", "endpoint_url": standin.url, "sts_endpoint_url": standin.url, "profile": "fleet",
        "config_file": str(file), "root_ca": "amazon-root-ca-1",
    }  # fmt: skip
    lines = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    configuration.write_text(f"{configuration.read_text()}[aws]\n{lines}")
    return configuration


@pytest.mark.usefixtures("at_aws")
def test_an_account_that_is_well_passes(admin: Cli) -> None:
    told = admin("accounts", "test", "default")
    assert (told.code, told.err) == (0, ""), told
    assert ", 0 failed, " in told.out
    assert all(it in told.out for it in ("credentials", "clock", "iot:UpdateCertificate", "root CA", "quotas"))


@pytest.mark.usefixtures("at_aws")
def test_what_fails_is_code_1_and_says_what_to_do(admin: Cli, standin: Control) -> None:
    admin("accounts", "add", "other", "--creates-per-s", "15")
    standin.allow(iam_policy("aws", account="000000000000"))
    told = admin("accounts", "test", "--json")
    assert told.code == 1
    by_name = {(it["of"].removeprefix("account "), it["check"]): it for it in told.json}
    assert {account for account, _ in by_name} == {"default", "other"}
    failed = by_name["default", "iot:GetPolicy"]
    assert (failed["result"], "accounts policy default" in failed["to_do"]) == ("failed", True)
    assert by_name["default", "iot:ListCertificates"]["result"] == "passed"
    assert by_name["other", "quotas"]["result"] == "warning"
    table = admin("accounts", "test", "default").out
    assert "not authorized to perform: iot:GetPolicy" in table


@pytest.mark.usefixtures("at_aws")
def test_a_root_ca_that_is_gone_fails(admin: Cli, tmp_path: Path) -> None:
    file = tmp_path / "root.der"
    file.write_bytes(root_ca("amazon-root-ca-3", region=""))
    assert admin("accounts", "set", "default", "--root-ca", file).code == 0
    file.unlink()
    told = admin("accounts", "test", "default", "--json")
    (failed,) = (it for it in told.json if it["result"] == "failed")
    assert (failed["check"], "give a file" in failed["detail"]) == ("root CA", True)


def test_an_account_that_is_not_there_cannot_be_tested(admin: Cli) -> None:
    assert "there is no account 'other'" in admin("accounts", "test", "other").complaint(1)
