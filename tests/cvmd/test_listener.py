"""Who is let in, and how a node stops: on real sockets."""

import asyncio
import logging

import pytest

import cvmd.listener
from cvmd.admission import Admission, Door
from cvmd.errors import Kind as Why
from cvmd.errors import refusal
from protocol.constants import Stage, Status
from protocol.events import Challenged, DoneReceived, ManifestReceived, RefuseReceived
from tests.cvmd.events import Heard
from tests.cvmd.line import BUNDLE, DONE, HELD, OFFER, Script, calling, listening, until


def test_inv7_a_source_gets_no_more_connections_than_its_share(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cvmd.listener, "_SWEEP_S", 0.02)

    async def test() -> None:
        async with listening(door=Door(max_connections=100, max_per_source=2)) as node:
            async with calling(node) as first, calling(node) as second:
                first.hello()
                second.hello()
                assert [await first.event(), await second.event()] == [Challenged()] * 2
                async with calling(node) as third:
                    assert await third.hung_up()
                first.writer.close()
                await node.reports.get()
                async with calling(node) as fourth:
                    fourth.hello()
                    assert await fourth.event() == Challenged()
            await until(lambda: caplog.records)

    asyncio.run(test())
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        "1 connections were turned away in the last second",
    )


def test_inv7_a_full_node_turns_away() -> None:
    async def test() -> None:
        door = Door(max_connections=1, max_per_source=100)
        async with listening(Script(OFFER, DONE), door=door) as node, calling(node) as device:
            await device.prove()
            assert isinstance(await device.event(), ManifestReceived)
            async with calling(node) as other:
                assert await other.hung_up()
            # Who was in is served on.
            assert await device.bundle() == BUNDLE.data

    asyncio.run(test())


def test_who_has_proved_itself_counts_no_more_as_one_that_has_not() -> None:
    async def test() -> None:
        # One of two that has not proved itself makes the next one's entrance a matter of chance.
        door = Door(max_connections=2, max_per_source=100)
        async with listening(Script(HELD), door=door) as node, calling(node) as device:
            await device.prove()
            assert node.door.judge("elsewhere", 0.0) is Admission.EARLY
            await until(lambda: node.door.judge("elsewhere", 0.0) is Admission.ACCEPT)

    asyncio.run(test())


def test_a_drained_node_takes_nobody_and_closes_idle_lines() -> None:
    async def test() -> None:
        async with listening() as node, calling(node) as idle, calling(node) as other:
            other.hello()
            assert await other.event() == Challenged()
            draining = asyncio.create_task(node.listener.drain(10))
            assert await idle.hung_up()
            with pytest.raises(ConnectionRefusedError):
                async with calling(node):
                    pass
            other.hello()
            assert await other.refused() == RefuseReceived(Status.DRAINING, Stage.HELLO, 5, 0, tagged=False)
            assert await draining == 0
            assert (await node.reports.get())["status"] == "DRAINING"

    asyncio.run(test())


def test_what_has_begun_goes_on_while_the_node_drains() -> None:
    async def test() -> None:
        async with listening(Script(OFFER, DONE)) as node, calling(node) as device:
            await device.prove()
            assert isinstance(await device.event(), ManifestReceived)
            draining = asyncio.create_task(node.listener.drain(10))
            assert await device.bundle() == BUNDLE.data
            device.ack()
            assert isinstance(await device.event(), DoneReceived)
            assert await draining == 0

    asyncio.run(test())


def test_a_vend_that_waits_is_told_that_the_node_drains() -> None:
    async def test() -> None:
        async with listening(Script(refusal(Why.DRAINING))) as node, calling(node) as device:
            device.hello()
            assert await device.event() == Challenged()
            draining = asyncio.create_task(node.listener.drain(10))
            device.proof()
            event = await device.refused()
            assert (event.status, event.tagged) == (Status.DRAINING, True)
            assert await draining == 0

    asyncio.run(test())


def test_what_does_not_end_in_time_is_cut_and_counted() -> None:
    async def test() -> None:
        async with (
            listening(Script(HELD), Script(HELD)) as node,
            calling(node) as one,
            calling(node) as two,
            calling(node),
        ):
            await one.prove()
            await two.prove()
            await until(lambda: len(node.vends) == 2)
            assert await node.listener.drain(0.05) == 2
            assert await one.hung_up()
            assert await two.hung_up()
            assert node.door.open == 0

    asyncio.run(test())


def test_a_node_without_connections_drains_at_once() -> None:
    async def test() -> None:
        async with listening() as node:
            assert await node.listener.drain(60) == 0

    asyncio.run(test())


def test_who_comes_goes_and_is_turned_away_is_told() -> None:
    async def test() -> Heard:
        heard = Heard()
        door = Door(max_connections=100, max_per_source=1)
        async with listening(door=door, meter=heard) as node:
            async with calling(node), calling(node) as second:
                assert await second.hung_up()
            await until(lambda: heard.of("connections_open")[-1] == (0,))
        return heard

    heard = asyncio.run(test())
    assert heard.of("connections_open") == [(1,), (0,)]
    assert heard.of("turned_away") == [("SOURCE_FULL",)]
