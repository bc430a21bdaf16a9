"""Where a node listens: the sockets that systemd hands over, or its own."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cvmd import systemd
from cvmd.config import Config
from cvmd.errors import ConfigError

TLS_NAME: Final = "tls"
"""FileDescriptorName= in cvmd-tls.socket; what has another name, or none, is plain."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Bound sockets of each listener; none: there is no such listener."""

    plain: list[socket.socket]
    tls: list[socket.socket]


def sockets(config: Config) -> Bound:
    """Those that systemd handed over, and for a listener that got none a new one.

    Raises ConfigError where an address is taken, or where a socket was handed over that nobody is to serve.
    """
    inherited = systemd.inherited_sockets()
    plain = [sock for name, sock in inherited if name != TLS_NAME]
    tls = [sock for name, sock in inherited if name == TLS_NAME]
    if tls and not config.tls.certificate_file:
        raise ConfigError(
            "tls.certificate_file: is empty, and systemd hands over a socket for TLS: name the certificate, or "
            "`systemctl disable --now cvmd-tls.socket`"
        )
    if plain and not config.listen.plain:
        raise ConfigError(
            "listen.plain: is false, and systemd hands over a plain socket: `systemctl mask --now cvmd.socket`"
        )
    if not plain and config.listen.plain:
        plain = [bind_tcp("listen", config.listen.host, config.listen.port)]
    if not tls and config.tls.certificate_file:
        tls = [bind_tcp("tls", config.tls.host, config.tls.port)]
    return Bound(plain, tls)


def bind_tcp(section: str, host: str, port: int) -> socket.socket:
    """A bound socket that listens. Raises ConfigError, which names the keys of `section`."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"{section}: cannot bind {host}:{port}: {error.strerror}; "
            f"is another cvmd running there? see {section}.host and {section}.port"
        ) from None


def addresses(of: Iterable[socket.socket]) -> str | None:
    """host:port of each, for people; None of none."""
    return ", ".join("{}:{}".format(*sock.getsockname()[:2]) for sock in of) or None
