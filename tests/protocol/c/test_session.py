"""Whole sessions of the C device against the real server session, undisturbed and refused. Cuts: test_cuts.py."""

import hashlib
import itertools
from dataclasses import dataclass, field, replace

import pytest
from cdevice import CDevice, Driver, End, Flash, Result, Settings, frames, on_every_machine

from protocol.constants import Kind, ProofFlag, Stage, Status, Suite
from protocol.events import AckReceived, HelloReceived, ProofPending, ProofReceived, ProofRejected, RequestRepeated
from protocol.messages import Proof, Wait
from protocol.objects import Bundle
from protocol.server import ServerSession

CERTIFICATE, KEY = bytes(range(256)) + b"certificate", b"the key" * 17
BUNDLE = Bundle.of({Kind.CERTIFICATE: CERTIFICATE, Kind.KEY_SEC1_PKCS1: KEY, Kind.THING_NAME: b"thing"})
DIGEST = hashlib.sha256(CERTIFICATE).digest()
PUSH, PULL = Settings(), Settings(max_frame=48, limit=27)
MODES = [PUSH, PULL, Settings(max_frame=200, limit=100), Settings(max_frame=1400), Settings(max_frame=97, limit=65535)]
IDS = [f"{each.max_frame}-{each.limit}" for each in MODES]


@dataclass
class Server:
    """The server's shell and record; one connection at a time, cut after so many bytes in both directions together."""

    token: bytes = PUSH.token
    bundle: Bundle = BUNDLE
    waits: int = 0
    waits_after_ack: int = 0
    refusal: tuple[Status, Stage, int, int] | None = None
    refuse_ack: bool = False
    active: bool = False
    offers_after_have: bool = False
    proofs: list[Proof] = field(default_factory=list)
    acks: int = 0
    max_frame: int = 0
    left: int | None = None
    nonces: int = 0
    check_acks: bool = True

    def connect(self, left: int | None = None) -> None:
        self.session, self.left = ServerSession(set(Suite)), left

    def talk(self, said: bytes) -> bytes | None:
        """What goes back; None: the connection is gone."""
        if self.left is not None:
            said, gone = said[: self.left], len(said) > self.left
            self.left -= len(said)
        self.session.receive_data(said)
        self._serve()
        answer = self.session.data_to_send()
        if self.left is None:
            return answer
        answer, gone = answer[: self.left], gone or len(answer) > self.left
        self.left -= len(answer)
        return answer if answer or not gone else None

    def _serve(self) -> None:
        session = self.session
        while events := session.events():
            for event in events:
                match event:
                    case HelloReceived(hello=hello):
                        self.max_frame = hello.max_frame
                        self.nonces += 1
                        session.challenge(self.nonces.to_bytes(16, "big"))
                    case ProofPending():
                        session.authenticate(self.token, True, bytes(32))
                    case ProofRejected():
                        session.send_auth_refusal()
                    case ProofReceived(proof=proof):
                        self.proofs.append(proof)
                        self._answer(proof.have)
                    case RequestRepeated():
                        self._answer(None)
                    case AckReceived(digest=digest):
                        assert digest == DIGEST or not self.check_acks
                        self.acks += 1
                        self._acked()

    def _answer(self, have: bytes | None) -> None:
        if self.refusal and not self.refuse_ack:
            self.session.send_refuse(*self.refusal)
        elif have == DIGEST and not self.offers_after_have:
            self._acked()
        elif self.waits:
            self.waits -= 1
            self.session._answer(Wait(65535))  # more than our own server would say
        else:
            self.session.send_manifest(self.bundle)

    def _acked(self) -> None:
        if self.refusal:
            self.session.send_refuse(*self.refusal)
        elif self.waits_after_ack:
            self.waits_after_ack -= 1
            self.session.send_wait(3)
        else:
            self.active = True
            self.session.send_done(1_800_000_000, 5)


def connect(driver: Driver, server: Server, settings: Settings = PUSH, flash: Flash | None = None, seed: object = 0,
            left: int | None = None) -> tuple[CDevice, Result]:  # fmt: skip
    """One boot with one connection."""
    device = CDevice(driver, settings, flash or Flash(), seed)
    server.connect(left)
    return device, device.run(server.talk)


@on_every_machine
@pytest.mark.parametrize("settings", MODES, ids=IDS)
def test_a_vend(driver: Driver, settings: Settings) -> None:
    server = Server()
    device, result = connect(driver, server, settings)
    assert (result.end, result.time, result.connect_after_s) == (End.ACTIVE, 1_800_000_000, 5)
    assert bytes(device.flash.data[: BUNDLE.total]) == BUNDLE.data
    assert device.accepted == [DIGEST]
    assert device.objects() == {1: CERTIFICATE, 2: KEY, 6: b"thing"}
    assert driver.ask("record", device.flash.record) == ["3"]
    assert (server.active, server.acks, server.max_frame) == (True, 1, settings.max_frame)
    assert result.failures == 0
    assert 5000 <= result.pause_ms <= 6250
    assert result.after == End.MISUSE, "a step after the end"


@pytest.mark.parametrize("settings", [PUSH, PULL], ids=["push", "pull"])
@pytest.mark.parametrize("takes", [1, 7])
def test_a_line_that_takes_and_gives_little(driver: Driver, settings: Settings, takes: int) -> None:
    device, server = CDevice(driver, settings, Flash()), Server()
    device.takes, device.idle_ms = takes, 10
    server.connect()
    waiting = b""

    def trickle(said: bytes) -> bytes | None:
        nonlocal waiting
        waiting += server.talk(said) or b""
        given, waiting = waiting[:takes], waiting[takes:]
        return given

    assert device.run(trickle).end is End.ACTIVE


@pytest.mark.parametrize("settings", [PUSH, PULL], ids=["push", "pull"])
def test_wait_is_obeyed_and_clamped(driver: Driver, settings: Settings) -> None:
    server = Server(waits=2, waits_after_ack=2)
    device = CDevice(driver, settings, Flash())
    moments: list[int] = []
    server.connect()

    def talk(said: bytes) -> bytes | None:
        if said:
            moments.append(device.now_ms)
        return server.talk(said)

    result = device.run(talk)
    assert result.end is End.ACTIVE
    assert server.acks == 3
    longest = sorted(late - early for early, late in itertools.pairwise(moments))[-2:]
    assert all(300_000 <= each < 310_000 for each in longest), "a turn of 65535 s is clamped to 300 s, and kept"


def test_failures_back_off_and_new_bytes_end_them(driver: Driver) -> None:
    device, server = CDevice(driver, PULL, Flash()), Server()
    for expected in range(1, 13):
        server.connect(left=0)
        result = device.run(server.talk)
        assert (result.end, result.failures) == (End.LINE, expected)
        least = min(3_600_000, 5000 << (expected - 1))
        assert least <= result.pause_ms <= least * 5 // 4
    server.connect(left=900)  # past the first page
    assert device.run(server.talk).failures == 0
    status, failures, _ = map(int, driver.ask("lost"))
    assert (status, failures) == (End.LINE, 0)


def test_a_bundle_that_cannot_be_accepted_backs_off_too(driver: Driver) -> None:
    device, server = CDevice(driver, PULL, Flash()), Server()
    device.on_accept = lambda digest: -1  # type: ignore[method-assign]  # a modem's store is full, say
    for expected in range(5):  # the first session brings the bundle, the later ones nothing
        server.connect()
        result = device.run(server.talk)
        assert (result.end, result.failures) == (End.BROKEN, expected)


def test_jitter_differs_between_devices(driver: Driver) -> None:
    pauses = set()
    for seed in range(20):
        _, result = connect(driver, Server(), seed=seed, left=0)
        pauses.add(result.pause_ms)
    assert len(pauses) > 10


REFUSALS = [
    (Status.BUSY, End.BUSY), (Status.TURN, End.BUSY), (Status.BACKEND, End.BUSY), (Status.DEADLINE, End.BUSY),
    (Status.STALE, End.RESTART), (Status.ISSUED, End.REPORT), (Status.MAPPING, End.REPORT), (Status.WANT, End.MEND),
    (Status.CSR_NEEDED, End.MEND),
]  # fmt: skip


@pytest.mark.parametrize(("status", "end"), REFUSALS)
def test_a_tagged_refusal_is_obeyed_by_its_class(driver: Driver, status: Status, end: End) -> None:
    server = Server(refusal=(status, Stage.QUEUE, 2**32 - 1, 3))
    flash = Flash()
    connect(driver, server, PULL, flash, left=900)
    _, result = connect(driver, server, PULL, flash)
    assert (result.end, result.refusal, result.stage, result.detail) == (end, status, Stage.QUEUE, 3)
    assert result.retry_s == 86400
    assert 86_400_000 <= result.pause_ms <= 86_400_000 * 5 // 4
    assert result.failures == (0 if status is Status.TURN else 1)


def test_only_stale_drops_what_is_stored(driver: Driver) -> None:
    for status, end, state in [(Status.DRAINING, End.BUSY, "2"), (Status.STALE, End.RESTART, "0")]:
        server, flash = Server(refuse_ack=True, refusal=(status, Stage.ACTIVATE, 1, 0)), Flash()
        _, result = connect(driver, server, PUSH, flash)
        assert result.end is end
        assert driver.ask("record", flash.record) == [state]
        if state == "2":
            _, result = connect(driver, server, PUSH, flash)
            assert server.proofs[-1].have == DIGEST
            assert driver.ask("record", flash.record) == [state]
        server.refusal = None
        _, result = connect(driver, server, PUSH, flash)
        assert result.end is End.ACTIVE


def test_a_wrong_token_is_a_person_s_business(driver: Driver) -> None:
    flash = Flash()
    connect(driver, Server(), PULL, flash, left=900)
    before = flash.record
    _, result = connect(driver, Server(token=bytes(32)), PULL, flash)
    assert (result.end, result.refusal) == (End.REPORT, Status.AUTH)
    assert result.retry_s <= 3600
    assert flash.record == before


def test_another_certificate_is_named_kept_and_replaced(driver: Driver) -> None:
    asks = replace(PUSH, have=DIGEST)
    server = Server()
    _, result = connect(driver, server, asks)
    assert result.end is End.KEEP
    assert server.proofs[-1].flags == ProofFlag.HAVE
    server = Server(offers_after_have=True)
    device, result = connect(driver, server, replace(asks, renew=True))
    assert result.end is End.ACTIVE
    assert server.proofs[-1].flags == ProofFlag.HAVE | ProofFlag.RENEW
    assert bytes(device.flash.data[: BUNDLE.total]) == BUNDLE.data
    server = Server(refusal=(Status.STALE, Stage.DELIVER, 1, 0))
    assert connect(driver, server, asks)[1].end is End.FORGET


def test_a_successor_on_offer_says_that_what_is_stored_is_active(driver: Driver) -> None:
    flash = Flash()
    connect(driver, Server(refuse_ack=True, refusal=(Status.BACKEND, Stage.ACTIVATE, 1, 0)), PUSH, flash)
    assert driver.ask("record", flash.record) == ["2"]
    _, result = connect(driver, Server(offers_after_have=True), PUSH, flash)
    assert (result.end, result.time) == (End.ACTIVE, 0)
    assert driver.ask("record", flash.record) == ["3"]


@pytest.mark.parametrize("state", ["2", "3"])
def test_firmware_that_wants_more_keeps_what_a_former_one_has_acknowledged(driver: Driver, state: str) -> None:
    flash, server = Flash(), Server()
    if state == "2":
        server = Server(refuse_ack=True, refusal=(Status.BACKEND, Stage.ACTIVATE, 1, 0))
    connect(driver, server, PUSH, flash)
    assert driver.ask("record", flash.record) == [state]
    server.refusal = None
    _, result = connect(driver, server, replace(PUSH, want=PUSH.want | 1 << Kind.ROOT_CA), flash)
    assert (result.end, server.proofs[-1].have) == (End.ACTIVE, DIGEST)


def test_another_bundle_takes_the_place_of_a_partial_one(driver: Driver) -> None:
    flash, server = Flash(), Server()
    connect(driver, server, PULL, flash, left=900)
    assert flash.stored == 256
    server.bundle = Bundle.of({Kind.CERTIFICATE: CERTIFICATE, Kind.KEY_SEC1_PKCS1: KEY})
    _, result = connect(driver, server, PULL, flash)
    assert result.end is End.ACTIVE
    assert bytes(flash.data[: server.bundle.total]) == server.bundle.data


def test_no_room_is_told_before_a_byte_is_stored(driver: Driver) -> None:
    device, result = connect(driver, Server(), replace(PULL, room=BUNDLE.total - 1))
    assert (result.end, result.retry_s, device.flash.record) == (End.NO_ROOM, 3600, b"")
    assert connect(driver, Server(), replace(PULL, room=BUNDLE.total))[1].end is End.ACTIVE


def test_inv3_no_ack_of_what_the_flash_does_not_hold(driver: Driver) -> None:
    class Worn(Flash):
        def store(self, offset: int, data: bytes) -> int:
            super().store(offset, data)
            self.data[100] = 0
            return 0

    server = Server()
    device = CDevice(driver, PUSH, Worn())
    for failures in (1, 2):  # what is dropped again was no progress: a part that is worn out does not come every 5 s
        server.connect()
        result = device.run(server.talk)
        assert (result.end, result.failures, server.acks, device.accepted) == (End.BROKEN, failures, 0, [])
        assert driver.ask("record", device.flash.record) == ["0"]
    device, result = connect(driver, server, PUSH, Flash(failing=True))
    assert (result.end, server.acks) == (End.BROKEN, 0)


@pytest.mark.parametrize("failing", range(5))
def test_inv3_no_ack_and_no_have_before_the_record_is_safe(driver: Driver, failing: int) -> None:
    """Of one boot: after CVM_BROKEN the next session has the same structure."""
    server, flash = Server(), Flash()
    device, calls = CDevice(driver, PULL, flash), itertools.count()

    def remember(record: str) -> int:
        return -1 if next(calls) == failing else CDevice.on_remember(device, record)

    def talk(said: bytes) -> bytes | None:
        answer = server.talk(said)
        if server.acks or any(proof.have for proof in server.proofs):
            assert flash.record[4] >= 2, "STORED"
        return answer

    device.on_remember = remember  # type: ignore[method-assign]  # one call fails
    for expected in (End.BROKEN, End.ACTIVE):
        server.connect()
        assert device.run(talk).end is expected


@pytest.mark.parametrize(
    "data",
    [b"\1\0\0", b"\1\0\1x\1\0\1x", b"\1\0\1x\2\0\2x", b"\0\0\1x\1\0\1x", b"\1\0\1x", b"\2\0\1x", b"\1\0\1x\2\0", b"\1",
     b"\2\0\1x\1\0\1x"],
)  # fmt: skip
def test_a_malformed_bundle_is_dropped_without_ack(driver: Driver, data: bytes) -> None:
    server = Server(bundle=Bundle(hashlib.sha256(data).digest()[:16], data))
    device, result = connect(driver, server)
    assert (result.end, server.acks) == (End.PEER, 0)
    assert driver.ask("record", device.flash.record) == ["0"]


def test_a_silent_server_is_left_after_its_time(driver: Driver) -> None:
    device = CDevice(driver, PUSH, Flash())
    start = device.now_ms
    assert device.run(lambda said: b"").end is End.LINE
    assert 25_000 <= device.now_ms - start <= 26_000
    device.now_ms = start

    def junk(_said: bytes) -> bytes:
        device.now_ms += 100
        return b"\0"

    assert device.run(junk).end is End.LINE, "bytes that never end do not extend the hunt"
    assert 25_000 <= device.now_ms - start <= 26_000
    assert device.run(lambda said: bytes(70_000)).end is End.PEER


def test_a_hunt_may_skip_as_much_whatever_was_read_back_before_it(driver: Driver) -> None:
    large = Bundle.of({Kind.CERTIFICATE: bytes(65000), Kind.KEY_SEC1_PKCS1: KEY})
    server, flash = Server(bundle=large, check_acks=False), Flash()
    connect(driver, server, PUSH, flash)
    heard = iter([bytes(1000)])
    device = CDevice(driver, PUSH, flash)
    assert device.run(lambda said: next(heard, None) if said else b"").end is End.LINE, "no CVM_PEER"


@pytest.mark.parametrize(
    "wrong",
    [{"serial": b""}, {"max_frame": 47}, {"max_frame": 1401}, {"limit": 0}, {"want": 4}, {"token": bytes(65)},
     {"token": bytes(1)}, {"token": bytes(15)}, {"token": b"", "want": 0x16}],
)  # fmt: skip
def test_misuse_is_told_before_anything_is_sent(driver: Driver, wrong: dict[str, object]) -> None:
    device, result = connect(driver, Server(), replace(PUSH, **wrong))  # type: ignore[arg-type]  # by field
    assert (result.end, device.said) == (End.MISUSE, b"")


def test_without_a_token_time_is_not_taken(driver: Driver) -> None:
    _, result = connect(driver, Server(token=b""), replace(PUSH, token=b""))
    assert (result.end, result.time, result.connect_after_s) == (End.ACTIVE, 0, 5)


def test_frames_are_never_above_max_frame(driver: Driver) -> None:
    heard = b""
    device, server = CDevice(driver, PULL, Flash()), Server()
    server.connect()

    def talk(said: bytes) -> bytes:
        nonlocal heard
        heard += (answer := server.talk(said) or b"")
        return answer

    device.run(talk)
    assert max(map(len, frames(heard))) == 48
