"""A TCP connection that counts its bytes, and can be made a bad one: slow to read, or cut."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Self

from .options import OptionError, Options

_READ_AT_ONCE = 65536
_SLOW_STEPS_A_S = 10


class TransportError(Exception):
    """There is no connection, or there is none any more. The message is for a person."""


class CutError(Exception):
    """The bytes that `cut_after` allows are spent; the connection is closed."""


class Transport:
    """One connection to the server of `options`. TransportError: it cannot be had; OptionError: the CA is none."""

    def __init__(self, options: Options) -> None:
        self.bytes_up = self.bytes_down = 0
        self._options = options
        where = f"{options.host} port {options.port}"
        context = _tls_context(options) if options.tls else None
        try:
            self._socket = socket.create_connection((options.host, options.port), options.timeout_s)
        except OSError as error:
            raise TransportError(f"no connection to {where}: {error.strerror or error}") from error
        if context is not None:
            self._socket = _secured(self._socket, context, options.host, where)
        if options.slow:
            # Else the kernel takes the whole bundle at once, and the server never meets a slow reader.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Write all of it; CutError once no more may go."""
        allowed = data[: self._allowed(len(data))]
        self._socket.settimeout(self._options.timeout_s)
        try:
            self._socket.sendall(allowed)
        except OSError as error:
            raise TransportError(f"the connection broke while sending: {error.strerror or error}") from error
        self.bytes_up += len(allowed)
        if len(allowed) < len(data):
            raise CutError

    def receive(self, within_s: float | None = None) -> bytes | None:
        """What has come, b"" when the server has hung up; None if nothing has come within `within_s`.

        Without `within_s` the server has `timeout_s` to answer; TransportError if it does not.
        """
        most = _READ_AT_ONCE
        if slow := self._options.slow:
            most = max(1, slow // _SLOW_STEPS_A_S)
        if not (most := self._allowed(most)):
            raise CutError
        self._socket.settimeout(self._options.timeout_s if within_s is None else within_s)
        try:
            data = self._socket.recv(most)
        except TimeoutError as error:
            if within_s is not None:
                return None
            raise TransportError(f"no answer within {self._options.timeout_s:g} s") from error
        except OSError as error:
            raise TransportError(f"the connection broke: {error.strerror or error}") from error
        self.bytes_down += len(data)
        if slow:
            time.sleep(len(data) / slow)
        return data

    def _allowed(self, size: int) -> int:
        if self._options.cut_after is None:
            return size
        return min(size, self._options.cut_after - self.bytes_up - self.bytes_down)


def _tls_context(options: Options) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except OSError as error:  # ssl.SSLError too
        raise OptionError(f"--ca {options.ca}: {error.strerror or 'no certificate in PEM'}") from error
    if options.tls_unchecked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _secured(plain: socket.socket, context: ssl.SSLContext, host: str, where: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise TransportError(f"the certificate of {where} is not good: {error.verify_message}") from error
    except OSError as error:
        raise TransportError(f"no TLS with {where}: {getattr(error, 'reason', None) or error}") from error
