"""`cvmd serve`, run as a process: what it refuses to start on, how it starts and how it stops."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cvmd

Cli = Callable[..., Any]


@contextmanager
def serving(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon; its log is beside the configuration. Killed at the end if it still runs."""
    with (configuration.parent / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "cvmd", "serve", "--config", str(configuration)],
            cwd=Path(cvmd.__file__).parents[1], stderr=log, stdout=subprocess.PIPE,
        )  # fmt: skip
    with daemon:
        yield daemon
        daemon.kill()


def line(configuration: Path, daemon: subprocess.Popen[bytes], event: str, within_s: float = 60) -> Any:
    """The log's line of this event, as soon as it is there."""
    log, deadline = configuration.parent / "log", time.monotonic() + within_s
    while time.monotonic() < deadline:
        ended = daemon.poll() is not None
        for text in log.read_text().splitlines(keepends=True):
            if text.endswith("\n") and json.loads(text)["event"] == event:
                return json.loads(text)
        assert not ended, log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"no line {event!r}: {log.read_text()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_until_it_is_told_to_stop(admin: Cli, configuration: Path, number: signal.Signals) -> None:
    configuration.write_text(configuration.read_text() + "[listen]\nport = 0\n")

    with serving(configuration) as daemon:
        host, _, port = line(configuration, daemon, "listening")["address"].rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()
        daemon.send_signal(number)
        assert daemon.wait(60) == 0

    assert line(configuration, daemon, "stopped")["issuances_left"] == 0


def test_inv6_a_daemon_leaves_no_core_file(admin: Cli, configuration: Path) -> None:
    configuration.write_text(configuration.read_text() + "[listen]\nport = 0\n")

    with serving(configuration) as daemon:
        line(configuration, daemon, "listening")
        limits = Path(f"/proc/{daemon.pid}/limits").read_text()

    (core,) = (limit for limit in limits.splitlines() if limit.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def test_a_port_that_is_taken_is_named(admin: Cli, cli: Cli, configuration: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        configuration.write_text(configuration.read_text() + f"[listen]\nport = {port}\n")

        refused = cli("serve", "--config", configuration)

    assert refused.code == 2
    assert f"cannot bind 127.0.0.1:{port}: Address already in use" in refused.err


def test_it_does_not_start_on_a_database_without_tables(cli: Cli, configuration: Path) -> None:
    assert "cvmd db migrate" in cli("serve", "--config", configuration).complaint(2)


def test_inv6_it_does_not_start_under_another_master_key(admin: Cli, cli: Cli, configuration: Path) -> None:
    (configuration.parent / "master.key").unlink()
    cli("secrets", "new", "master.key")

    assert "not the master key that this database was set up with" in cli("serve", "--config", configuration).complaint(
        2
    )
