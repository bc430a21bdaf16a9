"""TLS between a socket and a connection: records in and out of memory, the same Connection above as without.

asyncio's own TLS keeps a buffer of 256 KiB for each connection. Here one that waits costs what OpenSSL keeps.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from cryptography import x509

from cvmd.config import read_secret, secret_path
from cvmd.errors import ConfigError

log = logging.getLogger(__name__)

WARN_BEFORE: Final = timedelta(days=14)
"""So long before it expires, and from then on, the certificate is an error in the log."""
_LOOK_AGAIN_S: Final = 86_400.0
_READ_BYTES: Final = 16_384
"""As much as a record holds."""
_UNFINISHED: Final = "the handshake was not finished"

_MEANINGS: Final = {
    "HTTP_REQUEST": "a request of HTTP, and no TLS",
    "HTTPS_PROXY_REQUEST": "a request of HTTP, and no TLS",
    "NO_SHARED_CIPHER": "the device offers no cipher that is good enough here",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "the device takes no signature that tls.key_file can make",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the device does not take the certificate of tls.certificate_file",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the device says that the certificate of tls.certificate_file has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the device does not take the certificate of tls.certificate_file",
    "TLSV1_ALERT_UNKNOWN_CA": "the device does not know the CA of tls.certificate_file: is an intermediate missing?",
    "UNSUPPORTED_PROTOCOL": "the device speaks no TLS 1.2 or 1.3",
    "WRONG_VERSION_NUMBER": "what came is no TLS: does the device mean the plain port?",
}
"""OpenSSL's reasons that an operator meets, in words that say where to look."""


class Secured(Protocol):
    """What stands above: an asyncio.Protocol that is told how the handshake goes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Before the first byte."""

    def data_received(self, data: bytes) -> None:
        """What was decrypted."""

    def eof_received(self) -> bool | None:
        """The peer says no more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The last call."""

    def pause_writing(self) -> None:
        """The socket takes no more for now."""

    def resume_writing(self) -> None:
        """It does again."""

    def secured(self, version: str) -> None:
        """The handshake is done; `version` as OpenSSL names it."""

    def unsecured(self, reason: str) -> None:
        """There is no TLS, or none any more, and why. Said first when a handshake begins."""


class TlsLine(asyncio.Protocol, asyncio.Transport):
    """The protocol of a socket and the transport of the connection above it. OpenSSL comes with the first byte."""

    __slots__ = ("_above", "_context", "_incoming", "_outgoing", "_secure", "_socket", "_tls")

    def __init__(self, context: ssl.SSLContext, above: Secured) -> None:
        self._context = context
        self._above = above
        self._socket: asyncio.Transport | None = None
        self._tls: ssl.SSLObject | None = None
        self._secure = False

    # The socket's protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a TCP server makes no other"
        self._socket = transport
        self._above.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            self._above.unsecured(_UNFINISHED)
        self._incoming.write(data)
        try:
            self._advance(self._tls)
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as error:
            self._break(error)

    def _advance(self, tls: ssl.SSLObject) -> None:
        """Shake hands, then hand what is decrypted up, until OpenSSL wants more. Raises ssl.SSLError."""
        if not self._secure:
            tls.do_handshake()
            self._secure = True
            self._above.secured(tls.version() or "TLS")
        self._send()
        while not self.is_closing():
            data = tls.read(_READ_BYTES)
            if not data:  # the peer's close_notify
                self._above.eof_received()
                self.close()
                return
            self._above.data_received(data)

    def _break(self, error: ssl.SSLError) -> None:
        """Send OpenSSL's alert, if it has one, and hang up."""
        reason = error.reason or "broken"
        self._above.unsecured(_MEANINGS.get(reason, reason.replace("_", " ").lower()))
        self._send()
        if self._socket is not None:
            self._socket.close()

    def _send(self) -> None:
        if self._socket is not None and self._outgoing.pending:
            self._socket.write(self._outgoing.read())

    def eof_received(self) -> bool | None:
        return self._above.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._above.connection_lost(exc)
        self._tls = None

    def pause_writing(self) -> None:
        # OpenSSL answers by itself, as to a KeyUpdate: who takes no answers is heard no further.
        if self._socket is not None:
            self._socket.pause_reading()
        self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._socket is not None:
            self._socket.resume_reading()
        self._above.resume_writing()

    # The connection's transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # as asyncio has it
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._socket is None or self._socket.is_closing()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert self._tls is not None, "nothing is said before the peer has said something"
        try:
            self._tls.write(data)  # all of it: memory always takes more
        except ssl.SSLError as error:
            self._break(error)
        else:
            self._send()

    def close(self) -> None:
        if self._secure and self._tls is not None and not self.is_closing():
            with suppress(ssl.SSLError):  # close_notify is written; nobody waits for the peer's
                self._tls.unwrap()
            self._send()
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        if self._socket is not None:
            self._socket.abort()


class ServerTls:
    """The certificate and the key of the TLS listener, as their files have them; `context` is for new connections."""

    def __init__(self, certificate_file: str, key_file: str) -> None:
        """Raises ConfigError, which says what is wrong with which file."""
        self._certificate_file = secret_path(certificate_file)
        self._key_file = key_file
        self.reload()

    def reload(self) -> None:
        """Read both anew. Raises ConfigError; then what was read before stays in use."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A device comes once and then again in years: nothing to resume, and no ticket's key that opens the past.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        expires = _expiry(self._certificate_file)
        read_secret(self._key_file)  # for what it refuses: a key that others can read
        try:
            context.load_cert_chain(self._certificate_file, secret_path(self._key_file), password=_no_password)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"tls.key_file: {_key_problem(error)}") from None
        self.context, self.expires = context, expires

    async def watch(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Run until cancelled: every day an error in the log from 14 days before the certificate expires."""
        while True:
            self.check_expiry(now())
            await asyncio.sleep(_LOOK_AGAIN_S)

    def check_expiry(self, now: datetime) -> None:
        """An error in the log where the certificate has expired, or soon will."""
        if now + WARN_BEFORE < self.expires:
            return
        word = "expires" if now < self.expires else "has expired"
        log.error(
            "TLS: the certificate of tls.certificate_file %s on %s: renew it, then reload cvmd (SIGHUP)",
            word,
            self.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


def _expiry(path: Path) -> datetime:
    """When the first certificate of a PEM file, the server's own, expires. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    except OSError as error:
        raise ConfigError(f"tls.certificate_file: {path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(
            f"tls.certificate_file: {path}: no certificate in PEM; it holds the server's, then the intermediate ones"
        ) from None


def _no_password() -> NoReturn:
    """Called where the key is encrypted; without it OpenSSL would ask the terminal."""
    raise OSError("is encrypted: a daemon has nobody to ask for its password; store it without one")


def _key_problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "is not the key of the first certificate in tls.certificate_file"
        return f"cannot be used: {(error.reason or 'no key in PEM').replace('_', ' ').lower()}"
    return error.strerror or str(error)
