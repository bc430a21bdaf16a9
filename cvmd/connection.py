"""One connection: bytes to the session, events to the vend, answers back, one log line at the end.

Until a PROOF has to be checked a connection costs no task, no thread and no query: the CHALLENGE is answered from
`data_received` itself. Deadlines are plain numbers that the listener's sweep compares with the clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from cvmd import networks
from cvmd.authentication import Denial
from cvmd.errors import Kind, Refusal, SealError, refusal
from cvmd.ports import StoreDown
from cvmd.vending import Answer, AskAgain, Channel, Finished, HandOver, Vend
from protocol.constants import RETRY_S, Stage, Status, Suite
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
from protocol.messages import Proof
from protocol.server import ServerSession

log = logging.getLogger(__name__)

_WRITE_BYTES = 16_384
"""What is handed to the transport at a time: a bundle is sliced as the device takes it, never buffered
whole."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds; SPEC.md, Deadlines. `auth_delay_s`: from PROOF to the refusal AUTH, whatever its cause."""

    handshake_s: float
    """Of TLS; the others begin when it is done."""
    hello_s: float
    proof_s: float
    session_s: float
    progress_s: float
    auth_delay_s: float


@dataclass(frozen=True, slots=True)
class House:
    """What all connections of a listener share."""

    suites: Collection[Suite]
    private: bool
    """The line itself keeps a server-made key to itself."""
    tls: bool
    deadlines: Deadlines
    vend: Callable[[bytes, Channel, int], Vend]
    """Makes the Vend of a serial, a channel and a max_wait_s."""
    came: Callable[[Connection, str], bool]
    """False: a connection of this source is turned away at the door."""
    proved: Callable[[], None]
    gone: Callable[[Connection], None]
    report: Callable[[dict[str, object]], None]
    """Takes the fields of the one log line."""


class Connection(asyncio.Protocol):
    """asyncio's side of a ServerSession."""

    __slots__ = (
        "_authentic", "_began_s", "_bytes_down", "_bytes_up", "_denial", "_draining", "_fields", "_house",
        "_loop", "_paused", "_proof_at_s", "_session", "_task", "_tls", "_transport", "_vend", "deadline_s", "proved",
        "source",
    )  # fmt: skip

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._session: ServerSession | None = None  # made with the first byte: an idle connection has none
        self._vend: Vend | None = None
        self._task: asyncio.Task[None] | None = None
        self._fields: dict[str, object] | None = None
        self._denial: Denial | None = None
        self._tls: str | None = None
        self._paused = False
        self._proof_at_s = 0.0
        self._authentic = False
        self._draining = False
        self._bytes_up = self._bytes_down = 0
        self.proved = False
        self.source: str | None = None
        self._began_s = loop.time()
        deadlines = house.deadlines
        self.deadline_s = self._began_s + (deadlines.handshake_s if house.tls else deadlines.hello_s)

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a TCP server makes no other"
        self._transport = transport
        peer = transport.get_extra_info("peername")
        source = networks.plain(str(peer[0])) if peer else ""
        if self._house.came(self, source):
            self.source = source
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._bytes_up += len(data)
        if self._session is None:
            self._session = ServerSession(self._house.suites)
            self._fields = {}
        self._session.receive_data(data)
        self._turn()

    def eof_received(self) -> bool:
        # A session ends with DONE or REFUSE, never with a FIN: nobody is left to answer.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.source is None:
            return
        if self._task is not None:
            self._task.cancel()
        if self._session is not None:
            self._session.receive_eof()
        self._house.gone(self)
        self._report(exc)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    # TLS's callbacks, where the line has it (tls.Secured).

    def secured(self, version: str) -> None:
        self._tls = version
        self._fields = None
        self._began_s = self._loop.time()
        self.deadline_s = self._began_s + self._house.deadlines.hello_s

    def unsecured(self, reason: str) -> None:
        self._note(status="SILENCE", reason=f"TLS: {reason}", level=logging.WARNING)

    # The session.

    def _turn(self) -> None:
        """Handle what has happened, then write what there is to write, then close if it is over."""
        session = self._running()
        for event in session.events():
            self._handle(session, event)
        self._flush()

    def _handle(self, session: ServerSession, event: ServerEvent) -> None:
        match event:
            case HelloReceived():
                self._hello(session)
            case ProofPending():
                self._proof_at_s = self._loop.time()
                self._begin(self._authenticate(session))
            case ProofReceived(proof):
                self._prove()
                self._begin(self._answer(session, self._asking(proof)))
            case ProofRejected():
                assert self._denial is not None, "noted before the proof was judged"
                self._note(status=Status.AUTH.name, denial=self._denial.value, reason=self._denial.reason)
                self._note(level=refusal(Kind.AUTH).level)
                self._begin(self._refuse_auth(session))
            case RequestRepeated():
                self._begin(self._answer(session, self._asking(None)))
            case AckReceived(digest):
                self._begin(self._answer(session, self._acknowledging(digest)))
            case Restarted():
                self._abandon()
                self._fields = {}  # the line tells of the last session: no certificate beside another's serial
            case Ended(status, stage, reason):
                self._abandon()
                name = "SILENCE" if status is None else status.name
                self._note(status=name, stage=stage.name, reason=reason, level=logging.WARNING)

    def _hello(self, session: ServerSession) -> None:
        self._note(serial=session.serial, suite=session.suite.name.lower())
        if self._draining:
            self._refuse_clear(session, refusal(Kind.DRAINING, stage=Stage.HELLO))
            return
        session.challenge(os.urandom(16))
        if not self.proved:
            self.deadline_s = self._began_s + self._house.deadlines.proof_s

    def _prove(self) -> None:
        self._authentic = True
        if not self.proved:
            self.proved = True
            self._house.proved()
        self._progress()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Only one request is ever open: the session has made sure of it."""
        self._task = self._loop.create_task(self._guard(work))

    def _abandon(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = self._vend = None
        self._authentic = False

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """A fault of ours is a BACKEND to the device and in the log, never silence (invariant 9)."""
        session = self._running()
        try:
            await work
        except StoreDown as error:
            log.error("the database does not answer: %s", error)
            self._refuse(session, refusal(Kind.BACKEND))
        except SealError as error:
            log.error("what the database holds was not sealed for its place: %s", error)
            self._refuse(session, refusal(Kind.INTERNAL))
        except Exception:
            log.exception("internal error in a vend")
            self._refuse(session, refusal(Kind.INTERNAL))
        self._turn()

    async def _authenticate(self, session: ServerSession) -> None:
        assert self.source is not None, "it came in by the door"
        channel = Channel(self.source, session.suite, self._house.private)
        self._vend = self._house.vend(session.serial, channel, session.max_wait_s)
        credentials = await self._vend.look_up()
        self._denial = credentials.denial
        session.authenticate(credentials.token.reveal(), credentials.known, os.urandom(32))

    async def _refuse_auth(self, session: ServerSession) -> None:
        until_s = self._proof_at_s + self._house.deadlines.auth_delay_s
        await asyncio.sleep(until_s - self._loop.time())
        session.send_auth_refusal()

    def _asking(self, proof: Proof | None) -> Coroutine[Any, Any, Answer]:
        assert self._vend is not None, "made when the PROOF was authenticated"
        return self._vend.ask(proof)

    def _acknowledging(self, digest: bytes) -> Coroutine[Any, Any, Answer]:
        assert self._vend is not None, "made when the PROOF was authenticated"
        return self._vend.acknowledge(digest)

    async def _answer(self, session: ServerSession, asking: Coroutine[Any, Any, Answer]) -> None:
        answer = await asking
        match answer:
            case HandOver(bundle, certificate_id):
                self._note(certificate_id=certificate_id.hex(), status="OFFERED")
                session.send_manifest(bundle)
            case AskAgain(turn_s):
                self._note(status="WAIT")
                session.send_wait(turn_s)
            case Finished(certificate_id, time_s, connect_after_s):
                self._note(certificate_id=certificate_id.hex(), status="DONE")
                session.send_done(time_s, connect_after_s)
            case Refusal():
                self._refuse(session, answer)
        self._progress()

    def _refuse(self, session: ServerSession, no: Refusal) -> None:
        if session.ended:
            return
        if self._authentic:
            self._note(status=no.status.name, stage=no.stage.name, reason=no.reason, level=no.level)
            session.send_refuse(no.status, no.stage, no.retry_s, no.detail)
        else:
            # Before the proof is judged nothing is said of what failed behind (SPEC.md, Refusals).
            self._refuse_clear(session, refusal(Kind.BUSY, stage=Stage.PROOF))

    def _refuse_clear(self, session: ServerSession, no: Refusal) -> None:
        self._note(status=no.status.name, stage=no.stage.name, reason=no.reason, level=no.level)
        session.send_clear_refuse(no.status, no.stage, no.retry_s, no.detail)

    # Writing, deadlines, the end.

    def _flush(self) -> None:
        transport, session = self._transport, self._session
        if transport is None or session is None or transport.is_closing():
            return
        while not self._paused and (data := session.data_to_send(_WRITE_BYTES)):
            self._bytes_down += len(data)
            transport.write(data)
            if self.proved:
                self._progress()
        if session.ended:
            transport.close()

    def _progress(self) -> None:
        """The device did its part: it has `progress_s` for the next one, within the session's own
        deadline."""
        deadlines = self._house.deadlines
        latest_s = self._began_s + deadlines.session_s
        self.deadline_s = min(self._loop.time() + deadlines.progress_s, latest_s)

    def expire(self, now_s: float) -> None:
        """The sweep found the deadline past. A request that is being answered has its own, shorter one."""
        if self._task is not None and not self._task.done() and now_s < self._began_s + self._house.deadlines.session_s:
            return
        session, transport = self._session, self._transport
        if session is not None:  # else it never said a byte, and there is nothing to tell
            self._note(status=Status.DEADLINE.name, reason="the device took too long", level=logging.WARNING)
        if session is not None and self._authentic and not session.ended:
            session.send_refuse(Status.DEADLINE, session.stage, RETRY_S[Status.DEADLINE])
            self._abandon()  # what is under way has nobody to answer any more
            self._flush()
        if transport is not None:
            # close() would wait for a peer that takes nothing; what fits the socket's buffer has gone out.
            self._loop.call_later(1, transport.abort)

    def drain(self) -> None:
        """The node is stopping: nothing new is begun here, and whoever waits has been told by `Changes`."""
        self._draining = True
        if self._session is None and self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _running(self) -> ServerSession:
        assert self._session is not None, "bytes have come"
        return self._session

    def _note(self, **fields: object) -> None:
        if self._fields is None:
            self._fields = {}
        self._fields.update(fields)

    def _report(self, exc: Exception | None) -> None:
        """The canonical line of this connection. One that never said a byte has nothing to tell."""
        if self._fields is None:
            return
        self._house.report(
            {
                "source": self.source,
                **({"tls": self._tls} if self._tls is not None else {}),
                **self._fields,
                "bytes_up": self._bytes_up,
                "bytes_down": self._bytes_down,
                "duration_ms": round((self._loop.time() - self._began_s) * 1000),
                **({"lost": type(exc).__name__} if exc is not None else {}),
            }
        )
