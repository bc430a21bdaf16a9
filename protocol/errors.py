"""The two errors of the wire: ours (a bug in the caller) and theirs (bytes that break CVM/1)."""

from __future__ import annotations

from protocol.constants import Status


class ProtocolError(Exception):
    """Root of both."""


class LocalProtocolError(ProtocolError):
    """The caller asked for what the protocol does not allow now. Nothing was sent, nothing changed."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. `status` and `detail` are what a server refuses with."""

    def __init__(self, status: Status, message: str, detail: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
