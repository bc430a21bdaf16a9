"""A device with a flash and a server with a record, connected in memory, on a wire that can be cut, split or bent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from protocol.client import ClientSession
from protocol.constants import OVERHEAD, TO_THE_END, Kind, Suite
from protocol.events import (
    AckReceived,
    Challenged,
    DataReceived,
    DoneReceived,
    Ended,
    HelloReceived,
    ManifestReceived,
    ProofPending,
    ProofReceived,
    ProofRejected,
    RequestRepeated,
    WaitReceived,
)
from protocol.objects import Bundle, certificate_digest, verify, want_of
from protocol.server import ServerSession
from protocol.states import DeviceState

SERIAL = b"SENSOR-000000042"


def objects(certificate_size: int = 80, key_size: int = 30) -> dict[Kind, bytes]:
    """Bytes that stand for a certificate and its key (size 0: none)."""
    source = Random("objects")
    certificate = {Kind.CERTIFICATE: source.randbytes(certificate_size)}
    return certificate | ({Kind.KEY_SEC1_PKCS1: source.randbytes(key_size)} if key_size else {})


@dataclass
class Mode:
    """How a device asks. `pulled`: a DATA frame at a time; `csr`: the key is its own."""

    suite: Suite
    max_frame: int = 512
    pulled: bool = False
    csr: bytes | None = None

    @property
    def want(self) -> int:
        return want_of([Kind.CERTIFICATE] if self.csr else [Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1])

    @property
    def limit(self) -> int:
        return self.max_frame - 5 - OVERHEAD[self.suite] if self.pulled else TO_THE_END

    def __str__(self) -> str:
        return f"{self.suite.name.lower()}-{'pulled' if self.pulled else 'pushed'}-{self.max_frame}"


MODES = [
    Mode(Suite.MAC),
    Mode(Suite.NOISE),
    Mode(Suite.MAC, 48, pulled=True),
    Mode(Suite.NOISE, 56, pulled=True),
]


@dataclass
class Flash:
    """What the device keeps over connections."""

    bundle_id: bytes = b""
    data: bytes = b""
    stored_digest: bytes | None = None
    active: bool = False


@dataclass
class Record:
    """What the server keeps: the one bundle, whether it was acknowledged, and what it was told."""

    token: bytes = bytes(range(32))
    bundle: Bundle = field(default_factory=lambda: Bundle.of(objects()))
    acked: bool = False
    waits: int = 0
    proven: list[bytes] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    @property
    def digest(self) -> bytes:
        return certificate_digest(verify(self.bundle.data, self.bundle.bundle_id)[Kind.CERTIFICATE])


@dataclass
class Wire:
    """Delivers both ways: at most `up_left` and `down_left` bytes, in the pieces and with the bytes that `bend` gives.

    `bend(direction, offset, data)` returns the pieces to deliver of data, which begins at that offset of the stream.
    """

    up_left: int | None = None
    down_left: int | None = None
    bend: Callable[[str, int, bytes], list[bytes]] = lambda _direction, _offset, data: [data]
    up: bytes = b""
    down: bytes = b""
    cut: bool = False

    def carry_up(self, data: bytes) -> Iterator[bytes]:
        offset, self.up = len(self.up), self.up + data
        yield from self._carry("up", offset, data, self.up_left)

    def carry_down(self, data: bytes) -> Iterator[bytes]:
        offset, self.down = len(self.down), self.down + data
        yield from self._carry("down", offset, data, self.down_left)

    def _carry(self, direction: str, offset: int, data: bytes, most: int | None) -> Iterator[bytes]:
        if most is not None and offset + len(data) > most:
            self.cut, data = True, data[: max(0, most - offset)]
        if data:
            yield from self.bend(direction, offset, data)


def whole(_direction: str, _offset: int, data: bytes) -> list[bytes]:
    """One piece a write."""
    return [data]


def one_by_one(_direction: str, _offset: int, data: bytes) -> list[bytes]:
    """A byte at a time."""
    return [data[place : place + 1] for place in range(len(data))]


class Pair:
    """One connection. `run` vends over it until DONE, a refusal, an error, silence or the cut."""

    def __init__(self, mode: Mode, flash: Flash, record: Record, wire: Wire, seed: object = 0) -> None:
        self.mode, self.flash, self.record, self.wire = mode, flash, record, wire
        source = Random(f"connection {seed}")
        self.nonce_s, self.server_ephemeral = source.randbytes(16), source.randbytes(32)
        self.server = ServerSession(set(Suite))
        self.device = ClientSession(
            SERIAL,
            record.token,
            suite=mode.suite,
            nonce_c=source.randbytes(16),
            ephemeral_private=source.randbytes(32),
            max_frame=mode.max_frame,
        )
        self.device_events: list[object] = []
        self.round_trips = 0

    def run(self) -> "Pair":
        self.device.hello()
        while not self.wire.cut and (request := self.device.data_to_send()):
            self.round_trips += 1
            for piece in self.wire.carry_up(request):
                self.server.receive_data(piece)
                self.serve()
                self.answer()
        self.server.receive_eof()
        self.device.receive_eof()
        self.device_events += self.device.events()
        return self

    @property
    def first_limit(self) -> int:
        """A device that pulls, or that may resume, wants to see MANIFEST first."""
        return 0 if self.mode.pulled or self.flash.data else TO_THE_END

    def answer(self) -> None:
        while not self.wire.cut and (sent := self.server.data_to_send(self.mode.max_frame)):
            for piece in self.wire.carry_down(sent):
                self.device.receive_data(piece)
                self.store()

    def serve(self) -> None:
        """The server's shell."""
        server, record = self.server, self.record
        while events := server.events():
            for event in events:
                match event:
                    case HelloReceived():
                        server.challenge(self.nonce_s)
                    case ProofPending():
                        server.authenticate(record.token, server.serial == SERIAL, self.server_ephemeral)
                    case ProofRejected():
                        server.send_auth_refusal()
                    case ProofReceived(proof=proof):
                        record.proven.append(server.serial)
                        self.vend(proof.have)
                    case RequestRepeated():
                        self.vend(None)
                    case AckReceived(digest=digest):
                        assert digest == record.digest, "an ACK of what was never sent"
                        self.vend(digest)
                    case Ended():
                        record.ended.append(event)

    def vend(self, digest: bytes | None) -> None:
        """Answer a device that is who it says."""
        record = self.record
        if digest == record.digest:
            record.acked = True
            self.server.send_done(1_800_000_000, 5)
        elif record.waits:
            record.waits -= 1
            self.server.send_wait(1)
        else:
            self.server.send_manifest(record.bundle)

    def store(self) -> None:
        """The device's shell."""
        device, flash = self.device, self.flash
        for event in device.events():
            self.device_events.append(event)
            match event:
                case Challenged():
                    device.proof(self.mode.want, self.first_limit, flash.stored_digest, self.mode.csr)
                case WaitReceived():
                    device.fetch(0, self.first_limit)
                case ManifestReceived(bundle_id=bundle_id):
                    if bundle_id != flash.bundle_id:
                        flash.bundle_id, flash.data = bundle_id, b""
                case DataReceived(offset=offset, data=data):
                    assert offset == len(flash.data), "bytes out of place"
                    flash.data += data
                case DoneReceived():
                    assert flash.stored_digest, "DONE of what was never stored"
                    flash.active = True
        if device.state is DeviceState.STREAM and not device.answer_due:
            self.go_on()

    def go_on(self) -> None:
        """The last answer is whole: ask for more, or acknowledge."""
        if len(self.flash.data) < self.record.bundle.total:
            self.device.fetch(len(self.flash.data), self.mode.limit)
            return
        objects = verify(self.flash.data, self.flash.bundle_id)
        self.flash.stored_digest = certificate_digest(objects[Kind.CERTIFICATE])
        self.device.ack(self.flash.stored_digest)


def vend(mode: Mode, **changes: object) -> Pair:
    """One undisturbed vend."""
    pair = Pair(mode, Flash(), Record(**changes), Wire()).run()  # type: ignore[arg-type]  # a test's shorthand
    assert pair.flash.active
    assert pair.flash.data == pair.record.bundle.data
    return pair


def frames(stream: bytes) -> list[bytes]:
    """The whole frames of a stream."""
    found = []
    while len(stream) >= 3 and len(stream) >= (size := 3 + int.from_bytes(stream[:2], "big")):
        found.append(stream[:size])
        stream = stream[size:]
    return found
