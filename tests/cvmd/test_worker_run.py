"""The loop of a worker: which rows it takes up, when, and how it stops."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cvmd.errors import IssuerFault
from cvmd.model import Account, State
from cvmd.ports import StoreDown
from cvmd.worker import _DOWN_REST_S, Worker
from tests.cvmd.conftest import LONG_S, Bench, an_error


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    """`worker.run` beside the test, stopped at its end."""
    async with asyncio.timeout(LONG_S):
        task = asyncio.create_task(worker.run())
        yield
        worker.stop()
        worker.wake()
        await task
        assert await worker.finish(LONG_S) == 0


async def until(condition: Callable[[], object]) -> None:
    for _ in itertools.count():
        if condition():
            return
        await asyncio.sleep(0.002)


def run(worker: Worker, test: Callable[[], Any]) -> None:
    """`test` beside `worker.run`."""

    async def both() -> None:
        async with running(worker):
            await test()

    asyncio.run(both())


async def looks(bench: Bench, more: int) -> None:
    """Until the worker has asked that many times more what is due."""
    enough = bench.log.count("due") + more
    await until(lambda: bench.log.count("due") >= enough)


def test_a_wake_does_not_wait_for_the_poll(bench: Bench) -> None:
    worker = bench.worker()

    async def test() -> None:
        await looks(bench, 1)
        await asyncio.to_thread(bench.scene.queued)
        worker.wake()
        await until(lambda: bench.moved)

    run(worker, test)


def test_inv10_the_poll_finds_what_nobody_said(bench: Bench) -> None:
    async def test() -> None:
        await looks(bench, 1)
        await asyncio.to_thread(bench.scene.queued)
        await until(lambda: bench.moved)

    run(bench.worker(poll_s=0.01), test)


def test_more_rows_than_threads_are_carried_without_a_wake(bench: Bench) -> None:
    for _ in range(5):
        bench.scene.queued()
    run(bench.worker(), lambda: until(lambda: len(bench.moved) == 5))


def test_a_row_that_raises_an_internal_error_rests(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def broken(account: Account) -> bytes:
        asked.append(account.name)
        raise RuntimeError("no such file")

    bench.root_ca = broken
    row, settled = bench.scene.queued(), bench.scene.acked()

    async def test() -> None:
        await until(lambda: asked and bench.moved)
        await looks(bench, 5)

    run(bench.worker(poll_s=0.01), test)
    assert len(asked) == 1
    assert f"issuance {row.id}: internal error" in caplog.text
    assert bench.moved == [(settled.id, State.ACTIVE)]


def test_an_account_that_cannot_be_asked_rests(bench: Bench) -> None:
    bench.issuer.raises("describe_endpoint", *[an_error(IssuerFault.ACCOUNT)] * 100)
    rows = [bench.scene.queued()]

    async def test() -> None:
        await until(lambda: "describe_endpoint" in bench.log)
        await looks(bench, 2)
        rows.append(await asyncio.to_thread(bench.scene.queued))
        await looks(bench, 5)

    run(bench.worker(poll_s=0.01), test)
    assert bench.log.count("describe_endpoint") == 1
    assert {bench.scene.now(row.serial).state for row in rows} == {State.QUEUED}


def test_offers_that_expire_while_an_account_rests_ask_nothing_of_it(bench: Bench) -> None:
    bench.issuer.raises("certificate_is_active", *[an_error(IssuerFault.ACCOUNT)] * 100)
    rows = [bench.scene.offered() for _ in range(5)]
    bench.scene.sql("UPDATE issuances SET expires_us = 1, not_before_us = 1")

    async def test() -> None:
        await until(lambda: "certificate_is_active" in bench.log)
        await looks(bench, 5)

    run(bench.worker(poll_s=0.01), test)
    assert bench.log.count("certificate_is_active") <= 2, "no more than were in hand when it answered"
    assert {bench.scene.now(row.serial).state for row in rows} == {State.OFFERED}


def test_the_loop_outlives_a_database_that_is_down(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.raises("due", StoreDown("gone"))
    bench.scene.queued()
    run(bench.worker(poll_s=0.01), lambda: until(lambda: bench.moved))
    assert "cannot look for due issuances: gone" in caplog.text


def test_a_database_that_takes_no_writes_is_asked_in_no_hot_loop(bench: Bench) -> None:
    for _ in range(6):
        bench.scene.queued()
    bench.store.raises("open_attempt", *[StoreDown("the disk is full")] * 10_000)
    began_s = time.monotonic()
    run(bench.worker(poll_s=0.01, concurrency=2), lambda: until(lambda: bench.log.count("open_attempt") >= 7))
    assert time.monotonic() - began_s >= 2 * _DOWN_REST_S, "of seven two go at a time, with a rest after each time"


def test_what_is_in_hand_is_finished_after_stop(bench: Bench) -> None:
    row, go = bench.scene.queued(), threading.Event()
    bench.issuer.first["create"] = lambda *_: go.wait(LONG_S)
    worker = bench.worker()

    async def test() -> None:
        await until(lambda: "create" in bench.log)
        worker.stop()
        assert await worker.finish(0.01) == 1
        go.set()
        assert await worker.finish(LONG_S) == 0

    run(worker, test)
    assert bench.scene.now(row.serial).state is State.OFFERED


def test_after_stop_nothing_is_taken_that_was_being_looked_for(bench: Bench) -> None:
    row, go = bench.scene.queued(), threading.Event()
    bench.store.first["due"] = lambda *_: go.wait(LONG_S)
    worker = bench.worker()

    async def test() -> None:
        await until(lambda: "due" in bench.log)
        worker.stop()
        go.set()

    run(worker, test)
    assert bench.scene.now(row.serial).state is State.QUEUED


def test_what_was_put_down_while_it_was_looking_is_looked_at_again(bench: Bench) -> None:
    """It would be carried on past the breaker that it has just opened, and nobody would close that."""
    bench.scene.queued()
    worker = bench.worker()
    looked = threading.Event()
    look = bench.store.due

    def no_such_policy(*_: object) -> None:
        assert looked.wait(LONG_S)
        raise an_error(IssuerFault.POLICY_MISSING)

    def due(limit: int) -> Any:
        found = look(limit)
        if bench.log.count("due") == 2:
            looked.set()
            while worker._in_hand:  # whoever carries it puts it down
                threading.Event().wait(0.002)
        return found

    bench.issuer.first["policy_exists"] = no_such_policy
    bench.store.due = due

    async def test() -> None:
        await until(lambda: "policy_exists" in bench.log)
        worker.wake()
        await looks(bench, 2)

    run(worker, test)
    assert bench.log.count("policy_exists") == 1
