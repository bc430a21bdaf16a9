"""TLS to the database, and which passwords may leave without it.

The driver would hand the password out in clear, or under a key that the server has just sent, to whoever answers.
Where nothing proves or hides the line, that is refused here.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

from pymysql._auth import caching_sha2_password_auth, scramble_caching_sha2
from pymysql.connections import Connection
from pymysql.constants import CR
from pymysql.err import OperationalError
from pymysql.protocol import MysqlPacket

from cvmd.errors import ConfigError

Mode: TypeAlias = Literal["off", "required", "verify-ca", "verify"]

READABLE_PASSWORD: Final = 2061
"""MySQL's number for `authentication plugin reported error`; of ours alone, the driver does not raise it so."""
_READABLE: Final = "the password would be readable for whoever answers"
_FULL_AUTHENTICATION: Final = b"\x01\x04"
"""What a server sends that does not remember the password: extra data, 4 (MySQL, caching_sha2_password)."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections by TCP are made. `verify-ca`: somebody whom `ca` names signed the server's certificate;
    `verify`: and it is for the host that was asked for."""

    mode: Mode = "off"
    ca: Path | None = None
    """PEM; None: whom this machine trusts."""
    certificate: Path | None = None
    key: Path | None = None
    """Ours, where the server wants one: PEM, not encrypted."""

    def context(self) -> ssl.SSLContext | None:
        """For the driver; None for `off`. Raises ConfigError where a file cannot be used."""
        if self.mode == "off":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # MySQL and MariaDB make themselves certificates that lack what this asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = self.mode == "verify"
        if self.mode == "required":
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is None:
            context.load_default_certs()
        else:
            _load("tls_ca_file", self.ca, lambda: context.load_verify_locations(self.ca))
        if self.certificate is not None:
            certificate, key = self.certificate, self.key
            # A password is none to be asked for: the daemon has no terminal.
            _load("tls_cert_file", certificate, lambda: context.load_cert_chain(certificate, key, lambda: b""))
        return context


NO_TLS: Final = Tls()


def _load(name: str, path: Path, load: Any) -> None:  # noqa: ANN401  # one of ssl's loaders
    try:
        load()
    except ssl.SSLError as error:
        raise ConfigError(f"database.{name}: {path}: cannot be used: {error.reason or 'not PEM'}") from None
    except OSError as error:
        raise ConfigError(f"database.{name}: {path}: cannot be read: {error.strerror}") from None


def plugins(*, exposed: bool) -> dict[str, type[_Plugin]]:
    """What stands in for the driver's own ways to authenticate. `exposed`: to another machine, in clear or
    encrypted for whoever answers."""
    ours: dict[str, type[_Plugin]] = {} if find_spec("nacl") else {"client_ed25519": _NeedsPyNaCl}
    if exposed:
        readable = ("mysql_clear_password", "dialog", "mysql_old_password", "sha256_password")
        ours |= dict.fromkeys(readable, _Plugin) | {"caching_sha2_password": _HashOnly}
    return ours


def is_here(host: str | None) -> bool:
    """Whether that host is this machine, so that nobody is in between."""
    if not host or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Plugin:
    """A way to authenticate, as the driver calls it; this one never lets the password go."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection: Any = connection  # what a plugin needs of it has no annotations

    def authenticate(self, packet: MysqlPacket) -> MysqlPacket | None:
        """Answer `packet` of the server; its next one. Raises OperationalError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OperationalError(READABLE_PASSWORD, _READABLE)


class _HashOnly(_Plugin):
    """caching_sha2_password (MySQL 8) as far as it sends hashes.

    Further it goes under a public key that the server sends along: anybody in between can send one.
    """

    def authenticate(self, packet: MysqlPacket) -> MysqlPacket | None:
        connection = self._connection
        if packet.is_auth_switch_request():
            nonce = packet.read_all().removesuffix(b"\0")  # type: ignore[no-untyped-call]  # not annotated
            connection.write_packet(scramble_caching_sha2(connection.password, nonce))
            packet = connection._read_packet()
        if packet.get_all_data()[:2] == _FULL_AUTHENTICATION:  # type: ignore[no-untyped-call]  # not annotated
            self._refuse()
        return caching_sha2_password_auth(connection, packet) if packet.is_extra_auth_data() else packet


class Wary(Connection):
    """The driver's connection, for who is `exposed`.

    The driver answers a greeting that names sha256_password with the password itself, and asks none of `plugins`.
    """

    _auth_plugin_name: str

    def _get_server_information(self) -> None:
        super()._get_server_information()  # type: ignore[misc]  # it has no annotations
        if self._auth_plugin_name == "sha256_password":
            raise OperationalError(READABLE_PASSWORD, _READABLE)


class _NeedsPyNaCl(_Plugin):
    """MariaDB's ed25519, which the driver does with PyNaCl alone."""

    def authenticate(self, packet: MysqlPacket) -> MysqlPacket | None:
        raise OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, "ed25519 needs PyNaCl")
