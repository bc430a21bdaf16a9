"""`cvmd products`, run as a process."""

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cvmd.sealing import Sealer, load_master_key

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
    "source_networks": None,
    "window_until": None,
    "allow_server_keys": False,
    "devices": 0,
}
KEY = bytes(range(7, 39))


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


def product_key(tmp_path: Path, name: str = "meter") -> bytes:
    """As the database has it, unsealed."""
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        ((sealed,),) = database.execute("SELECT sealed_auth FROM products WHERE name = ?", (name,))
    sealer = Sealer(load_master_key(tmp_path / "master.key"))
    return sealer.unseal(sealed, table="products", column="sealed_auth derived", row=name.encode()).reveal()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "product.key"
    path.write_text(KEY.hex())
    path.chmod(0o600)
    return path


def test_inv6_a_minted_product_key_is_sealed_and_in_its_file_alone(admin: Cli, tmp_path: Path) -> None:
    path = tmp_path / "minted"

    added = admin("products", "add", "meter", "--auth", "derived", "--key-out", path)

    key = bytes.fromhex(path.read_text())
    assert (added.code, added.out, added.err) == (0, "", "")
    assert (len(key), stat.S_IMODE(path.stat().st_mode)) == (32, 0o600)
    assert product_key(tmp_path) == key
    for part in tmp_path.glob("cvmd.db*"):
        assert key not in part.read_bytes()
    assert show(admin)["auth"] == "derived"


def test_a_product_key_of_the_operators_own(admin: Cli, tmp_path: Path, key_file: Path) -> None:
    assert admin("products", "add", "meter").code == 0
    assert admin("products", "set", "meter", "--auth", "derived", "--key-file", key_file).code == 0
    assert product_key(tmp_path) == KEY
    assert admin("products", "set", "meter", "--grace", "1d").code == 0
    assert product_key(tmp_path) == KEY


@pytest.mark.parametrize("arguments", [("--auth", "serial"), ("--auth", "token"), ("--key-out", "other")])
def test_auth_and_product_key_stay_while_there_are_devices(
    admin: Cli, tmp_path: Path, key_file: Path, arguments: tuple[str, ...]
) -> None:
    admin("products", "add", "meter", "--auth", "derived", "--key-file", key_file)
    admin("devices", "add", "A1", "--product", "meter", "--thing", "t", "--policy", "p")

    assert "'meter' has 1 devices" in admin("products", "set", "meter", *arguments).complaint(1)

    assert product_key(tmp_path) == KEY
    assert not (tmp_path / "other").exists()


def test_a_refused_product_leaves_no_key_behind(admin: Cli, tmp_path: Path) -> None:
    admin("products", "add", "meter")
    out = tmp_path / "minted"

    said = admin("products", "add", "meter", "--auth", "derived", "--key-out", out).complaint(1)
    assert "'meter' is there already" in said
    said = admin("products", "add", "valve", "--auth", "token", "--key-out", out).complaint(1)
    assert "auth token has no product key" in said
    assert not out.exists()
    assert "auth derived needs a product key: --key-out" in admin(
        "products", "set", "meter", "--auth", "derived"
    ).complaint(1)


def test_a_key_file_that_cannot_be_used_is_code_2(admin: Cli, key_file: Path) -> None:
    add = ("products", "add", "meter", "--auth", "derived", "--key-file")
    assert "nowhere: this secret cannot be read" in admin(*add, "nowhere").complaint(2)
    key_file.write_text("00" * 15)
    assert "a product key has 16 to 64 random bytes, this one 15" in admin(*add, key_file).complaint(2)


def test_the_rules_of_auth_serial(admin: Cli) -> None:
    made = admin(
        "products", "add", "meter", "--auth", "serial", "--key-source", "device-csr",
        "--source-networks", "10.0.0.0/8, 2001:DB8::/32",
    )  # fmt: skip
    assert (made.code, made.err) == (0, "")
    assert show(admin)["source_networks"] == "10.0.0.0/8,2001:db8::/32"

    opened = admin("products", "set", "meter", "--source-networks", "none", "--window", "12h")
    assert (opened.code, opened.err) == (0, "")
    shown = show(admin)
    until = datetime.fromisoformat(shown["window_until"])
    assert (shown["source_networks"], until > datetime.now(UTC)) == (None, True)
    assert show(admin)["window_until"] == shown["window_until"]

    closed = admin("products", "set", "meter", "--window", "0")
    assert closed.code == 0
    assert closed.err.startswith("cvmd: warning: product meter: no device of auth serial may call now")
    assert show(admin)["window_until"] is None


def test_inv6_what_was_changed_in_the_database_alone_is_not_sealed_with_the_next_change(
    admin: Cli, tmp_path: Path
) -> None:
    admin(
        "products", "add", "meter", "--auth", "serial", "--key-source", "device-csr", "--source-networks", "10.0.0.0/8"
    )
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        database.execute("UPDATE products SET source_networks = '203.0.113.0/24', allow_server_keys = 1")

    said = admin("products", "set", "meter", "--grace", "1d").complaint(1)
    assert "are not those that the operator has set; find out who writes to the database" in said
    said = admin("products", "set", "meter", "--source-networks", "10.0.0.0/8").complaint(1)
    assert "say all of --source-networks, --window and --allow-server-keys" in said

    all_of_them = ("--source-networks", "10.0.0.0/8", "--window", "0", "--no-allow-server-keys")
    assert admin("products", "set", "meter", *all_of_them).code == 0
    assert admin("products", "set", "meter", "--grace", "1d").code == 0


def test_what_is_dangerous_is_said_and_done(admin: Cli) -> None:
    made = admin("products", "add", "meter", "--auth", "serial", "--window", "1h", "--allow-server-keys")
    assert made.code == 0
    assert made.err.startswith(
        "cvmd: warning: product meter: whoever names a listed serial gets its certificate and its"
    )
    assert made.err.count("\n") == 1
    assert show(admin)["allow_server_keys"] is True
    assert "refuses keys made here (CHANNEL)" in admin("products", "set", "meter", "--no-allow-server-keys").err


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
        (("--auth", "password"), "'password' is unknown; it is one of token, derived, serial"),
        (("--auth", "serial", "--source-networks", "10.1.0.0/8"), "10.0.0.0/8 is one"),
        (("--auth", "serial", "--window", "31d"), "from 0s to 2592000s"),
        (("--auth", "derived", "--key-out", "a", "--key-file", "b"), "not allowed with argument"),
        (("--key-source", "rsa4096"), "'rsa4096' is unknown; it is one of ec-p256, rsa2048, device-csr, aws-rsa2048"),
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


def test_a_product_without_devices_is_deleted(admin: Cli, add: Cli) -> None:
    admin("products", "add", "valve")
    add("A1")
    assert admin("products", "delete", "valve").code == 0
    assert [it["name"] for it in admin("products", "list", "--json").json] == ["meter"]
    assert "'meter' has 1 devices" in admin("products", "delete", "meter").complaint(1)
    assert "there is no product 'valve'" in admin("products", "delete", "valve").complaint(1)
