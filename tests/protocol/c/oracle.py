"""The oracle of the C client's fuzzer: the same device on protocol.client, and what it says of the same bytes.

Tags are not checked and each digest is zero, as in fuzz/fuzz.c.
"""

import socket
from enum import IntFlag

from cdevice import End

from protocol import objects
from protocol.client import ClientSession
from protocol.constants import HEADER_SIZE, TO_THE_END, Status, Suite
from protocol.errors import RemoteProtocolError
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
from protocol.states import DeviceState

TAG_SIZE = 16
NONCE_C, HAVE, NO_DIGEST = b"\x11" * 16, b"\x22" + bytes(31), bytes(32)
ROOM, WANT = 2000, 0b110
PARTIAL_TOTAL, PARTIAL_STORED, PAGE = 600, 256, 256


class Setting(IntFlag):
    """The first byte of an input."""

    PULL = 1
    HAVE = 2
    RENEW = 4
    NO_TOKEN = 8
    PARTIAL = 16
    SMALL_FRAME = 32
    CHALLENGED = 64
    TRICKLE = 128


class NoProtection:
    """The suite that trusts everybody."""

    overhead = TAG_SIZE

    def seal(self, message_type: int, body: bytes) -> bytes:
        return header(message_type, len(body) + TAG_SIZE) + body + bytes(TAG_SIZE)

    def open(self, frame: bytes) -> bytes:
        if len(frame) < HEADER_SIZE + TAG_SIZE:
            raise RemoteProtocolError(Status.SEQUENCE, "no room for a tag")
        return frame[HEADER_SIZE:-TAG_SIZE]


class Device:
    """One session of a device as SPEC.md has it. `end`: how it ended, once it has."""

    def __init__(self, settings: Setting) -> None:
        self.settings = settings
        self.limit = 27 if Setting.PULL in settings else TO_THE_END
        self.partial = Setting.PARTIAL in settings
        self.pushed = self.limit == TO_THE_END and not self.partial
        self.have = HAVE if Setting.HAVE in settings else None
        self.session = ClientSession(
            b"A1", b"", suite=Suite.MAC, nonce_c=NONCE_C,
            max_frame=48 if Setting.SMALL_FRAME in settings else 512, max_wait_s=60,
        )  # fmt: skip
        self.flash = bytearray((b"\1\2\0" if self.partial else b"").ljust(65536, b"\xff"))
        self.bundle_id, self.total, self.at = bytes(16), 0, 0
        self.acked = False
        self.end: End | None = None
        self.refusal, self.time = RefuseReceived(0, 0, 0, 0, tagged=False), 0
        self.said = b""

    def hear(self, stream: bytes) -> None:
        """All of it, as much at a time as cannot hold bytes of two answers."""
        session, place = self.session, 0
        session.hello()
        self.said += session.data_to_send()
        while self.end is None and place < len(stream):
            had = len(session._buffer)
            if session.state is DeviceState.HUNT or had < HEADER_SIZE:
                size = HEADER_SIZE if session.state is DeviceState.HUNT else HEADER_SIZE - had
            else:
                size = HEADER_SIZE + int.from_bytes(session._buffer._bytes[:2], "big") - had
            session.receive_data(stream[place : place + max(size, 1)])
            place += max(size, 1)
            for event in session.events():
                self.take(event)
            self.said += session.data_to_send()
        self.end = self.end or End.LINE

    def take(self, event: ClientEvent) -> None:
        match event:
            case Challenged():
                self.session._protection = NoProtection()
                limit = TO_THE_END if self.pushed else 0
                self.session.proof(WANT, limit, self.have, None, Setting.RENEW in self.settings)
            case ProtocolFailed():
                self.end = End.PEER
            case RefuseReceived():
                self.refusal, self.end = event, self.refused(event)
            case WaitReceived():
                self.ask_again()
            case ManifestReceived(bundle_id=bundle_id, total=total):
                self.begin(bundle_id, total)
            case DataReceived(offset=offset, data=data):
                self.flash[offset : offset + len(data)] = data
                self.at = offset + len(data)
                if not self.session.answer_due:
                    self.go_on()
            case DoneReceived(time=time):
                self.time = 0 if Setting.NO_TOKEN in self.settings else time
                self.end = End.ACTIVE if self.acked else End.KEEP if self.have else End.PEER

    def refused(self, event: RefuseReceived) -> End:
        kind = int(event.status) >> 4
        if kind == 2 and event.tagged and event.status == Status.STALE:
            return End.FORGET if self.have and not self.acked else End.RESTART
        if kind == 2 and event.tagged and not self.acked:
            return End.RESTART
        return {1: End.BUSY, 2: End.BUSY, 4: End.MEND}.get(kind, End.REPORT)

    def ask_again(self) -> None:
        if self.acked:
            self.session.ack(NO_DIGEST)
        else:
            self.session.fetch(0, TO_THE_END if self.pushed else 0)

    def begin(self, bundle_id: bytes, total: int) -> None:
        if total > ROOM:
            self.end = End.NO_ROOM
            return
        resumed = self.partial and (bundle_id, total) == (bytes(16), PARTIAL_TOTAL)
        self.bundle_id, self.total, self.at = bundle_id, total, PARTIAL_STORED if resumed else 0
        if not self.pushed:
            self.go_on()

    def go_on(self) -> None:
        if self.at < self.total:
            self.session.fetch(self.at, self.limit)
            return
        if self.bundle_id != bytes(16):
            self.end = End.BROKEN
            return
        try:
            kinds = objects.parse(bytes(self.flash[: self.total]))
        except RemoteProtocolError:
            kinds = {}
        if any(WANT >> kind & 1 and kind not in kinds for kind in range(16)):
            self.end = End.PEER
            return
        self.acked = True
        self.session.ack(NO_DIGEST)


def verdict(settings: int, stream: bytes) -> bytes:
    """As fuzz.c has it: the end, the refusal, the time, all that was said."""
    device = Device(Setting(settings))
    device.hear(stream)
    assert device.end is not None
    refusal = device.refusal
    said = bytes(8)
    if refusal.status:
        said = (
            bytes([refusal.status, refusal.stage])
            + refusal.retry_s.to_bytes(4, "big")
            + refusal.detail.to_bytes(2, "big")
        )
    time = device.time if device.end in (End.ACTIVE, End.KEEP) else 0
    return bytes([device.end]) + said + time.to_bytes(4, "big") + device.said


def answer_all(line: socket.socket) -> int:
    """Judge what comes until the fuzzer has ended; how many inputs that were."""
    count = 0
    with line, line.makefile("rb") as reader:
        while head := reader.read(5):
            said = verdict(head[0], reader.read(int.from_bytes(head[1:], "big")))
            line.sendall(len(said).to_bytes(4, "big") + said)
            count += 1
    return count
