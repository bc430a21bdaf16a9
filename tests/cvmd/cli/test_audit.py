"""`cvmd audit`, and whose key the verbs that decide want."""

import os
import pwd
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cvmd.cli.conftest import Cli


@pytest.fixture
def audited(admin: Cli, tmp_path: Path) -> Cli:
    """Two devices; dev-1 was disabled, and enabled again."""
    assert admin("products", "add", "sensor").code == 0
    for serial in ("dev-1", "dev-2"):
        assert add(admin, tmp_path, serial) == 0
    assert admin("devices", "disable", "dev-1").code == 0
    assert admin("devices", "enable", "dev-1").code == 0
    return admin


def add(admin: Cli, directory: Path, serial: str) -> int:
    return admin(
        "devices", "add", serial, "--product", "sensor", "--thing", "thing", "--policy", "policy",
        "--token-out", directory / f"{serial}.token",
    ).code  # fmt: skip


def sql(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / "cvmd.db", isolation_level=None)) as connection:
        connection.execute(statement)


def test_show_tells_who_decided_what_and_when(audited: Cli) -> None:
    found = audited("audit", "show", "dev-1", "--json").json
    actor = f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    assert [{**line, "at": None} for line in found] == [
        {"seq": 1, "at": None, "actor": actor, "event": "added", "detail": "thing policy"},
        {"seq": 2, "at": None, "actor": actor, "event": "disabled", "detail": ""},
        {"seq": 3, "at": None, "actor": actor, "event": "enabled", "detail": ""},
    ]
    assert all(line["at"].endswith("Z") for line in found)
    shown = audited("audit", "show", "dev-1")
    assert "disabled" in shown.out
    assert actor in shown.out


def test_show_is_no_judge_of_what_stands_there(audited: Cli, tmp_path: Path) -> None:
    sql(tmp_path, "UPDATE audit SET actor = char(27) || '[2J', detail = NULL, event = 'nonsense' WHERE seq = 2")
    shown = audited("audit", "show", "dev-1")
    assert shown.code == 0
    assert "nonsense" in shown.out
    assert "\x1b" not in shown.out


def test_chains_that_hold(audited: Cli) -> None:
    assert audited("audit", "verify").out == "2 devices, 4 lines, 0 broken chains\n"
    assert audited("audit", "verify", "dev-1", "--json").json == {"devices": 1, "lines": 3, "broken": []}


def test_a_broken_chain_is_named_with_its_line_and_what_it_means(audited: Cli, tmp_path: Path) -> None:
    sql(tmp_path, "DELETE FROM audit WHERE seq = 2")
    told = audited("audit", "verify")
    assert told.code == 1
    (row,) = [line for line in told.out.splitlines() if "dev-" in line]
    assert row.strip().split(maxsplit=2) == ["dev-1", "2", "the line is missing: somebody took it out of the database"]
    assert told.out.endswith("2 devices, 3 lines, 1 broken chains\n")
    assert "1 of 2 audit chains are broken" in told.err

    told = audited("audit", "verify", "dev-2", "dev-1", "--json")
    assert told.code == 1
    ((broken),) = told.json["broken"]
    assert (broken["serial"], broken["line"]) == ("dev-1", 2)
    assert audited("audit", "verify", "dev-2").code == 0


@pytest.mark.parametrize("verb", ["show", "verify"])
def test_a_device_that_is_not_there(audited: Cli, verb: str) -> None:
    assert "there is no device 'dev-9'" in audited("audit", verb, "dev-9").complaint(1)


def test_what_decides_and_what_verifies_wants_the_master_key(audited: Cli, tmp_path: Path) -> None:
    (tmp_path / "master.key").unlink()
    for command in (
        ("devices", "disable", "dev-1"), ("devices", "enable", "dev-1"), ("devices", "retry", "dev-1"),
        ("devices", "reissue", "dev-1"), ("audit", "verify"),
    ):  # fmt: skip
        assert "master.key" in audited(*command).complaint(2)
    for command in (("devices", "show", "dev-1"), ("devices", "list"), ("audit", "show", "dev-1")):
        assert audited(*command).code == 0


def test_another_master_key_decides_nothing(audited: Cli, tmp_path: Path) -> None:
    (tmp_path / "master.key").chmod(0o600)
    (tmp_path / "master.key").write_text("0123456789abcdef" * 4)
    assert "not the master key" in audited("devices", "disable", "dev-1").complaint(2)
    assert audited("devices", "show", "dev-1", "--json").json["disabled"] is False
