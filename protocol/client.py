"""The device's end of one session, for tools and tests; the C client in c/ is the same in C99.

    session = ClientSession(serial, token, suite=Suite.MAC, nonce_c=..., ephemeral_private=...)
    session.hello() · proof(want, limit, have, csr, renew) · fetch(offset, limit) · ack(digest)
    session.receive_data(data), session.receive_eof()      never raise on what a peer sends; memory is bounded
    for event in session.events(): ...                      protocol/events.py
    socket.sendall(session.data_to_send())

One object is one session: for the next HELLO, also on the same line, make a new one with a new nonce_c.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from protocol import messages
from protocol.constants import (
    BODY_SIZES,
    DEFAULT_MAX_FRAME,
    FIRST_OVERHEAD,
    HEADER_SIZE,
    MAX_CLEAR_RETRY_S,
    MAX_SKIPPED_BY_DEVICE,
    MAX_TAGGED_RETRY_S,
    MAX_TURN_S,
    NONCE_SIZE,
    MessageType,
    ProofFlag,
    Status,
    Suite,
)
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.events import (
    Challenged,
    ClientEvent,
    DataReceived,
    DoneReceived,
    ManifestReceived,
    ProtocolFailed,
    RefuseReceived,
    WaitReceived,
)
from protocol.framing import header
from protocol.messages import (
    Ack,
    Challenge,
    ClearRefuse,
    Data,
    Done,
    Fetch,
    Hello,
    Manifest,
    Message,
    Proof,
    Refuse,
    Wait,
)
from protocol.session import Session, protect
from protocol.states import DEVICE, DeviceState, Signal

_HUNTED: Final = [header(each, BODY_SIZES[each][1]) for each in (MessageType.CHALLENGE, MessageType.CLEAR_REFUSE)]


class ClientSession(Session[DeviceState, ClientEvent]):
    """One session, as the device sees it. A call out of turn raises LocalProtocolError and sends nothing."""

    __slots__ = (
        "_ephemeral_private", "_hello", "_hello_frame", "_keys_proven", "_limit", "_next", "_requested",
        "_token", "_total",
    )  # fmt: skip

    _TABLE = DEVICE

    def __init__(
        self,
        serial: bytes,
        token: bytes,
        *,
        suite: Suite,
        nonce_c: bytes,
        ephemeral_private: bytes = b"",
        max_frame: int = DEFAULT_MAX_FRAME,
        max_wait_s: int = 0,
    ) -> None:
        """`nonce_c`: 16 bytes, never twice for a token; `ephemeral_private`: 32 random bytes for suite `noise`."""
        super().__init__(DeviceState.IDLE)
        self._hello = Hello(nonce_c, suite, max_frame, max_wait_s, serial)
        self._token, self._ephemeral_private = token, ephemeral_private
        self._hello_frame = b""
        self._keys_proven = False
        self._limit = self._next = self._requested = self._total = 0

    @property
    def ended(self) -> bool:
        """Whether the session is over: close."""
        return self.state is DeviceState.END

    # What the device says.

    def hello(self) -> None:
        """Open the session."""
        self._hello_frame = self._send(self._hello)
        self.answer_due = True

    def proof(
        self, want: int, limit: int, have: bytes | None = None, csr: bytes | None = None, renew: bool = False
    ) -> None:
        """Prove the token and ask for the kinds in `want` (bits), at most `limit` bytes of them for now."""
        flags = ProofFlag.HAVE * (have is not None) | ProofFlag.CSR * (csr is not None) | ProofFlag.RENEW * renew
        self._ask(Proof(flags, want, limit, have, csr))
        self._limit = limit

    def fetch(self, offset: int, limit: int) -> None:
        """Ask for `limit` bytes from `offset`; after WAIT, with offset 0, ask the same question again."""
        streaming = self.state is DeviceState.STREAM
        if (streaming and (offset >= self._total or not limit)) or (offset and not streaming):
            raise LocalProtocolError(f"FETCH({offset}, {limit}) asks for no bytes in state {self.state.name}")
        self._ask(Fetch(offset, limit))
        self._limit = limit
        if streaming:
            self._next, self._requested = offset, min(self._total, offset + limit)

    def ack(self, digest: bytes) -> None:
        """Acknowledge: SHA-256 of the certificate as it was read back from where it is kept."""
        self._ask(Ack(digest))

    def _ask(self, message: Message) -> None:
        if self.answer_due:
            raise LocalProtocolError("one request at a time: the last one is not answered yet")
        self._send(message)
        self.answer_due = True

    def data_to_send(self) -> bytes:
        """Whole frames to write now."""
        out, self._out = self._out, b""
        return out

    # What the server answers.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the server. What they mean is in `events`; also that they mean nothing."""
        if self.ended:
            return
        self._buffer.feed(data)
        try:
            while frame := self._next_frame():
                self._receive(frame)
        except RemoteProtocolError as error:
            self._fail(error)

    def receive_eof(self) -> None:
        """The server has hung up. A session ends with DONE or REFUSE: anything else is a failure."""
        if not self.ended:
            self._fail(RemoteProtocolError(Status.SEQUENCE, f"the connection ended in state {self.state.name}"))

    def _fail(self, error: RemoteProtocolError) -> None:
        self._move(Signal.DROPPED)
        self._buffer.clear()
        self._events.append(ProtocolFailed(error))

    def _next_frame(self) -> bytes | None:
        if self.ended:
            return None
        if self.state is DeviceState.HUNT:
            nonce = re.escape(self._hello.nonce_c)
            answer = re.compile(b"|".join(re.escape(start) + nonce for start in _HUNTED), re.DOTALL)
            if not self._buffer.hunt(answer, HEADER_SIZE + NONCE_SIZE, MAX_SKIPPED_BY_DEVICE):
                return None
        return self._buffer.next_frame(self._longest)

    def _longest(self, number: int) -> int:
        """The longest body that a frame of this type may have now."""
        if number not in BODY_SIZES or not self._expects(MessageType(number)):
            raise RemoteProtocolError(Status.SEQUENCE, f"a frame of type 0x{number:02x} in state {self.state.name}")
        longest = BODY_SIZES[MessageType(number)][1] + FIRST_OVERHEAD[Suite(self._hello.suite)]
        return min(longest, self._hello.max_frame - HEADER_SIZE)

    def _expects(self, message_type: MessageType) -> bool:
        if not message_type.from_server or not self._allows(message_type):
            return False
        if not message_type.protected:
            return not self._keys_proven
        return self.answer_due or message_type is MessageType.REFUSE

    def _receive(self, frame: bytes) -> None:
        message_type = MessageType(frame[HEADER_SIZE - 1])
        body = frame[HEADER_SIZE:]
        if message_type.protected:
            assert self._protection, "the table lets nothing protected in before PROOF"
            body = self._protection.open(frame)
            self._keys_proven = True
        message = messages.decode(message_type, body)
        self._judge(message)
        self._move(message_type)
        self.answer_due = False
        self._take(message, frame)

    def _judge(self, message: Message) -> None:
        """What no table can say."""
        match message:
            case Challenge(nonce_c=nonce_c) | ClearRefuse(nonce_c=nonce_c):
                if not hmac.compare_digest(nonce_c, self._hello.nonce_c):
                    raise RemoteProtocolError(Status.SEQUENCE, "a clear frame with the nonce of another session")
            case Data(offset=offset, data=data):
                if offset != self._next or offset + len(data) > self._requested:
                    raise RemoteProtocolError(Status.SEQUENCE, f"DATA at {offset}, expected at {self._next}")
            case Manifest(total=0):
                raise RemoteProtocolError(Status.MALFORMED, "MANIFEST of an empty bundle")
            case _:
                pass

    def _take(self, message: Message, frame: bytes) -> None:
        """What the message changes and tells."""
        match message:
            case Challenge():
                hello, secret = self._hello, self._ephemeral_private
                suite = Suite(hello.suite)
                self._protection = protect(suite, self._token, self._hello_frame, frame, secret, device=True)
                self._events.append(Challenged())
            case ClearRefuse(status=status, stage=stage, retry_s=retry_s, detail=detail):
                retry_s = min(retry_s, MAX_CLEAR_RETRY_S)
                self._events.append(RefuseReceived(status, stage, retry_s, detail, tagged=False))
            case Refuse(status=status, stage=stage, retry_s=retry_s, detail=detail):
                retry_s = min(retry_s, MAX_TAGGED_RETRY_S)
                self._events.append(RefuseReceived(status, stage, retry_s, detail, tagged=True))
            case Wait(turn_s=turn_s):
                self._events.append(WaitReceived(min(turn_s, MAX_TURN_S)))
            case Manifest(bundle_id=bundle_id, total=total):
                self._total, self._requested = total, min(total, self._limit)
                self.answer_due = self._requested > 0
                self._events.append(ManifestReceived(bundle_id, total))
            case Data(offset=offset, data=data):
                self._next = offset + len(data)
                self.answer_due = self._next < self._requested
                self._events.append(DataReceived(offset, data))
            case Done(time=time, connect_after_s=connect_after_s):
                self._events.append(DoneReceived(time, connect_after_s))
            case _:
                raise AssertionError("the table lets in what the server sends, and nothing else")
