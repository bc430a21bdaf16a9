"""A device that says whatever a test wants, frame by frame, and what the daemon's database says afterwards."""

import asyncio
import itertools
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import seed, with_products

from protocol import messages
from protocol.constants import HEADER_SIZE, TO_THE_END, Kind, MessageType, Suite
from protocol.framing import clear_frame
from protocol.messages import Challenge, ClearRefuse, Fetch, Hello, Message, Proof, Refuse
from protocol.objects import certificate_digest, verify, want_of
from protocol.session import Protection, protect
from tools.stack import Stack

ANSWER_S = 20.0
"""By then the daemon has answered or hung up, or the test fails; above the deadlines that the tests set."""
AUTH_DELAY_S = 0.2
CREATE = "CreateCertificateFromCsr"
CERTIFICATE = want_of([Kind.CERTIFICATE])
WITH_KEY = want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1])

_numbers = itertools.count(1)


@contextmanager
def attacked(directory: Path, **settings: Any) -> Iterator[Stack]:
    """A daemon for many attacks, its deadlines short."""
    stack = Stack(
        directory,
        standin=["--ca-key", "ec"],
        deadlines__hello_s=1.0,
        deadlines__proof_s=3.0,
        deadlines__progress_s=3.0,
        deadlines__auth_delay_ms=round(AUTH_DELAY_S * 1000),
        listen__max_per_source=1000,
        **settings,
    )
    try:
        stack.__enter__()
        yield with_products(stack)
    finally:
        stack.close()


@contextmanager
def unharmed(stack: Stack) -> Iterator[None]:
    """After the attack the daemon is the same process, vends, and has logged no internal error."""
    assert stack.daemon is not None
    pid = stack.daemon.pid
    yield
    stack.aws.clear_faults()
    asyncio.run(vend(stack, enrol(stack), Suite.NOISE))
    assert stack.daemon.running()
    assert stack.daemon.pid == pid
    assert [each for each in stack.log_lines() if "exception" in each] == []


@dataclass(frozen=True)
class Who:
    """A device of the stack."""

    serial: bytes
    token: bytes = field(repr=False)


def enrol(stack: Stack, product: str = "ec", serial: str = "") -> Who:
    """A new device with thing and policy of its own."""
    serial = serial or f"SN-{next(_numbers):04}"
    token = secrets.token_bytes(32)
    seed(stack, [(serial, token, f"thing-{serial}", f"policy-{serial}", product)])
    return Who(serial.encode(), token)


class Line:
    """One connection. Frames are sealed and opened as SPEC.md says, and judged by nobody but the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: Who, suite: Suite) -> None:
        self._reader, self._writer = reader, writer
        self.who, self.suite = who, suite
        self.said: list[bytes] = []
        self.heard: list[bytes] = []
        self._hello = b""
        self._protection: Protection | None = None

    def write(self, data: bytes) -> None:
        """These bytes and nothing else."""
        self.said.append(data)
        self._writer.write(data)

    def abort(self) -> None:
        """Gone without a FIN."""
        self._writer.transport.abort()

    def hello(self, **changes: Any) -> bytes:
        """The frame of a HELLO with a new nonce."""
        fields: dict[str, Any] = {"suite": self.suite, "max_frame": 512, "max_wait_s": 60, "serial": self.who.serial}
        self._hello = clear_frame(
            MessageType.HELLO, messages.encode(Hello(secrets.token_bytes(16), **{**fields, **changes}))
        )
        return self._hello

    def key(self, challenge_frame: bytes) -> None:
        """The keys of the session that HELLO and this CHALLENGE make."""
        self._protection = protect(
            self.suite, self.who.token, self._hello, challenge_frame, secrets.token_bytes(32), device=True
        )

    def seal(self, message_type: MessageType, body: bytes) -> bytes:
        """The next tagged frame."""
        assert self._protection, "CHALLENGE has come"
        return self._protection.seal(message_type, body)

    def proof(self, want: int = WITH_KEY, limit: int = TO_THE_END, **fields: Any) -> bytes:
        """The frame of a PROOF."""
        flags = ("have" in fields) | ("csr" in fields) << 1
        return self.seal(MessageType.PROOF, messages.encode(Proof(flags, want, limit, **fields)))

    def fetch(self, offset: int, limit: int = TO_THE_END) -> bytes:
        """The frame of a FETCH."""
        return self.seal(MessageType.FETCH, messages.encode(Fetch(offset, limit)))

    def ack(self, digest: bytes) -> bytes:
        """The frame of an ACK."""
        return self.seal(MessageType.ACK, digest)

    async def frame(self) -> bytes:
        """The next frame as it came; empty once the daemon has hung up."""
        try:
            async with asyncio.timeout(ANSWER_S):
                head = await self._reader.readexactly(HEADER_SIZE)
                frame = head + await self._reader.readexactly(int.from_bytes(head[:2], "big"))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return b""
        self.heard.append(frame)
        return frame

    async def hear(self) -> Message | None:
        """The next message; None once the daemon has hung up."""
        frame = await self.frame()
        if not frame:
            return None
        message_type = MessageType(frame[HEADER_SIZE - 1])
        if not message_type.protected:
            return messages.decode(message_type, frame[HEADER_SIZE:])
        assert self._protection, "tagged frames come after CHALLENGE"
        return messages.decode(message_type, self._protection.open(frame))

    async def ask(self, frame: bytes) -> Message | None:
        """Say this and hear the answer."""
        self.write(frame)
        return await self.hear()

    async def challenged(self, **changes: Any) -> None:
        """HELLO and CHALLENGE, and the keys."""
        assert isinstance(await self.ask(self.hello(**changes)), Challenge)
        self.key(self.heard[-1])

    async def data(self, total: int) -> bytes:
        """So many bytes of the bundle."""
        got = b""
        while len(got) < total:
            message = await self.hear()
            assert isinstance(message, messages.Data), message
            got += message.data
        return got

    async def receive(self, **proof: Any) -> tuple[messages.Manifest, bytes]:
        """PROOF until the whole bundle is there; MANIFEST and the certificate's digest."""
        answer = await self.ask(self.proof(**proof))
        while isinstance(answer, messages.Wait):
            answer = await self.ask(self.fetch(0))
        assert isinstance(answer, messages.Manifest), answer
        bundle = await self.data(answer.total)
        return answer, certificate_digest(verify(bundle, answer.bundle_id)[Kind.CERTIFICATE])

    async def closed(self) -> bool:
        """Whether nothing more comes but the end."""
        return await self.frame() == b""


@asynccontextmanager
async def line(stack: Stack, who: Who, suite: Suite = Suite.MAC) -> AsyncIterator[Line]:
    """A connection of this device, aborted at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    end = Line(reader, writer, who, suite)
    try:
        yield end
    finally:
        end.abort()


async def vend(stack: Stack, who: Who, suite: Suite = Suite.MAC, **proof: Any) -> Line:
    """One whole vend that goes well; the line as a record of it."""
    async with line(stack, who, suite) as end:
        await end.challenged()
        _, digest = await end.receive(**proof)
        answer = await end.ask(end.ack(digest))
        while isinstance(answer, messages.Wait):
            answer = await end.ask(end.ack(digest))
        assert isinstance(answer, messages.Done), answer
    return end


def refused(message: Message | None) -> tuple[int, int, int, bool]:
    """Status, stage, detail, and whether it was tagged."""
    assert isinstance(message, Refuse | ClearRefuse), message
    return message.status, message.stage, message.detail, isinstance(message, Refuse)


def query(stack: Stack, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What SQLite's own file says."""
    path = stack.database_url.removeprefix("sqlite:///")
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute(statement, values).fetchall()
    finally:
        database.close()


def states(stack: Stack, who: Who) -> list[str]:
    """The states of this device's issuances, oldest first."""
    statement = "SELECT i.state FROM issuances i JOIN devices d ON d.id = i.device_id WHERE d.serial = ? ORDER BY i.id"
    return [state for (state,) in query(stack, statement, who.serial)]


async def reaches(stack: Stack, who: Who, *wanted: str) -> None:
    """Wait until the device's issuances are in these states."""
    async with asyncio.timeout(ANSWER_S):
        while states(stack, who) != list(wanted):  # noqa: ASYNC110  # the daemon is another process
            await asyncio.sleep(0.02)


def everything(stack: Stack) -> str:
    """All that an attack could have moved: what AWS was asked, what the database holds."""
    tables = ("issuances", "certificates", "attempts", "devices")
    rows = {table: query(stack, f"SELECT * FROM {table} ORDER BY id") for table in tables if table != "certificates"}
    rows["certificates"] = query(stack, "SELECT * FROM certificates ORDER BY certificate_id")
    return json.dumps([stack.aws.counters(), rows], default=repr)
