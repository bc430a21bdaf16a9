"""A connection on a real socket; behind it vends that answer, fail and hang as a test says."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import cvmd.listener
from cvmd.authentication import Denial
from cvmd.errors import Kind as Why
from cvmd.errors import SealError, refusal
from cvmd.ports import StoreDown
from cvmd.vending import Channel
from protocol.constants import Stage, Status, Suite
from protocol.events import Challenged, DoneReceived, ManifestReceived, RefuseReceived, WaitReceived
from tests.cvmd.line import AGAIN, BUNDLE, DIGEST, DONE, HELD, OFFER, SERIAL, Device, Node, Script, calling, listening

WRONG = b"w" * 32


@pytest.fixture
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cvmd.listener, "_SWEEP_S", 0.02)


def run(
    test: Callable[[Node, Device, *tuple[Script, ...]], Coroutine[Any, Any, None]],
    scripts: Callable[[], tuple[Script, ...]] = tuple,
    **settings: Any,
) -> None:
    """`test` with a listener, a device on one line to it, and the scripts."""

    async def with_line() -> None:
        made = scripts()
        async with listening(*made, **settings) as node, calling(node) as device:
            await test(node, device, *made)

    asyncio.run(with_line())


def said(event: RefuseReceived) -> tuple[int, int, bool]:
    return event.status, event.stage, event.tagged


# What goes well, and the one line of it.


@pytest.mark.parametrize("suite", Suite)
def test_a_vend_from_hello_to_done(suite: Suite) -> None:
    async def test(node: Node, device: Device, script: Script) -> None:
        await device.prove(suite=suite, max_wait_s=90)
        event = await device.event()
        while isinstance(event, WaitReceived):
            device.fetch()
            event = await device.event()
        assert event == ManifestReceived(BUNDLE.bundle_id, BUNDLE.total)
        assert await device.bundle() == BUNDLE.data
        device.ack()
        assert isinstance(await device.event(), WaitReceived)
        device.ack()
        assert await device.event() == DoneReceived(1_700_000_000, 7)
        assert await device.event() is None
        assert node.vends == [(SERIAL, Channel("127.0.0.1", suite, private=False), 90)]
        # PROOF, the FETCH that repeats it, twice the ACK.
        assert [type(each) for each in script.asked[1:]] == [type(None), bytes, bytes]
        assert script.asked[2] == DIGEST
        report = await node.reports.get()
        duration_ms = report.pop("duration_ms")
        assert isinstance(duration_ms, int)
        assert report == {
            "source": "127.0.0.1",
            "serial": SERIAL,
            "suite": suite.name.lower(),
            "status": "DONE",
            "certificate_id": DIGEST.hex(),
            "bytes_up": device.sent,
            "bytes_down": device.received,
        }
        assert node.reports.empty()
        assert node.door.open == 0

    run(test, lambda: (Script(AGAIN, OFFER, AGAIN, DONE),))


def test_a_line_is_vended_in_any_slices() -> None:
    async def test(_node: Node, device: Device, _script: Script) -> None:
        whole = device.writer.write
        device.writer.write = lambda data: [whole(bytes([each])) for each in data] and None  # type: ignore[method-assign,func-returns-value]  # byte by byte
        await device.prove()
        assert isinstance(await device.event(), ManifestReceived)
        assert await device.bundle() == BUNDLE.data

    run(test, lambda: (Script(OFFER),))


def test_a_connection_that_says_nothing_reports_nothing() -> None:
    async def test(node: Node, device: Device) -> None:
        device.writer.close()
        async with calling(node) as other:
            other.writer.write(b"x")
            other.writer.close()
            report = await node.reports.get()
        assert (report["bytes_up"], report["bytes_down"]) == (1, 0)
        assert "serial" not in report

    run(test)


# Refusals before and after the proof.


@pytest.mark.parametrize("known", [True, False])
def test_inv8_the_refusal_of_a_proof_is_late_clear_and_always_the_same(known: bool) -> None:
    async def test(node: Node, device: Device, script: Script) -> None:
        began_s = asyncio.get_running_loop().time()
        await device.prove(token=WRONG)
        event = await device.refused()
        assert asyncio.get_running_loop().time() - began_s >= 0.2
        assert event == RefuseReceived(Status.AUTH, Stage.PROOF, 60, 0, tagged=False)
        assert script.asked == []
        report = await node.reports.get()
        assert (report["serial"], report["status"], report["level"]) == (SERIAL, "AUTH", logging.WARNING)
        denial = Denial.WRONG_TOKEN if known else Denial.UNKNOWN_SERIAL
        assert (report["denial"], report["reason"]) == (denial, denial.reason)

    run(test, lambda: (Script(known=known),), auth_delay_s=0.2)


def test_a_refusal_of_the_vend_is_tagged_and_reported() -> None:
    async def test(node: Node, device: Device, _script: Script) -> None:
        await device.prove()
        event = await device.refused()
        assert event == RefuseReceived(Status.MAPPING, Stage.ATTACH, 300, 2, tagged=True)
        report = await node.reports.get()
        assert (report["status"], report["stage"]) == ("MAPPING", "ATTACH")
        assert "policy" in report["reason"]
        assert report["level"] == logging.ERROR

    run(test, lambda: (Script(refusal(Why.POLICY_MISSING)),))


def test_inv9_a_frame_out_of_order_is_refused_and_reported() -> None:
    async def test(node: Node, device: Device) -> None:
        device.hello()
        assert await device.event() == Challenged()
        device.writer.write(b"\x00\x00\x82")
        event = await device.refused()
        assert said(event) == (Status.MALFORMED, Stage.PROOF, False)
        report = await node.reports.get()
        assert (report["status"], report["stage"]) == ("MALFORMED", "PROOF")
        assert "FETCH" in report["reason"]

    run(test)


# What fails behind.


@pytest.mark.parametrize("fault", [StoreDown("gone"), SealError("altered"), RuntimeError("a bug")])
def test_inv9_a_look_up_that_fails_says_busy_and_no_more(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def test(node: Node, device: Device, _script: Script) -> None:
        await device.prove()
        event = await device.refused()
        assert event == RefuseReceived(Status.BUSY, Stage.PROOF, 5, 0, tagged=False)
        assert (await node.reports.get())["status"] == "BUSY"

    run(test, lambda: (Script(look_up=fault),))
    assert bool(caplog.records[0].exc_info) is isinstance(fault, RuntimeError)
    if isinstance(fault, SealError):
        assert "not sealed for its place: altered" in caplog.records[0].getMessage()
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize("answers", [(), (AGAIN,), (OFFER,)], ids=["proof", "fetch", "ack"])
@pytest.mark.parametrize("fault", [StoreDown("gone"), ZeroDivisionError("a bug")])
def test_inv9_a_fault_after_the_proof_is_a_tagged_backend_and_in_the_log(
    answers: tuple[Any, ...], fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(node: Node, device: Device, _script: Script) -> None:
        await device.prove()
        if answers == (AGAIN,):
            assert isinstance(await device.event(), WaitReceived)
            device.fetch()
        elif answers:
            assert isinstance(await device.event(), ManifestReceived)
            await device.bundle()
            device.ack()
        event = await device.refused()
        assert event == RefuseReceived(Status.BACKEND, Stage.QUEUE, 30, 0, tagged=True)
        report = await node.reports.get()
        assert (report["status"], report["level"]) == ("BACKEND", logging.ERROR)

    run(test, lambda: (Script(*answers, fault),))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    if isinstance(fault, StoreDown):
        assert "the database does not answer" in record.getMessage()
    else:
        assert record.exc_info is not None
        assert record.exc_info[1] is fault


# A new HELLO, a lost line.


def test_inv2_a_new_hello_abandons_the_answer_that_is_pending() -> None:
    async def test(_node: Node, device: Device, first: Script, _second: Script) -> None:
        await device.prove()
        await first.held.wait()
        await device.prove()
        assert isinstance(await device.event(), ManifestReceived)
        assert first.abandoned.is_set()
        assert await device.bundle() == BUNDLE.data

    run(test, lambda: (Script(HELD), Script(OFFER)))


def test_a_new_session_reports_nothing_of_the_one_before() -> None:
    async def test(node: Node, device: Device, *_scripts: Script) -> None:
        await device.prove()
        await device.event()
        await device.bundle()
        await device.prove(serial=b"SN-2", token=WRONG)
        assert (await device.refused()).status == Status.AUTH
        report = await node.reports.get()
        assert (report["serial"], report["status"]) == (b"SN-2", "AUTH")
        assert "certificate_id" not in report

    run(test, lambda: (Script(OFFER), Script()))


def test_a_lost_line_abandons_the_vend_and_reports() -> None:
    async def test(node: Node, device: Device, script: Script) -> None:
        await device.prove()
        await script.held.wait()
        device.writer.transport.abort()
        await script.abandoned.wait()
        assert (await node.reports.get())["serial"] == SERIAL
        assert node.door.open == 0

    run(test, lambda: (Script(HELD),))


# Deadlines.


@pytest.mark.usefixtures("quick_sweep")
def test_who_does_not_prove_itself_in_time_is_hung_up_on() -> None:
    async def test(node: Node, device: Device) -> None:
        device.hello()
        assert await device.event() == Challenged()
        assert await device.hung_up()
        assert (await node.reports.get())["status"] == "DEADLINE"
        assert node.door.open == 0

    run(test, proof_s=0.1)


@pytest.mark.usefixtures("quick_sweep")
def test_who_never_says_a_byte_is_hung_up_on_without_a_line() -> None:
    async def test(node: Node, device: Device) -> None:
        assert await device.hung_up()
        assert node.door.open == 0
        assert node.reports.empty()

    run(test, hello_s=0.1)


@pytest.mark.usefixtures("quick_sweep")
def test_a_hello_has_until_the_proofs_deadline() -> None:
    async def test(_node: Node, device: Device) -> None:
        device.hello()
        assert await device.event() == Challenged()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(device.hung_up(), 1.5)

    run(test, hello_s=0.1)


@pytest.mark.usefixtures("quick_sweep")
def test_a_device_that_goes_on_no_more_is_told_so_under_the_keys() -> None:
    async def test(node: Node, device: Device, _script: Script) -> None:
        await device.prove()
        assert isinstance(await device.event(), ManifestReceived)
        assert await device.bundle() == BUNDLE.data
        assert said(await device.refused()) == (Status.DEADLINE, Stage.DELIVER, True)
        assert (await node.reports.get())["status"] == "DEADLINE"

    run(test, lambda: (Script(OFFER),), progress_s=0.1)


@pytest.mark.usefixtures("quick_sweep")
def test_an_answer_that_is_held_has_the_sessions_deadline() -> None:
    async def test(node: Node, device: Device, script: Script) -> None:
        await device.prove()
        event = await device.refused()
        assert said(event) == (Status.DEADLINE, Stage.QUEUE, True)
        await script.abandoned.wait()
        assert (await node.reports.get())["status"] == "DEADLINE"

    run(test, lambda: (Script(HELD),), progress_s=0.05, session_s=0.5)
