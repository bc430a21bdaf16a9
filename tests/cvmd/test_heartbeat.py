"""The signs of life, and what health makes of them."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest

import cvmd.heartbeat
from cvmd.heartbeat import Heartbeat
from cvmd.meter import Workload
from cvmd.ports import StoreDown
from tests.cvmd.events import WORKLOAD, Heard
from tests.cvmd.line import until

NODE = b"n" * 16


class Rows:
    """A database that can be down."""

    def __init__(self) -> None:
        self.down = False
        self.beats: list[bytes] = []
        self.stopped: list[bytes] = []

    def beat(self, node: bytes, uptime_s: float) -> Workload:
        if self.down:
            raise StoreDown("it is away")
        assert uptime_s >= 0
        self.beats.append(node)
        return WORKLOAD

    def node_stopped(self, node: bytes) -> None:
        if self.down:
            raise StoreDown("it is away")
        self.stopped.append(node)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def heartbeat(rows: Rows, heard: Heard) -> Iterator[Heartbeat]:
    with closing(Heartbeat(rows, NODE, heard)) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What heartbeat.py takes for the time: its one item."""
    now = [1000.0]
    monkeypatch.setattr(cvmd.heartbeat, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    return now


def test_a_node_is_ready_once_the_database_knows_it(heartbeat: Heartbeat, rows: Rows, heard: Heard) -> None:
    assert heartbeat.unready() == "the database has not answered yet"
    heartbeat.beat()
    assert heartbeat.unready() == ""
    assert rows.beats == [NODE]
    assert [workload for workload, _ in heard.of("workload_seen")] == [WORKLOAD]
    heartbeat.drain()
    assert heartbeat.unready() == "this node is stopping"
    assert heartbeat.stuck() == ""


def test_a_database_that_has_long_been_silent_makes_the_node_unready(
    clock: list[float], rows: Rows, heard: Heard
) -> None:
    with closing(Heartbeat(rows, NODE, heard)) as heartbeat:
        heartbeat.beat()
        clock[0] += 29
        heartbeat._turned_s = clock[0]
        assert heartbeat.unready() == ""
        clock[0] += 2
        assert heartbeat.unready() == "the database has not answered for 31 s"
        heartbeat.beat()
        assert heartbeat.unready() == ""


def test_a_loop_that_does_not_turn_is_stuck(clock: list[float], rows: Rows, heard: Heard) -> None:
    with closing(Heartbeat(rows, NODE, heard)) as heartbeat:
        heartbeat.beat()
        assert heartbeat.stuck() == ""
        clock[0] += 12
        assert heartbeat.stuck() == heartbeat.unready() == "the event loop has not turned for 12 s"


def test_it_beats_on_after_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch, heartbeat: Heartbeat, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cvmd.heartbeat, "EVERY_S", 0.01)
    monkeypatch.setattr(cvmd.heartbeat, "_AGAIN_S", 0.01)
    rows.down = True

    async def test() -> None:
        beating = asyncio.create_task(heartbeat.run())
        async with asyncio.timeout(20):
            await until(lambda: caplog.records)
            rows.down = False
            await until(lambda: len(rows.beats) >= 2)
            await heartbeat.stopped()
            await beating

    asyncio.run(test())
    assert caplog.records[0].getMessage() == "no heartbeat: it is away"
    assert rows.stopped == [NODE]


def test_a_last_word_that_nobody_hears_ends_no_daemon(heartbeat: Heartbeat, rows: Rows) -> None:
    rows.down = True
    asyncio.run(heartbeat.stopped())
    assert rows.stopped == []


def test_how_late_the_loop_is_is_told(monkeypatch: pytest.MonkeyPatch, heartbeat: Heartbeat, heard: Heard) -> None:
    monkeypatch.setattr(cvmd.heartbeat, "_TURN_S", 0.01)

    async def test() -> None:
        turning = asyncio.create_task(heartbeat.turn())
        async with asyncio.timeout(20):
            await until(lambda: heard.of("loop_was_late"))
        turning.cancel()

    asyncio.run(test())
    assert heard.of("loop_was_late")[0][0] >= 0
