"""`cvmd status`: for people, and for programs."""

import fcntl
import json
import os
import pty
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path

import pytest

import cvmd
from cvmd.cli.status import _look
from cvmd.store import Database
from tests.cvmd.cli.conftest import Cli


@pytest.fixture
def troubled(admin: Cli, tmp_path: Path) -> Cli:
    """An account whose calls are refused, while one issuance waits."""
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO breakers (account_id, policy, failures, until_us, fault, detail, opened_us)"
            " VALUES (1, '', 2, 2000000, 'account', 'AccessDeniedException', 1000000)"
        )
    return admin


@pytest.mark.usefixtures("troubled")
def test_it_says_what_holds_up_the_account_and_what_to_do(cli: Cli, tmp_path: Path) -> None:
    printed = cli("status", "--config", tmp_path / "cvmd.toml").out
    assert "AccessDeniedException" in printed
    assert "mend credentials" in printed
    assert "with the next device" in printed


def test_programs_get_json(troubled: Cli) -> None:
    document = json.loads(troubled("status", "--json").out)
    (breaker,) = document["breakers"]
    assert (breaker["account"], breaker["policy"], breaker["failures"]) == ("default", None, 2)
    assert breaker["opened"] == "1970-01-01T00:00:01Z"
    assert (document["issuances"], document["certificates"]) == ([], [])


def test_programs_get_every_table(add: Cli, admin: Cli) -> None:
    add("A1")
    document = admin("status", "--json").json
    assert document["products"] == [
        {"product": "meter", "devices": 1, "with_certificate": 0, "disabled": 0, "newest_issuance": {"none": 1}}
    ]
    assert document["rates"]["activated"] == {"last_60_s": 0, "last_3600_s": 0, "last_86400_s": 0}
    assert (document["queues"], document["nodes"]) == ([], [])


def test_json_tells_whether_a_node_is_alive(admin: Cli, tmp_path: Path) -> None:
    now_us = int(time.time()) * 1_000_000
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        for node, seen_us, stopped_us in ((b"a", now_us, None), (b"b", now_us - 40_000_000, None), (b"c", now_us, 1)):
            database.execute(
                "INSERT INTO nodes VALUES (?, 'host', 1, '1.0', 1, ?, ?)", (node * 16, seen_us, stopped_us)
            )
    alive = {it["node"][:2]: it["alive"] for it in admin("status", "--json").json["nodes"]}
    assert alive == {"61": True, "62": False, "63": False}


def test_to_watch_takes_a_terminal(admin: Cli) -> None:
    assert "--json" in admin("status", "--watch").complaint(1)
    for seconds in ("0", "3601", "soon", "nan"):
        assert "must be 1 to 3600 seconds" in admin("status", f"--watch={seconds}").err
    assert "not allowed with" in admin("status", "--watch", "--json").err


def test_who_watches_sees_what_comes_until_ctrl_c(add: Cli, configuration: Path) -> None:
    add("A1")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
    command = [sys.executable, "-m", "cvmd", "status", "--config", str(configuration), "--watch", "1"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=Path(cvmd.__file__).parents[1], stdout=theirs, env=environment) as watching:
        os.close(theirs)
        seen = _seen(ours, b"meter 1")
        assert b"devices, by their newest issuance" in seen
        add("A2", product="meter")
        _seen(ours, b"meter 2")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
    os.close(ours)


def _seen(terminal: int, wanted: bytes) -> bytes:
    """What the terminal shows, one space between words, until this is among it."""
    shown, deadline = b"", time.monotonic() + 60
    while wanted not in b" ".join(shown.split()):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)
    return shown


def test_who_watches_is_told_that_the_database_is_away(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path}/absent.db")) as database:
        assert str(_look(database)).startswith("the database does not answer: ")
