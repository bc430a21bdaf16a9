"""Who waits for a row is woken by its move, be it here or on another node."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cvmd.changes import Changes
from cvmd.model import Issuance
from cvmd.ports import StoreDown
from cvmd.store import AdminStore, Store
from cvmd.threads import Pool
from tests.cvmd.store.conftest import TRAIL, LosingDatabase, Scene, a_claim, a_key

LONG_S = 10.0
"""More than any test takes: a wait that ends by it has failed."""


class CountingStore(Store):
    """Writes down what `moved` is asked; `down` is how often it does not answer."""

    def __init__(self, database: LosingDatabase) -> None:
        super().__init__(database, TRAIL)
        self.asked: list[dict[int, int]] = []
        self.down = 0

    def moved(self, seen: dict[int, int]) -> list[int]:
        self.asked.append(seen)
        if self.down:
            self.down -= 1
            raise StoreDown("the server is gone")
        return super().moved(seen)


@pytest.fixture
def scene(migrated: Path, tmp_path: Path) -> Iterator[Scene]:
    database = LosingDatabase(f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    yield Scene(database, CountingStore(database), AdminStore(database, TRAIL))
    database.close()


def with_changes(scene: Scene, test: Callable[[Changes], Awaitable[None]], *, poll_s: float = LONG_S) -> None:
    """Run `test` beside the poll."""
    db = Pool("database", 2)

    async def both() -> None:
        changes = Changes(scene.store, db, poll_s=poll_s)
        polling = asyncio.ensure_future(changes.run())
        try:
            async with asyncio.timeout(LONG_S):
                await test(changes)
            assert not polling.done(), "the poll ends only with the node"
        finally:
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling

    try:
        asyncio.run(both())
    finally:
        db.close()


@asynccontextmanager
async def waiting(changes: Changes, *rows: Issuance) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that wait for `rows`, begun; at the end all of them were woken."""
    tasks = [asyncio.create_task(changes.wait(row, 2 * LONG_S)) for row in rows]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    yield tasks
    await asyncio.gather(*tasks)


def open_elsewhere(scene: Scene, row: Issuance) -> None:
    """Another node takes up a queued row."""
    assert scene.store.open_attempt(row, a_claim(), key=a_key())


def test_a_move_wakes_all_who_wait_for_the_row_and_nobody_else(scene: Scene) -> None:
    row, other = scene.queued(), scene.queued()

    async def test(changes: Changes) -> None:
        async with waiting(changes, other) as (left,):
            async with waiting(changes, row, row):
                changes.moved(row.id)
            assert not left.done()
            changes.moved(other.id)

    with_changes(scene, test)


def test_a_worker_s_thread_wakes_by_the_loop(scene: Scene) -> None:
    row = scene.queued()

    async def test(changes: Changes) -> None:
        async with waiting(changes, row):
            await asyncio.to_thread(changes.moved_from_thread, row.id)

    with_changes(scene, test)


def test_a_move_that_nobody_waits_for_is_nothing(scene: Scene) -> None:
    async def test(changes: Changes) -> None:
        changes.moved(4711)

    with_changes(scene, test)


def test_a_wait_ends_with_its_time(scene: Scene) -> None:
    row = scene.queued()

    async def test(changes: Changes) -> None:
        await changes.wait(row, 0.01)
        await changes.wait(row, -1)

    with_changes(scene, test)


def test_drain_wakes_everybody_and_lets_nobody_wait(scene: Scene) -> None:
    rows = [scene.queued(), scene.queued()]

    async def test(changes: Changes) -> None:
        async with waiting(changes, *rows, rows[0]):
            changes.drain()
        assert changes.draining
        await changes.wait(rows[0], 2 * LONG_S)

    with_changes(scene, test)


def test_inv10_the_poll_finds_the_moves_of_another_node(scene: Scene) -> None:
    row, other = scene.queued(), scene.queued()

    async def test(changes: Changes) -> None:
        async with waiting(changes, other) as (left,):
            async with waiting(changes, row):
                await asyncio.to_thread(open_elsewhere, scene, row)
            assert not left.done()
            changes.moved(other.id)

    with_changes(scene, test, poll_s=0.01)


def test_inv10_a_move_before_the_wait_is_found_too(scene: Scene) -> None:
    row = scene.queued()
    open_elsewhere(scene, row)

    async def test(changes: Changes) -> None:
        await changes.wait(row, 2 * LONG_S)

    with_changes(scene, test, poll_s=0.01)


def test_inv10_who_saw_less_is_woken_though_another_saw_more(scene: Scene) -> None:
    row = scene.queued()
    open_elsewhere(scene, row)

    async def test(changes: Changes) -> None:
        async with waiting(changes, row, scene.now(row.serial)):
            pass

    with_changes(scene, test, poll_s=0.05)


def test_nothing_is_asked_while_nobody_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    row, store = scene.queued(), counting(scene)
    sleeps = 0
    sleep = asyncio.sleep

    async def counted(delay: float, *rest: Any) -> None:
        nonlocal sleeps
        sleeps += delay == 0.001
        await sleep(delay, *rest)

    monkeypatch.setattr("cvmd.changes.asyncio.sleep", counted)

    async def turns(count: int) -> None:
        until = sleeps + count
        while sleeps < until:
            await sleep(0)

    async def test(changes: Changes) -> None:
        await turns(5)
        assert store.asked == []
        async with waiting(changes, row, row):
            while not store.asked:
                await sleep(0)
            changes.moved(row.id)
        await turns(1)  # what was under way has ended
        asked = len(store.asked)
        await turns(5)
        assert len(store.asked) == asked
        assert store.asked[0] == {row.id: row.updated_us}

    with_changes(scene, test, poll_s=0.001)


def test_the_poll_outlives_a_database_that_is_down(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    row, store = scene.queued(), counting(scene)
    store.down = 1

    async def test(changes: Changes) -> None:
        async with waiting(changes, row):
            await asyncio.to_thread(open_elsewhere, scene, row)

    with_changes(scene, test, poll_s=0.01)
    assert "cannot ask for changes: the server is gone" in caplog.text


def counting(scene: Scene) -> CountingStore:
    assert isinstance(scene.store, CountingStore)
    return scene.store
