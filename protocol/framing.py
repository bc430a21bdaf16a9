"""Frames out of a stream: length u16 (bytes after this header), type u8, body. Big-endian.

The length is judged on the header, by type, before the body is stored (invariant 7): what a FrameBuffer keeps
between two calls is at most one frame less a byte, and that frame is below its cap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct

from protocol.constants import HEADER_SIZE, Status
from protocol.errors import RemoteProtocolError

_HEADER = Struct(">HB")


def header(message_type: int, length: int) -> bytes:
    """The 3 bytes before a body of `length` bytes (the suite's own included)."""
    return _HEADER.pack(length, message_type)


def clear_frame(message_type: int, body: bytes) -> bytes:
    """A frame without protection."""
    return _HEADER.pack(len(body), message_type) + body


class FrameBuffer:
    """Bytes of the peer that are not a whole frame yet."""

    __slots__ = ("_bytes", "_skipped")

    def __init__(self) -> None:
        self._bytes = b""
        self._skipped = 0

    def __len__(self) -> int:
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        """Append what has come. The caller then takes frames until there is none."""
        self._bytes = self._bytes + data if self._bytes else bytes(data)

    def clear(self) -> None:
        """Forget everything."""
        self._bytes = b""

    def next_frame(self, cap: Callable[[int], int]) -> bytes | None:
        """The next whole frame, header included, or None until more has come.

        `cap(type)` is the longest body of that type that may come now; it raises RemoteProtocolError where none
        may.
        Raises RemoteProtocolError(MALFORMED) for a longer one.
        """
        if len(self._bytes) < HEADER_SIZE:
            return None
        length, message_type = _HEADER.unpack_from(self._bytes)
        if length > (longest := cap(message_type)):
            raise RemoteProtocolError(
                Status.MALFORMED, f"a body of {length} bytes; type 0x{message_type:02x} has at most {longest}"
            )
        size = HEADER_SIZE + length
        if len(self._bytes) < size:
            return None
        frame, self._bytes = self._bytes[:size], self._bytes[size:]
        return frame

    def hunt(self, pattern: re.Pattern[bytes], width: int, most: int) -> bool:
        """Skip to the first place where `pattern`, `width` bytes wide, begins; False if it has not come.

        Raises RemoteProtocolError(MALFORMED) once more than `most` bytes in all had to be skipped.
        """
        found = pattern.search(self._bytes)
        junk = found.start() if found else max(0, len(self._bytes) - width + 1)
        self._bytes = self._bytes[junk:]
        self._skipped += junk
        if self._skipped > most:
            raise RemoteProtocolError(Status.MALFORMED, f"no frame to begin with among {most} bytes")
        return found is not None
