"""A listener on loopback whose vends do what a test says, and devices that call it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from socket import create_server
from ssl import SSLContext
from typing import Any

from cvmd.admission import Door
from cvmd.authentication import Denial
from cvmd.connection import Deadlines
from cvmd.listener import Listener
from cvmd.meter import NO_METER, Meter
from cvmd.model import Secret
from cvmd.tls import ServerTls
from cvmd.vending import Answer, AskAgain, Channel, Credentials, Finished, HandOver, Vend
from protocol.client import ClientSession
from protocol.constants import TO_THE_END, Kind, Suite
from protocol.events import ClientEvent, RefuseReceived
from protocol.objects import Bundle, certificate_digest, want_of

SERIAL, TOKEN = b"SN-1", b"t" * 32
CERTIFICATE = b"certificate" * 90
BUNDLE = Bundle.of({Kind.CERTIFICATE: CERTIFICATE})
DIGEST = certificate_digest(CERTIFICATE)
OFFER, DONE, AGAIN = HandOver(BUNDLE, DIGEST), Finished(DIGEST, 1_700_000_000, 7), AskAgain(0)
LONG = Deadlines(handshake_s=60, hello_s=60, proof_s=60, session_s=60, progress_s=60, auth_delay_s=0.01)
HELD = "held"
"""A script's answer that never comes."""


class Script:
    """Stands in for a Vend: gives the answers, in order. `look_up`: what goes wrong there."""

    def __init__(
        self, *answers: Answer | Exception | str, known: bool = True, look_up: Exception | None = None
    ) -> None:
        self._answers = list(answers)
        self._known = known
        self._look_up = look_up
        self.asked: list[object] = []
        self.held = asyncio.Event()
        self.abandoned = asyncio.Event()

    async def look_up(self) -> Credentials:
        if self._look_up is not None:
            raise self._look_up
        return Credentials(Secret(TOKEN), self._known, Denial.WRONG_TOKEN if self._known else Denial.UNKNOWN_SERIAL)

    async def ask(self, proof: object) -> Answer:
        return await self._next(proof)

    async def acknowledge(self, digest: bytes) -> Answer:
        return await self._next(digest)

    async def _next(self, question: object) -> Answer:
        self.asked.append(question)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            self.held.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.abandoned.set()
                raise
        assert not isinstance(answer, str)
        return answer


@dataclass
class Node:
    """A listener that runs, and what it reported."""

    listener: Listener
    door: Door
    port: int
    reports: asyncio.Queue[dict[str, Any]]
    vends: list[tuple[bytes, Channel, int]]
    """What each Vend was made with."""


@asynccontextmanager
async def listening(
    *scripts: Script,
    door: Door | None = None,
    tls: ServerTls | None = None,
    meter: Meter = NO_METER,
    **deadlines: float,
) -> AsyncIterator[Node]:
    """A listener whose sessions get the scripts, in order; deadlines are long unless given."""
    left = list(scripts)
    reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    vends: list[tuple[bytes, Channel, int]] = []

    def vend(serial: bytes, channel: Channel, max_wait_s: int) -> Vend:
        vends.append((serial, channel, max_wait_s))
        return left.pop(0)  # type: ignore[return-value]  # a stand-in with the three methods that are called

    door = door or Door(max_connections=1000, max_per_source=100)
    listener = Listener(
        deadlines=replace(LONG, **deadlines), door=door, vend=vend, report=reports.put_nowait, meter=meter
    )
    sock = create_server(("127.0.0.1", 0))
    await listener.start([sock], backlog=16, suites=set(Suite), tls=tls)
    sweeping = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(20):
            yield Node(listener, door, sock.getsockname()[1], reports, vends)
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        await listener.drain(0)


@dataclass
class Device:
    """One line to the listener; `hello` begins a session on it, also a second one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    session: ClientSession | None = None
    sent: int = 0
    received: int = 0
    _events: list[ClientEvent] = field(default_factory=list)
    _hellos: int = 0

    def say(self) -> None:
        assert self.session is not None
        data = self.session.data_to_send()
        self.sent += len(data)
        self.writer.write(data)

    def hello(self, serial: bytes = SERIAL, token: bytes = TOKEN, suite: Suite = Suite.MAC, **more: int) -> None:
        self._hellos += 1
        nonce, private = bytes([self._hellos]) * 16, hashlib.sha256(serial).digest()
        self.session = ClientSession(serial, token, suite=suite, nonce_c=nonce, ephemeral_private=private, **more)
        self.session.hello()
        self.say()

    async def event(self) -> ClientEvent | None:
        """What the server said next; None: it hung up after the session's end."""
        assert self.session is not None
        while not self._events:
            data = await self.reader.read(65536)
            if not data and self.session.ended:
                return None
            self.received += len(data)
            if data:
                self.session.receive_data(data)
            else:
                self.session.receive_eof()
            self._events.extend(self.session.events())
        return self._events.pop(0)

    async def prove(self, **hello: Any) -> None:
        """HELLO, CHALLENGE, PROOF."""
        self.hello(**hello)
        await self.event()
        self.proof()

    def proof(self) -> None:
        assert self.session is not None
        self.session.proof(want_of([Kind.CERTIFICATE]), TO_THE_END)
        self.say()

    async def refused(self) -> RefuseReceived:
        """The refusal that comes next, behind which the line is closed."""
        event = await self.event()
        assert isinstance(event, RefuseReceived), event
        assert await self.event() is None
        return event

    async def bundle(self) -> bytes:
        """The bytes behind the MANIFEST that was just taken."""
        data = b""
        while len(data) < BUNDLE.total:
            event = await self.event()
            data += event.data  # type: ignore[union-attr]  # anything but DataReceived fails the test
        return data

    def ack(self, digest: bytes = DIGEST) -> None:
        assert self.session is not None
        self.session.ack(digest)
        self.say()

    def fetch(self) -> None:
        assert self.session is not None
        self.session.fetch(0, TO_THE_END)
        self.say()

    async def hung_up(self) -> bool:
        """Whether the server closes the line, whatever it says before."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionResetError:
            pass
        return True


@asynccontextmanager
async def calling(node: Node, tls: SSLContext | None = None) -> AsyncIterator[Device]:
    """A device's connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=tls)
    try:
        yield Device(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until(true: Callable[[], object]) -> None:
    """Look until it is; `listening` ends a test that looks in vain."""
    while not true():  # noqa: ASYNC110 - of what is looked at nobody tells
        await asyncio.sleep(0.01)
