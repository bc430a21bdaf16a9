"""A foe on the line: bent, replayed, half and early frames move nothing, and the daemon vends on."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hostile import (
    AUTH_DELAY_S,
    CREATE,
    WITH_KEY,
    Line,
    Who,
    attacked,
    enrol,
    everything,
    line,
    query,
    reaches,
    refused,
    states,
    unharmed,
    vend,
)

from protocol import messages
from protocol.constants import HEADER_SIZE, MessageType, Stage, Status, Suite
from protocol.framing import clear_frame
from protocol.messages import Challenge, ClearRefuse, Done, Manifest, Refuse
from tools.stack import Stack

SUITES = pytest.mark.parametrize("suite", list(Suite), ids=["mac", "noise"])
STRIDES = pytest.mark.parametrize("stride", [37, pytest.param(1, marks=pytest.mark.full)], ids=["sample", "every"])
AT_ONCE = 48


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One daemon for all attacks: whatever one of them breaks, the next one meets."""
    with attacked(tmp_path_factory.mktemp("hostile")) as stack:
        yield stack


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """The shared daemon, unharmed after every attack."""
    with unharmed(shared):
        yield shared


# Bent frames.


def flips(frame: bytes, stride: int) -> Iterator[bytes]:
    """The frame with one bit flipped: every stride-th bit."""
    for bit in range(0, 8 * len(frame), stride):
        yield frame[: bit // 8] + bytes([frame[bit // 8] ^ 1 << bit % 8]) + frame[bit // 8 + 1 :]


async def all_at_once(attacks: list[Any]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(attack: Any) -> None:
        async with gate:
            await attack

    async with asyncio.TaskGroup() as group:
        for attack in attacks:
            group.create_task(one(attack))


async def bent_hello(stack: Stack, who: Who, suite: Suite, bent: int, stride: int) -> None:
    """Whoever bends HELLO also bends the echo back, so that the device goes on; the transcript tells."""
    async with line(stack, who, suite) as end:
        frame = end.hello()
        end.write(list(flips(frame, stride))[bent])
        answer = await end.hear()
        if isinstance(answer, Challenge):
            nonce = slice(HEADER_SIZE + 4, HEADER_SIZE + 20)
            end.key(end.heard[-1][:HEADER_SIZE] + frame[nonce] + end.heard[-1][HEADER_SIZE + 16 :])
            answer = await end.ask(end.proof())
            assert answer is None or isinstance(answer, ClearRefuse)
        assert answer is None or await end.closed()


async def bent_later(stack: Stack, who: Who, suite: Suite, step: str, bent: int, stride: int) -> None:
    """A session that goes well up to `step`, whose frame is bent."""
    async with line(stack, who, suite) as end:
        await end.challenged()
        frame = end.proof(limit=0)
        if step != "PROOF":
            manifest = await end.ask(frame)
            assert isinstance(manifest, Manifest)
            [(digest,)] = query(
                stack,
                "SELECT c.certificate_id FROM certificates c JOIN devices d ON d.id = c.device_id WHERE d.serial = ?",
                who.serial,
            )
            frame = end.fetch(0, 100) if step == "FETCH" else end.ack(digest)
        answer = await end.ask(list(flips(frame, stride))[bent])
        if answer is not None:
            assert isinstance(answer, ClearRefuse if step == "PROOF" else Refuse), answer
            assert await end.closed()


@SUITES
@STRIDES
def test_inv7_any_bit_flipped_moves_nothing(stack: Stack, suite: Suite, stride: int) -> None:
    """In the name of a device whose serial is a bit from another's, before it has an issuance and with one on offer."""
    who = enrol(stack, serial=f"{suite.name}-{stride}-0")
    near = enrol(stack, serial=f"{suite.name}-{stride}-1")
    size = {"HELLO": 29 + len(who.serial), "PROOF": 24, "FETCH": 23, "ACK": 51}
    if suite is Suite.NOISE:
        size |= {"PROOF": 57, "FETCH": 24, "ACK": 52}

    def cases(step: str) -> range:
        return range(len(range(0, 8 * size[step], stride)))

    async def attack() -> None:
        before = everything(stack)
        await all_at_once(
            [bent_hello(stack, who, suite, bent, stride) for bent in cases("HELLO")]
            + [bent_later(stack, who, suite, "PROOF", bent, stride) for bent in cases("PROOF")]
        )
        assert everything(stack) == before
        async with line(stack, who, suite) as end:
            await end.challenged()
            await end.receive()
        calls = stack.aws.counters()
        await all_at_once(
            [bent_later(stack, who, suite, step, bent, stride) for step in ("FETCH", "ACK") for bent in cases(step)]
        )
        assert stack.aws.counters() == calls
        assert states(stack, who) == ["offered"]
        await vend(stack, who, suite)

    asyncio.run(attack())
    assert (states(stack, who), states(stack, near)) == (["active"], [])


@SUITES
def test_a_recorded_session_is_refused(stack: Stack, suite: Suite) -> None:
    who = enrol(stack)

    async def attack() -> None:
        record = await vend(stack, who, suite)
        await reaches(stack, who, "active")
        before = everything(stack)
        hello, proof, *_ = record.said
        async with line(stack, who, suite) as frame_by_frame:
            assert isinstance(await frame_by_frame.ask(hello), Challenge)
            answer = await frame_by_frame.ask(proof)
            assert refused(answer) == (Status.AUTH, Stage.PROOF, 0, False)
        async with line(stack, who, suite) as all_in_one:
            answer = await all_in_one.ask(b"".join(record.said))
            assert refused(answer) == (Status.MALFORMED, Stage.HELLO, 0, False)
        async with line(stack, who, suite) as reflected:
            await reflected.challenged()
            reflected.write(record.heard[1])
            assert refused(await reflected.hear()) == (Status.MALFORMED, Stage.PROOF, 0, False)
        assert everything(stack) == before

    asyncio.run(attack())


# Before and between frames.


@asynccontextmanager
async def nobody(stack: Stack) -> AsyncIterator[Line]:
    async with line(stack, Who(b"nobody", b"t" * 32)) as end:
        yield end


def test_junk_before_hello_is_skipped_up_to_the_limit(stack: Stack) -> None:
    junk = (b"\x00\x26\x01CVN" + b"AT+CIPSEND\r\n\x00" * 40)[:257]

    async def attack() -> None:
        async with nobody(stack) as end:
            assert isinstance(await end.ask(junk[:256] + end.hello()), Challenge)
        async with nobody(stack) as end:
            end.write(junk + end.hello())
            assert await end.closed()
        async with nobody(stack) as end:  # a byte at a time
            for byte in junk + bytes(6):
                end.write(bytes([byte]))
                await asyncio.sleep(0)
            assert await end.closed()

    asyncio.run(attack())


def test_half_frames_meet_the_deadlines(stack: Stack) -> None:
    """Drop by drop, so that idle timers would never end them."""
    who = enrol(stack)

    async def drip(end: Line, frame: bytes) -> Any:
        """The frame but its last byte, for as long as the daemon lets it: what it says then."""
        for byte in frame[:-1]:
            end.write(bytes([byte]))
            await asyncio.sleep(0.05)
        return await end.hear()

    async def silent_at_hello() -> None:
        async with line(stack, who) as end:
            assert await drip(end, end.hello()) is None

    async def silent_at_proof() -> None:
        async with line(stack, who) as end:
            await end.challenged()
            assert await drip(end, end.proof(have=bytes(32))) is None

    async def silent_without_a_word() -> None:
        async with line(stack, who) as end:
            assert await end.closed()
        async with line(stack, who) as end:
            await end.challenged()
            assert await end.closed()

    async def told_later() -> None:
        async with line(stack, who) as end:
            await end.challenged()
            assert isinstance(await end.ask(end.proof(limit=0)), Manifest)
            assert refused(await drip(end, end.fetch(0))) == (Status.DEADLINE, Stage.DELIVER, 0, True)
            assert await end.closed()

    async def attack() -> None:
        await asyncio.gather(silent_at_hello(), silent_at_proof(), silent_without_a_word(), told_later())

    asyncio.run(attack())


def test_sixteen_hellos_a_connection(stack: Stack) -> None:
    async def attack() -> None:
        async with nobody(stack) as end:
            for _ in range(16):
                assert isinstance(await end.ask(end.hello()), Challenge)
            assert refused(await end.ask(end.hello())) == (Status.BUSY, Stage.HELLO, 0, False)
            assert await end.closed()
        async with nobody(stack) as end:
            end.write(b"".join(end.hello() for _ in range(17)))
            answer = await end.hear()
            assert refused(answer) == (Status.BUSY, Stage.HELLO, 0, False)

    asyncio.run(attack())


def test_hello_while_a_request_is_answered(stack: Stack) -> None:
    """Nothing of the old session comes after the new CHALLENGE, be it the same device or another one on that line."""
    who, other = enrol(stack), enrol(stack)
    stack.aws.fault(CREATE, "latency", delay_s=1.0)
    creates = stack.aws.calls(CREATE)

    async def attack() -> None:
        async with line(stack, who) as end:
            await end.challenged()
            end.write(end.proof())
            await reaches(stack, who, "intent")
            end.who = other
            await end.challenged()
            first, digest = await end.receive()
            await end.challenged()
            again, same = await end.receive()
            assert (first, digest) == (again, same)
            end.who = who
            await end.challenged()
            manifest, _ = await end.receive()
            assert manifest.bundle_id != first.bundle_id

    asyncio.run(attack())
    assert (states(stack, who), states(stack, other)) == (["offered"], ["offered"])
    assert stack.aws.calls(CREATE) == creates + 2


@pytest.mark.parametrize("when", ["HELLO", "CHALLENGE", "PROOF", "MANIFEST", "DATA", "ACK"])
def test_inv4_gone_at_any_moment_while_aws_is_slow(stack: Stack, when: str) -> None:
    who = enrol(stack)
    creates = stack.aws.calls(CREATE)
    stack.aws.fault(CREATE, "latency", delay_s=0.3)
    stack.aws.fault("UpdateCertificate", "latency", delay_s=0.3)

    async def go_away(end: Line) -> bytes | None:
        """The digest that was acknowledged, if it came so far."""
        if when == "HELLO":
            end.write(end.hello())
            return None
        await end.challenged()
        if when == "CHALLENGE":
            return None
        if when == "PROOF":
            end.write(end.proof())
            await reaches(stack, who, "intent")
            return None
        if when in ("MANIFEST", "DATA"):
            assert isinstance(await end.ask(end.proof(limit=0)), Manifest)
            if when == "DATA":
                end.write(end.fetch(0))
                await end.data(1)
            return None
        _, digest = await end.receive()
        end.write(end.ack(digest))
        await reaches(stack, who, "acked")
        return digest

    async def attack() -> None:
        async with line(stack, who) as end:
            digest = await go_away(end)
        if digest is not None:
            async with line(stack, who) as end:
                await end.challenged()
                assert isinstance(await end.ask(end.proof(have=digest)), Done)
            return
        if when not in ("HELLO", "CHALLENGE"):
            await reaches(stack, who, "offered")
        await vend(stack, who)

    asyncio.run(attack())
    assert states(stack, who) == ["active"]
    assert stack.aws.calls(CREATE) == creates + 1


# Who is it?


def test_inv8_unknown_wrong_and_disabled_are_one_frame_and_never_early(stack: Stack) -> None:
    known, disabled = enrol(stack), enrol(stack)
    stack.cvmd("devices", "disable", disabled.serial.decode())
    strangers = [Who(b"no-such-device", known.token), Who(known.serial, bytes(32)), disabled, Who(known.serial, b"")]

    async def answer(who: Who, suite: Suite) -> bytes:
        async with line(stack, who, suite) as end:
            await end.challenged()
            began_s = time.monotonic()
            end.write(end.proof(want=WITH_KEY))
            frame = await end.frame()
            assert time.monotonic() - began_s >= AUTH_DELAY_S
            assert await end.closed()
            return frame[:HEADER_SIZE] + frame[HEADER_SIZE + 16 :]  # without nonce_c

    async def attack() -> None:
        before = everything(stack)
        frames = {await answer(who, suite) for who in strangers for suite in Suite}
        body = bytes([Status.AUTH, Stage.PROOF, 0, 0, 0, 60, 0, 0])
        assert frames == {clear_frame(MessageType.CLEAR_REFUSE, bytes(16) + body).replace(bytes(16), b"", 1)}
        assert everything(stack) == before

    asyncio.run(attack())


def test_inv1_one_device_on_two_lines(stack: Stack) -> None:
    who = enrol(stack)
    creates = stack.aws.calls(CREATE)
    stack.aws.fault(CREATE, "latency", delay_s=0.3)

    async def one(suite: Suite) -> tuple[Manifest, bytes, Any]:
        async with line(stack, who, suite) as end:
            await end.challenged()
            manifest, digest = await end.receive()
            answer = await end.ask(end.ack(digest))
            while isinstance(answer, messages.Wait):
                answer = await end.ask(end.ack(digest))
            return manifest, digest, type(answer)

    async def attack() -> None:
        answers = await asyncio.gather(*(one(suite) for suite in (*Suite, *Suite)))
        assert len(set(answers)) == 1
        assert answers[0][2] is Done

    asyncio.run(attack())
    assert states(stack, who) == ["active"]
    assert stack.aws.calls(CREATE) == creates + 1
