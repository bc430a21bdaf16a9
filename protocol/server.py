"""The server's end of one connection.

    session = ServerSession({Suite.MAC, Suite.NOISE})
    session.receive_data(data), session.receive_eof()      never raise on what a peer sends; memory is bounded
    for event in session.events(): ...                      each names the call that answers it (events.py)
    transport.write(session.data_to_send(limit))            whole frames; DATA is cut as the transport drains
    if session.ended: flush and close

    challenge(nonce_s) · authenticate(token, known, ephemeral_private) · send_auth_refusal()
    send_manifest(bundle) · send_wait(turn_s) · send_done(time, connect_after_s)
    send_refuse(status, stage, retry_s, detail) · send_clear_refuse(status, stage, retry_s, detail)

A call that answers nothing, or comes too early, raises LocalProtocolError and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from protocol import messages
from protocol.constants import (
    BODY_SIZES,
    CLEAR_STATUSES,
    FIRST_OVERHEAD,
    HEADER_SIZE,
    HELLO_NONCE_END,
    MAGIC,
    MAX_HELLOS,
    MAX_MAX_FRAME,
    MAX_SKIPPED_BY_SERVER,
    MAX_TURN_S,
    MIN_MAX_FRAME,
    NONCE_SIZE,
    RETRY_S,
    MessageType,
    Stage,
    Status,
    Suite,
)
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.events import (
    AckReceived,
    Ended,
    HelloReceived,
    ProofPending,
    ProofReceived,
    ProofRejected,
    RequestRepeated,
    Restarted,
    ServerEvent,
)
from protocol.messages import (
    Ack,
    Challenge,
    ClearRefuse,
    Done,
    Fetch,
    Hello,
    Manifest,
    Message,
    Proof,
    Refuse,
    Wait,
)
from protocol.objects import Bundle
from protocol.session import Session, protect
from protocol.states import SERVER, ServerState, Signal

_HELLO: Final = re.compile(rb"\x00[\x14-\xff]\x01" + re.escape(MAGIC), re.DOTALL)
_HELLO_WIDTH: Final = HEADER_SIZE + len(MAGIC)
_NONCE: Final = slice(HEADER_SIZE + HELLO_NONCE_END - NONCE_SIZE, HEADER_SIZE + HELLO_NONCE_END)
_OFFSET_SIZE: Final = 2
_STAGES: Final = {
    ServerState.OPEN: Stage.HELLO,
    ServerState.CHALLENGED: Stage.PROOF,
    ServerState.KEYING: Stage.PROOF,
    ServerState.ASKED: Stage.QUEUE,
    ServerState.STREAM: Stage.DELIVER,
    ServerState.ACKED: Stage.ACTIVATE,
}


class ServerSession(Session[ServerState, ServerEvent]):
    """One connection as the server sees it. `serial`, `suite`, `max_frame`, `max_wait_s` stand after HELLO."""

    __slots__ = (
        "_bundle", "_clear", "_data_end", "_data_next", "_hellos", "_kept", "_limit", "_nonce_c", "_offered",
        "_proof", "max_frame", "max_wait_s", "serial", "suite",
    )  # fmt: skip

    _TABLE = SERVER

    def __init__(self, suites: Collection[Suite]) -> None:
        super().__init__(ServerState.OPEN)
        self._offered = suites
        self._hellos = 0
        self._reset()

    def _reset(self) -> None:
        """As before the first HELLO: nothing of an old session lives on in a new one."""
        self.serial, self.suite, self.max_frame, self.max_wait_s = b"", Suite.MAC, 0, 0
        self.answer_due = False
        self._protection = None
        self._out = self._nonce_c = self._clear = self._proof = b""
        self._kept: Message | None = None
        self._bundle: Bundle | None = None
        self._limit = self._data_next = self._data_end = 0

    @property
    def ended(self) -> bool:
        """Whether the session is over: flush, then close."""
        return self.state is ServerState.END

    @property
    def stage(self) -> Stage:
        """How far the session has come, as a refusal for a violation says it."""
        return _STAGES[self.state]

    # What the device sends.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the device. What they mean is in `events`; also that they mean nothing."""
        if self.ended:
            return
        self._buffer.feed(data)
        try:
            while frame := self._next_frame():
                self._receive(frame)
        except RemoteProtocolError as error:
            self._give_up(error)

    def receive_eof(self) -> None:
        """The device has hung up, or is hung up on."""
        if not self.ended:
            self._move(Signal.DROPPED)

    def _next_frame(self) -> bytes | None:
        if self.ended:
            return None
        hunting = self.state is ServerState.OPEN and not self.answer_due
        if hunting and not self._buffer.hunt(_HELLO, _HELLO_WIDTH, MAX_SKIPPED_BY_SERVER):
            return None
        return self._buffer.next_frame(self._longest)

    def _longest(self, number: int) -> int:
        """The longest body of this type that may come now. One out of order is refused on its header."""
        if number not in BODY_SIZES or MessageType(number).from_server:
            raise RemoteProtocolError(Status.MALFORMED, f"a device sends no frame of type 0x{number:02x}")
        message_type = MessageType(number)
        if message_type is MessageType.HELLO:
            return BODY_SIZES[message_type][1]
        if self.answer_due or not self._allows(message_type):
            raise RemoteProtocolError(Status.SEQUENCE, f"{message_type.name} is out of order")
        return BODY_SIZES[message_type][1] + FIRST_OVERHEAD[self.suite]

    def _receive(self, frame: bytes) -> None:
        message_type = MessageType(frame[HEADER_SIZE - 1])
        if message_type is MessageType.HELLO:
            self._receive_hello(frame)
        elif message_type is MessageType.PROOF:
            self._hear(message_type)
            self._proof = frame
            self._events.append(ProofPending())
        else:
            assert self._protection, "the table lets nothing else in before the keys stand"
            message = messages.decode(message_type, self._protection.open(frame))
            self._hear(message_type)
            if isinstance(message, Fetch):
                self._receive_fetch(message)
            elif isinstance(message, Ack):
                self._events.append(AckReceived(message.digest))

    def _hear(self, message_type: MessageType) -> None:
        self._move(message_type)
        self.answer_due = True

    def _receive_hello(self, frame: bytes) -> None:
        if not _HELLO.match(frame):
            raise RemoteProtocolError(Status.MALFORMED, "HELLO has no magic or is cut before the end of its nonce")
        if self._hellos:
            self._reset()
            self._events = [Restarted()]  # what was not taken yet belongs to the old session
        self._hellos += 1
        self._hear(MessageType.HELLO)
        self._nonce_c = frame[_NONCE]
        if self._hellos > MAX_HELLOS:
            raise RemoteProtocolError(Status.BUSY, f"more than {MAX_HELLOS} HELLOs on one connection")
        hello = messages.decode(MessageType.HELLO, frame[HEADER_SIZE:])
        assert isinstance(hello, Hello), "decode gives the message of the type"
        self.suite = self._judge_hello(hello)
        self.serial, self.max_frame, self.max_wait_s = hello.serial, hello.max_frame, hello.max_wait_s
        self._clear = frame
        self._events.append(HelloReceived(hello))

    def _judge_hello(self, hello: Hello) -> Suite:
        """The suite of a HELLO that can be served; RemoteProtocolError else, in SPEC.md's order."""
        if hello.suite not in self._offered:
            offered = sum(1 << suite for suite in self._offered)
            raise RemoteProtocolError(Status.SUITE, f"suite {hello.suite} is not offered here", offered)
        if hello.flags:
            raise RemoteProtocolError(Status.FLAG, f"HELLO has reserved flags 0x{hello.flags:02x}", hello.flags)
        suite = Suite(hello.suite)
        bound = min(max(hello.max_frame, MIN_MAX_FRAME[suite]), MAX_MAX_FRAME)
        if hello.max_frame != bound:
            raise RemoteProtocolError(Status.MAX_FRAME, f"max_frame {hello.max_frame} is out of range", bound)
        return suite

    def _receive_fetch(self, fetch: Fetch) -> None:
        if self._bundle and self.state is ServerState.STREAM:
            if fetch.offset >= self._bundle.total or not fetch.limit:
                raise RemoteProtocolError(Status.SEQUENCE, f"FETCH({fetch.offset}, {fetch.limit}) asks for no bytes")
            self._push(fetch.offset, fetch.limit)
            return
        if fetch.offset:
            raise RemoteProtocolError(Status.SEQUENCE, "FETCH after WAIT begins at 0")
        self._limit = fetch.limit
        if self._kept:
            self._answer(self._kept)
        else:
            self._events.append(RequestRepeated(fetch.limit))

    def _give_up(self, error: RemoteProtocolError) -> None:
        """Refuse as far as a refusal can be believed here, and end."""
        stage = self.stage
        self._events = [Ended(self._refuse_for(error, stage), stage, str(error))]
        self._buffer.clear()

    def _refuse_for(self, error: RemoteProtocolError, stage: Stage) -> Status | None:
        self._data_end = 0
        if self._protection and self._fits(MessageType.REFUSE):
            self._send(Refuse(error.status, stage, RETRY_S[error.status], error.detail))
            return error.status
        if not self._nonce_c:
            self._move(Signal.DROPPED)
            return None
        status, detail = error.status, error.detail
        if status not in CLEAR_STATUSES:
            status, detail = Status.MALFORMED, 0
        self._send(ClearRefuse(self._nonce_c, status, stage, RETRY_S[status], detail))
        return status

    # What the server answers.

    def challenge(self, nonce_s: bytes) -> None:
        """Answer HELLO; `nonce_s`: 16 random bytes."""
        self._clear += self._send(Challenge(self._nonce_c, nonce_s))
        self.answer_due = False

    def authenticate(self, token: bytes, known: bool, ephemeral_private: bytes) -> None:
        """Open the PROOF that is held, under the key of `token`; the event says how it went.

        For an unknown serial or a disabled device: any random token and known=False, so that the same work is
        done before ProofRejected. `ephemeral_private`: 32 random bytes, read by suite `noise` alone.
        """
        if not self._proof:
            raise LocalProtocolError("there is no PROOF to open")
        frame, self._proof = self._proof, b""
        hello_size = HEADER_SIZE + self._clear[1]  # a HELLO's length fits its second byte
        hello_frame, challenge_frame = self._clear[:hello_size], self._clear[hello_size:]
        protection = protect(self.suite, token, hello_frame, challenge_frame, ephemeral_private, device=False)
        try:
            body = protection.open(frame)
        except RemoteProtocolError:
            known = False
        if not known:
            self._events.append(ProofRejected())
            return
        self._protection, self._clear = protection, b""
        self._move(Signal.OPENED)
        self._receive_proof(body)

    def _receive_proof(self, body: bytes) -> None:
        try:
            proof = messages.decode(MessageType.PROOF, body)
        except RemoteProtocolError as error:
            self._events.append(Ended(self._refuse_for(error, Stage.PROOF), Stage.PROOF, str(error)))
            return
        assert isinstance(proof, Proof), "decode gives the message of the type"
        self._limit = proof.limit
        self._events.append(ProofReceived(proof))

    def send_auth_refusal(self) -> None:
        """Answer ProofRejected: the one constant frame for all that must not be told apart (invariant 8)."""
        if self._proof or self.state is not ServerState.KEYING:
            raise LocalProtocolError("no PROOF has been rejected")
        self.send_clear_refuse(Status.AUTH, Stage.PROOF, RETRY_S[Status.AUTH])

    def send_clear_refuse(self, status: Status, stage: Stage, retry_s: int, detail: int = 0) -> None:
        """Refuse before the keys stand. The session ends."""
        if status not in CLEAR_STATUSES or not self._nonce_c or self._protection:
            raise LocalProtocolError(f"{status.name} cannot be said in clear in state {self.state.name}")
        self._send(ClearRefuse(self._nonce_c, status, stage, retry_s, detail))

    def send_wait(self, turn_s: int) -> None:
        """Answer: ask again in `turn_s` seconds."""
        if not 0 <= turn_s <= MAX_TURN_S:
            raise LocalProtocolError(f"a turn is 0 to {MAX_TURN_S} s; refuse with TURN where it is longer")
        self._answer(Wait(turn_s))

    def send_manifest(self, bundle: Bundle) -> None:
        """Answer with the bundle; its DATA, also for every later FETCH, is the session's business."""
        self._bundle = bundle
        self._answer(Manifest(bundle.bundle_id, bundle.total))

    def send_done(self, time: int, connect_after_s: int) -> None:
        """Answer: the certificate is ACTIVE. The session ends."""
        self._answer(Done(time, connect_after_s))

    def send_refuse(self, status: Status, stage: Stage, retry_s: int, detail: int = 0) -> None:
        """Refuse under the session's keys, at any time that they stand. The session ends."""
        self._data_end = 0
        self.answer_due = bool(self._protection)
        self._answer(Refuse(status, stage, retry_s, detail))

    def _answer(self, message: Message) -> None:
        """Send this, or WAIT(0) where `noise`'s first frame has no room for it: the next FETCH gets it."""
        if not self._protection or not self.answer_due:
            raise LocalProtocolError(f"{type(message).__name__} answers nothing in state {self.state.name}")
        self._kept = None if self._fits(messages.type_of(message)) else message
        self._send(Wait(0) if self._kept else message)
        self.answer_due = False
        if isinstance(message, Manifest) and not self._kept:
            self._push(0, self._limit)

    def _fits(self, message_type: MessageType) -> bool:
        assert self._protection, "asked of protected messages only"
        return HEADER_SIZE + BODY_SIZES[message_type][1] + self._protection.overhead <= self.max_frame

    def _push(self, offset: int, limit: int) -> None:
        assert self._bundle, "MANIFEST has named the bundle"
        self._data_next, self._data_end = offset, min(self._bundle.total, offset + limit)
        self.answer_due = self._data_next < self._data_end

    def data_to_send(self, limit: int | None = None) -> bytes:
        """Whole frames to write now: all, or about `limit` bytes of them. Empty: nothing is waiting."""
        out, self._out = [self._out], b""
        size = len(out[0])
        while self._data_next < self._data_end and (limit is None or size < limit):
            out.append(self._next_data())
            size += len(out[-1])
            self.answer_due = self._data_next < self._data_end
        return b"".join(out)

    def _next_data(self) -> bytes:
        assert self._bundle, "MANIFEST has named the bundle"
        assert self._protection, "and was protected"
        self._move(MessageType.DATA)
        room = self.max_frame - HEADER_SIZE - _OFFSET_SIZE - self._protection.overhead
        offset, self._data_next = self._data_next, min(self._data_next + room, self._data_end)
        body = offset.to_bytes(_OFFSET_SIZE, "big") + self._bundle.data[offset : self._data_next]
        return self._protection.seal(MessageType.DATA, body)
