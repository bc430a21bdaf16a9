"""`cvmd devices`, run as a process."""

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cvmd.sealing import Sealer, load_master_key
from cvmd.seals import unseal_token
from tests.cvmd.cli.conftest import TOKEN

Cli = Callable[..., Any]


def sealed_token(tmp_path: Path, serial: bytes) -> bytes:
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        ((sealed,),) = database.execute("SELECT sealed_token FROM devices WHERE serial = ?", (serial,))
    return bytes(sealed)


def unsealed_token(tmp_path: Path, serial: bytes) -> bytes:
    sealer = Sealer(load_master_key(tmp_path / "master.key"))
    return unseal_token(sealed_token(tmp_path, serial), serial, sealer).reveal()


def show(admin: Cli, serial: str = "A1") -> Any:
    return admin("devices", "show", serial, "--json").json


def test_a_device_is_there_as_it_was_added(add: Cli, admin: Cli) -> None:
    added = add("A1")

    assert (added.code, added.out, added.err) == (0, "", "")
    assert show(admin) == {
        "serial": "A1",
        "product": "meter",
        "thing": "thing-A1",
        "policy": "p",
        "disabled": False,
        "activations": 0,
        "reissue_until": None,
        "issuances": [],
        "certificates": [],
    }
    assert admin("products", "show", "meter", "--json").json["devices"] == 1


def test_inv6_the_token_is_sealed_for_its_row_before_the_store_sees_it(add: Cli, tmp_path: Path) -> None:
    assert add("A1").code == 0

    assert unsealed_token(tmp_path, b"A1") == TOKEN
    for part in tmp_path.glob("cvmd.db*"):
        assert TOKEN not in part.read_bytes()
        assert TOKEN.hex().encode() not in part.read_bytes()


def test_inv6_a_minted_token_is_in_its_file_alone(add: Cli, tmp_path: Path) -> None:
    path = tmp_path / "minted"

    added = add("A1", token_file=None, token_out=path)

    token = bytes.fromhex(path.read_text())
    assert (added.code, added.out, added.err) == (0, "", "")
    assert len(token) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert unsealed_token(tmp_path, b"A1") == token


def test_a_product_says_whether_its_devices_have_tokens(admin: Cli, add: Cli, tmp_path: Path) -> None:
    said = add("A1", token_file=None).complaint(1)
    assert "'meter' has auth token: --token-out FILE makes the token" in said
    admin("products", "add", "derived", "--auth", "derived", "--key-out", tmp_path / "key")
    admin("products", "add", "serial", "--auth", "serial")
    for product in ("derived", "serial"):
        said = add(product, product=product).complaint(1)
        assert f"has auth {product}, so its devices have no tokens of their own" in said
        assert add(product, product=product, token_file=None).code == 0
        assert sealed_token(tmp_path, product.encode()) == b""
    assert "there is no product" in add("A2", product="other").complaint(1)


def test_a_token_file_that_is_there_is_neither_overwritten_nor_used(add: Cli, admin: Cli, tmp_path: Path) -> None:
    path = tmp_path / "minted"
    path.write_text("mine")

    assert "exists and is not overwritten" in add("A1", token_file=None, token_out=path).complaint(1)
    assert path.read_text() == "mine"
    assert admin("devices", "list", "--json").json == []


def test_a_refused_device_leaves_no_token_behind(add: Cli, tmp_path: Path) -> None:
    add("A1")
    path = tmp_path / "minted"

    assert "A1" in add("A1", token_file=None, token_out=path).complaint(1)
    assert not path.exists()


def test_a_serial_is_taken_once_and_compared_byte_for_byte(add: Cli, tmp_path: Path) -> None:
    add("A1")
    before = sealed_token(tmp_path, b"A1")

    complaint = add("A1", thing="other").complaint(1)

    assert complaint == "cvmd: device A1 is there already; nothing was imported"
    assert sealed_token(tmp_path, b"A1") == before
    assert add("a1").code == 0


@pytest.mark.parametrize(
    ("serial", "option", "value", "problem"),
    [
        ("A 1", "thing", "t", "'A 1' is no serial"),
        ("x" * 65, "thing", "t", "is no serial"),
        ("A1", "thing", "a.b", "'a.b' is no thing name"),
        ("A1", "policy", "a/b", "'a/b' is no policy name"),
        ("A1", "token_out", "minted", "not allowed with argument"),
    ],
)
def test_an_argument_that_is_wrong_is_code_2(add: Cli, serial: str, option: str, value: Any, problem: str) -> None:
    refused = add(serial, **{option: value})

    assert (refused.code, refused.out) == (2, "")
    assert problem in refused.err


def test_inv6_a_short_token_is_refused_and_not_repeated(add: Cli, token_file: Path) -> None:
    token_file.write_text(TOKEN[:15].hex())

    complaint = add("A1").complaint(2)

    assert "16 to 64 random bytes" in complaint
    assert TOKEN[:4].hex() not in complaint


def test_a_product_that_is_not_there_is_named(add: Cli) -> None:
    assert "there is no product 'valve'" in add("A1", product="valve").complaint(1)


def test_a_thing_that_another_device_has_is_warned_of(add: Cli, admin: Cli) -> None:
    assert "warning" not in add("A1", thing="t").err
    assert "thing t is that of device A1 too" in add("A2", thing="t").err
    assert "warning" not in admin("devices", "set", "A1", "--thing", "t").err
    assert "warning" not in admin("devices", "set", "A2", "--thing", "own").err
    assert "device A2: thing t is that of device A1 too" in admin("devices", "set", "A2", "--thing", "t").err
    assert admin("products", "set", "meter", "--share-things").code == 0
    assert "warning" not in add("A3", thing="t").err


def test_inv6_nothing_is_sealed_under_another_master_key(add: Cli, admin: Cli, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "master.key").unlink()
    cli("secrets", "new", tmp_path / "master.key")

    assert "not the master key" in add("A1").complaint(2)
    assert admin("devices", "list", "--json").json == []


def test_devices_are_listed_in_order_and_by_filter(add: Cli, admin: Cli) -> None:
    admin("products", "add", "valve")
    add("B1")
    add("A2", product="valve")
    add("A1")
    admin("devices", "disable", "A2")

    def listed(*options: str) -> list[str]:
        return [device["serial"] for device in admin("devices", "list", "--json", *options).json]

    assert listed() == ["A1", "A2", "B1"]
    assert listed("--product", "meter") == ["A1", "B1"]
    assert listed("--prefix", "A") == ["A1", "A2"]
    assert listed("--disabled") == ["A2"]
    assert listed("--no-disabled") == ["A1", "B1"]
    assert listed("--state", "queued") == listed("--certified") == []
    assert listed("--no-certified") == ["A1", "A2", "B1"]
    printed = admin("devices", "list").out
    assert printed.index("A1") < printed.index("A2") < printed.index("B1")


def test_disable_and_enable(add: Cli, admin: Cli) -> None:
    add("A1")

    assert admin("devices", "disable", "A1").code == 0
    assert show(admin)["disabled"] is True
    assert admin("devices", "disable", "A1").code == 0
    assert admin("devices", "enable", "A1").code == 0
    assert show(admin)["disabled"] is False


def test_a_window_for_reissue_is_opened_and_closed(add: Cli, admin: Cli) -> None:
    add("A1")

    admin("devices", "reissue", "A1", "--for", "2d")
    opened = show(admin)["reissue_until"]
    admin("devices", "reissue", "A1", "--for", "0")

    assert show(admin)["reissue_until"] < opened


def test_revoke_ends_what_is_being_made_and_says_so_in_the_audit(add: Cli, admin: Cli, tmp_path: Path) -> None:
    add("A1")
    assert "A1" in admin("devices", "revoke", "A1").complaint(1), "there is nothing to revoke yet"
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO issuances (device_id, account_id, uid, generation, state, key_source, not_before_us,"
            " created_us, updated_us) SELECT id, 1, x'00112233445566778899aabbccddeeff', 1, 'queued', 'ec-p256', 0, 0,"
            " 0 FROM devices WHERE serial = x'4131'"
        )

    assert admin("devices", "revoke", "A1").code == 0

    assert [it["state"] for it in show(admin)["issuances"]] == ["closed"]
    assert "cancelled" in admin("audit", "show", "A1").out


def test_show_prints_for_people(add: Cli, admin: Cli) -> None:
    add("A1")

    printed = admin("devices", "show", "A1").out

    assert "serial:" in printed
    assert "thing-A1" in printed


@pytest.mark.parametrize("verb", ["show", "disable", "enable", "retry", "reissue", "revoke"])
def test_a_device_that_is_not_there_is_code_1(admin: Cli, verb: str) -> None:
    assert "there is no device 'A1'" in admin("devices", verb, "A1").complaint(1)


def test_a_device_is_mapped_anew(admin: Cli, add: Cli) -> None:
    add("A1")
    add("A2")
    assert admin("devices", "set", "A1", "--thing", "other", "--policy", "q").code == 0
    listed = admin("devices", "list", "--json").json
    assert [(it["thing"], it["policy"]) for it in listed] == [("other", "q"), ("thing-A2", "p")]
    assert "is mapped to thing other and policy q already" in admin("devices", "set", "A1", "--policy", "q").complaint(
        1
    )
    assert admin("devices", "set", "--product", "meter", "--policy", "r", "--yes").out == "set: 2 done, 0 failed\n"
    assert "say --thing, --policy, or both" in admin("devices", "set", "A1").complaint(2)
    assert "of one device" in admin("devices", "set", "--product", "meter", "--thing", "t").complaint(2)
    assert "remapped" in admin("audit", "show", "A1").out
    assert admin("audit", "verify").code == 0


def test_devices_are_exported_without_their_tokens(admin: Cli, add: Cli, tmp_path: Path) -> None:
    add("A1")
    add("A2")
    admin("devices", "disable", "A2")
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO certificates (certificate_id, account_id, device_id, live_device_id, arn, cert_der, status,"
            " created_us) SELECT x'0aff', 1, id, id, 'arn', 'der', 'active', 0 FROM devices WHERE serial = x'4131'"
        )
    expected = "serial,product,thing,policy,disabled,state,certificate_id\nA1,meter,thing-A1,p,no,,0aff\n"
    assert admin("devices", "export").out == expected + "A2,meter,thing-A2,p,yes,,\n"
    assert admin("devices", "export", "--product", "meter").out.count("\n") == 3
    assert "there is no product" in admin("devices", "export", "--product", "valve").complaint(1)
