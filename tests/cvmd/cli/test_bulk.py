"""A verb for many devices: how they are named, what is asked first, and what is said afterwards."""

import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import cvmd
from tests.cvmd.cli.conftest import Cli


@pytest.fixture
def failed(add: Cli, admin: Cli, tmp_path: Path) -> Cli:
    """A1 and A2 failed for want of a thing, A3 by a refusal, A4 has nothing."""
    for serial in ("A1", "A2", "A3", "A4"):
        add(serial)
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        for number, fault in enumerate(("thing-missing", "thing-missing", "refused"), 1):
            database.execute(
                "INSERT INTO issuances (device_id, account_id, uid, generation, state, resume_state, fault, key_source,"
                " created_us, updated_us) SELECT id, 1, randomblob(16), 1, 'failed', 'created', ?, 'ec-p256', 0, 0"
                " FROM devices WHERE serial = ?",
                (fault, f"A{number}".encode()),
            )
        database.execute("UPDATE devices SET generation = 1 WHERE serial <> x'4134'")
    return admin


def states(admin: Cli) -> list[str | None]:
    return [it["state"] for it in admin("devices", "list", "--json").json]


def test_those_of_a_fault_are_retried_and_no_others(failed: Cli) -> None:
    ran = failed("devices", "retry", "--fault", "thing-missing", "--yes")
    assert (ran.code, ran.out) == (0, "retry: 2 done, 0 failed\n")
    assert states(failed) == ["created", "created", "failed", None]


def test_those_of_a_product_are_the_failed_ones(failed: Cli) -> None:
    assert failed("devices", "retry", "--product", "meter", "--yes").out == "retry: 3 done, 0 failed\n"
    assert states(failed) == ["created"] * 3 + [None]


def test_a_dry_run_names_them_and_does_nothing(failed: Cli) -> None:
    ran = failed("devices", "revoke", "--product", "meter", "--dry-run")
    assert (ran.code, ran.out.split()) == (0, ["A1", "A2", "A3", "A4"])
    assert states(failed) == ["failed"] * 3 + [None]


def test_many_are_not_done_unasked(failed: Cli) -> None:
    assert "--yes" in failed("devices", "revoke", "--product", "meter").complaint(1)
    assert states(failed) == ["failed"] * 3 + [None]


@pytest.mark.parametrize("answer", [b"\n", b"n\n", b"\x04"], ids=["Enter", "n", "Ctrl-D"])
def test_who_is_asked_and_does_not_say_yes_has_nothing_done(failed: Cli, configuration: Path, answer: bytes) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "cvmd", "devices", "revoke", "--config", configuration, "--product", "meter"]
    ran = subprocess.run(
        command, cwd=Path(cvmd.__file__).parents[1], stdin=theirs, capture_output=True, text=True, check=False
    )
    os.close(theirs)
    os.close(ours)
    assert (ran.returncode, ran.stdout) == (1, "revoke 4 devices? [y/N] ")
    assert ran.stderr == "cvmd: revoke: nothing was done\n"
    assert states(failed) == ["failed"] * 3 + [None]


def test_found_ones_with_nothing_to_do_are_counted_and_named_ones_fail(failed: Cli, tmp_path: Path) -> None:
    named, rest = tmp_path / "serials", tmp_path / "rest"
    assert failed("devices", "revoke", "--product", "meter", "--yes").out == (
        "revoke: 3 done, 1 had nothing to do, 0 failed\n"
    )
    named.write_text("# these\nA1\n\nA9, no such\n")
    ran = failed("devices", "revoke", "--file", named, "--yes", "--failed", rest)
    assert (ran.code, ran.out) == (1, "revoke: 0 done, 2 failed\n")
    assert [line.split("\t")[0] for line in rest.read_text().splitlines()] == ["A1", "A9"]
    again = failed("devices", "reissue", "--file", rest, "--yes")
    assert (again.code, again.out) == (1, "reissue: 1 done, 1 failed\n")


def test_a_file_with_a_bad_line_is_named_and_nothing_is_done(failed: Cli, tmp_path: Path) -> None:
    named = tmp_path / "serials"
    named.write_text("A1\nno/serial\n")
    assert "line 2" in failed("devices", "retry", "--file", named, "--yes").complaint(1)
    assert states(failed)[0] == "failed"


def test_a_file_that_an_editor_has_marked_is_read_and_another_encoding_named(failed: Cli, tmp_path: Path) -> None:
    named = tmp_path / "serials"
    named.write_text("A1\n", encoding="utf-16")
    assert "is not UTF-8: save it as" in failed("devices", "retry", "--file", named, "--yes").complaint(1)
    named.write_text("A1\n", encoding="utf-8-sig")
    assert failed("devices", "retry", "--file", named, "--yes").out == "retry: 1 done, 0 failed\n"


def test_a_file_that_is_not_there_is_said_once(failed: Cli, tmp_path: Path) -> None:
    complaint = failed("devices", "retry", "--file", tmp_path / "none", "--yes").complaint(1)
    assert complaint == f"cvmd: {tmp_path}/none: cannot be read: No such file or directory"


@pytest.mark.parametrize("named", [[], ["A1", "--product", "meter"], ["--file", "x", "--fault", "refused"]])
def test_devices_are_named_in_one_way(failed: Cli, named: list[str]) -> None:
    assert "in one way" in failed("devices", "retry", *named).complaint(2)


def test_a_product_that_is_not_there_is_said(failed: Cli) -> None:
    assert "none" in failed("devices", "retry", "--product", "none", "--yes").complaint(1)


def test_history_tells_decisions_in_their_order(failed: Cli) -> None:
    failed("devices", "retry", "A1")
    events = [it["event"] for it in failed("devices", "history", "A1", "--json").json]
    assert events == ["added", "retried"]
    assert "retried" in failed("devices", "history", "A1").out
    assert "A9" in failed("devices", "history", "A9").complaint(1)


def test_history_without_any_decision_is_empty(failed: Cli, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        database.execute("DELETE FROM audit")
    ran = failed("devices", "history", "A4")
    assert (ran.code, ran.out.split()[:4]) == (0, ["at", "event", "detail", "by"])
    assert failed("devices", "history", "A4", "--json").json == []
