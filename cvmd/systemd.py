"""What passes between systemd and a service: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

Outside of systemd none of the variables is set, and everything here does nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

import structlog

from cvmd.errors import ConfigError

_FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START."""


class Notifier:
    """Tells systemd how the service is. A message that cannot be sent is logged, and has no other effect."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._socket: socket.socket | None = None
        self.watchdog_s = _watchdog_s(environment)
        """Within so many seconds systemd wants to hear of us; None: it does not wait."""
        if address := environment.get("NOTIFY_SOCKET"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # Never blocks the loop: a full queue at systemd loses a message, and the next one comes.
            self._socket.setblocking(False)
            self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """Configuration, credentials and the listener stand."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Files are being read anew; `ready` says when it is done."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The drain has begun."""
        self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        self._send(f"STATUS={_one_line(text)}")

    async def feed_watchdog(self) -> None:
        """Run until cancelled; returns at once where no watchdog waits. Nothing but the loop itself feeds it:
        a database or an AWS that is down is no reason to restart."""
        while self.watchdog_s is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 3)

    def close(self) -> None:
        """Nothing is sent afterwards."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            structlog.stdlib.get_logger("cvmd").warning("systemd was not told", message=message, error=error.strerror)


def inherited_sockets(environment: MutableMapping[str, str] = os.environ) -> list[tuple[str, socket.socket]]:
    """The listening sockets of .socket units, non-blocking, each behind its FileDescriptorName; none where systemd
    passed none. Call it once: it takes the variables away, so that no child believes them. Raises ConfigError if one
    does not listen."""
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()):
        return []
    if not count.isdecimal():
        raise ConfigError(f"LISTEN_FDS is {count!r}, not a number: start the daemon by systemd, or unset it")
    passed = [_listening(fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]
    return list(zip(names + [""] * len(passed), passed, strict=False))


def _listening(fd: int) -> socket.socket:
    try:
        inherited = socket.socket(fileno=fd)
        accepts = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"inherited file descriptor {fd} is no socket: {error.strerror}") from None
    if not accepts or inherited.type != socket.SOCK_STREAM:
        raise ConfigError(f"inherited socket {fd} does not listen: the .socket unit needs ListenStream=")
    inherited.set_inheritable(False)
    inherited.setblocking(False)
    return inherited


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1_000_000 if microseconds.isdecimal() and int(microseconds) > 0 else None


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
