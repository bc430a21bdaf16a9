"""What both ends share: a state moved by a table, whose turn it is, frames in and out, the suite.

A session is fed (`receive_data`) and drained (`events`, `data_to_send`). No socket, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from protocol import auth, messages
from protocol.constants import Suite
from protocol.errors import LocalProtocolError
from protocol.framing import FrameBuffer, clear_frame
from protocol.messages import Message
from protocol.noise import NNpsk0, NoiseProtection
from protocol.states import Cause

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT")


class Protection(Protocol):
    """How the frames of one session are protected: a suite under its keys, seen from one end."""

    @property
    def overhead(self) -> int:
        """Bytes that the next frame sent has beside header and body."""

    def seal(self, message_type: int, body: bytes) -> bytes:
        """The frame of this body."""

    def open(self, frame: bytes) -> bytes:
        """The body of the peer's next frame; RemoteProtocolError(SEQUENCE) if it is not that."""


def protect(
    suite: Suite,
    token: bytes,
    hello_frame: bytes,
    challenge_frame: bytes,
    ephemeral_private: bytes,
    *,
    device: bool,
) -> Protection:
    """The protection of one session. `ephemeral_private`: 32 random bytes; unread by suite `mac`."""
    key = auth.prk(token)
    transcript = auth.transcript(hello_frame, challenge_frame)
    if suite is Suite.NOISE:
        psk = auth.noise_psk(key, transcript)
        return NoiseProtection(NNpsk0(psk, hello_frame + challenge_frame, ephemeral_private, initiator=device))
    device_key, server_key = auth.mac_keys(key, transcript)
    return auth.MacProtection(device_key, server_key) if device else auth.MacProtection(server_key, device_key)


class Session(Generic[StateT, EventT]):
    """Base of the two ends. `state` is moved by `_move` alone; `answer_due`: the server has the word."""

    __slots__ = ("_buffer", "_events", "_out", "_protection", "answer_due", "state")

    _TABLE: ClassVar[Mapping[Any, Mapping[Cause, Any]]]

    def __init__(self, state: StateT) -> None:
        self.state = state
        self.answer_due = False
        self._buffer = FrameBuffer()
        self._events: list[EventT] = []
        self._out = b""
        self._protection: Protection | None = None

    def events(self) -> list[EventT]:
        """What has happened since the last call, in order."""
        happened, self._events = self._events, []
        return happened

    def _allows(self, cause: Cause) -> bool:
        return cause in self._TABLE[self.state]

    def _move(self, cause: Cause) -> None:
        """The next state by the table; LocalProtocolError where there is none (who reads judges before)."""
        if cause not in self._TABLE[self.state]:
            raise LocalProtocolError(f"{cause.name} has no place in state {self.state.name}")
        self.state = self._TABLE[self.state][cause]

    def _send(self, message: Message) -> bytes:
        """Move by this message and queue its frame; returns the frame."""
        message_type = messages.type_of(message)
        body = messages.encode(message)
        self._move(message_type)
        if message_type.protected:
            assert self._protection, "the tables reach no protected message without keys"
            frame = self._protection.seal(message_type, body)
        else:
            frame = clear_frame(message_type, body)
        self._out += frame
        return frame
