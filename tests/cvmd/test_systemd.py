"""What passes between systemd and the daemon, with a socket in systemd's place."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvmd import systemd
from cvmd.errors import ConfigError


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """systemd's end of NOTIFY_SOCKET, and what the variable says."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@cvmd-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + name[1:] if name.startswith("@") else name)
        end.settimeout(10)
        yield end, name


def test_systemd_hears_of_ready_status_and_stopping(manager: tuple[socket.socket, str]) -> None:
    end, name = manager
    notifier = systemd.Notifier({"NOTIFY_SOCKET": name})

    notifier.ready("serving")
    notifier.status("two\nlines")
    notifier.stopping("3 connections left")
    notifier.close()
    notifier.status("not sent")

    heard = [end.recv(1000).decode() for _ in range(3)]
    assert heard == ["READY=1\nSTATUS=serving", "STATUS=two lines", "STOPPING=1\nSTATUS=3 connections left"]
    end.setblocking(False)
    with pytest.raises(BlockingIOError):
        end.recv(1000)


def test_the_loop_feeds_the_watchdog_until_cancelled(manager: tuple[socket.socket, str]) -> None:
    end, name = manager
    end.setblocking(False)
    notifier = systemd.Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000"})

    async def hear_three() -> list[bytes]:
        loop = asyncio.get_running_loop()
        feeding = asyncio.create_task(notifier.feed_watchdog())
        heard = [await asyncio.wait_for(loop.sock_recv(end, 1000), 10) for _ in range(3)]
        feeding.cancel()
        return heard

    assert asyncio.run(hear_three()) == [b"WATCHDOG=1"] * 3
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
    ],
)
def test_the_watchdog_is_ours_if_systemd_says_so(environment: dict[str, str], seconds: float | None) -> None:
    assert systemd.Notifier(environment).watchdog_s == seconds


def test_without_systemd_nothing_happens() -> None:
    notifier = systemd.Notifier({})

    notifier.ready("serving")
    asyncio.run(notifier.feed_watchdog())

    assert systemd.inherited_sockets({}) == []


def test_a_manager_that_is_gone_does_not_stop_the_daemon(tmp_path: Path) -> None:
    notifier = systemd.Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})

    notifier.ready("serving")
    notifier.close()


def test_sockets_for_another_process_are_not_ours() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}

    assert systemd.inherited_sockets(environment) == []
    assert environment == {}


def test_a_count_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS is 'many'"):
        systemd.inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})


ACTIVATED = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from cvmd.errors import ConfigError
from cvmd.systemd import inherited_sockets
try:
    ((name, inherited),) = inherited_sockets()
except ConfigError as error:
    sys.exit(str(error))
assert not os.get_inheritable(inherited.fileno()) and not inherited.getblocking()
assert not any(name.startswith("LISTEN_") for name in os.environ)
print(inherited.getsockname()[1], name)
"""


def _activate(passed: int, **names: str) -> subprocess.CompletedProcess[str]:
    """Run ACTIVATED as systemd would, with `passed` as its file descriptor 3."""
    command = [sys.executable, "-c", ACTIVATED]
    script = f"import os; os.dup2({passed}, 3); os.execv({sys.executable!r}, {command!r})"
    return subprocess.run(
        [sys.executable, "-c", script],
        pass_fds=[passed],
        env={**os.environ, "LISTEN_FDS": "1", **names},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_listening_socket_is_inherited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ran = _activate(listener.fileno())
        named = _activate(listener.fileno(), LISTEN_FDNAMES="tls")
        port = listener.getsockname()[1]

    assert (ran.returncode, ran.stdout) == (0, f"{port} \n"), ran.stderr
    assert named.stdout == f"{port} tls\n"


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as idle:
        ran = _activate(idle.fileno())

    assert ran.returncode == 1
    assert "does not listen: the .socket unit needs ListenStream=" in ran.stderr


def test_a_file_in_a_sockets_place_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        ran = _activate(file.fileno())

    assert ran.returncode == 1
    assert "file descriptor 3 is no socket" in ran.stderr
