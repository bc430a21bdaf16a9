"""A bounded pool: never more at once than its size, and nothing that was begun is lost."""

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from cvmd.threads import Pool

LONG_S = 10


def test_run_gives_the_answer_from_a_named_thread() -> None:
    pool = Pool("store", 1)

    def call(number: int, *, add: int) -> tuple[int, str]:
        return number + add, threading.current_thread().name

    answer, thread = asyncio.run(pool.run(call, 1, add=2))
    pool.close()
    assert answer == 3
    assert thread.startswith("store")


def test_run_raises_what_the_call_raises() -> None:
    pool = Pool("store", 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(pool.run(lambda: 1 // 0))
    pool.close()


def test_no_more_than_size_run_at_once() -> None:
    pool, most, now, guard = Pool("store", 2), 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def call() -> None:
        nonlocal most, now
        with guard:
            now += 1
            most = max(most, now)
        both.wait(LONG_S)  # it takes two at once to pass
        with guard:
            now -= 1

    for future in [pool.submit(call) for _ in range(8)]:
        future.result(LONG_S)
    pool.close()
    assert most == pool.size == 2


def test_a_coroutine_that_gives_up_leaves_its_call_running() -> None:
    pool, begun, go, done = Pool("store", 1), threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go.wait(LONG_S)
        done.set()

    async def give_up() -> None:
        asking = asyncio.ensure_future(pool.run(call))
        await asyncio.to_thread(begun.wait, LONG_S)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(give_up())
    assert not done.is_set()
    go.set()
    pool.close()
    assert done.is_set()


def test_close_waits_for_what_runs_and_drops_what_stands_in_line() -> None:
    pool, begun, go = Pool("store", 1), threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        go.wait(LONG_S)
        return "done"

    running = pool.submit(call)
    begun.wait(LONG_S)
    in_line = pool.submit(call)
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(CancelledError):
        in_line.result(LONG_S)
    go.set()
    closing.join(LONG_S)
    assert running.result(0) == "done"
    with pytest.raises(RuntimeError):
        pool.submit(call)
