"""One bounded thread pool a backend, so that a slow AWS never starves a look-up.

boto3 and PyMySQL block. A thread cannot be cancelled: a coroutine that gives up leaves its call running to
the driver's own time-out, which lies below every deadline of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """At most `size` calls at once; further ones wait in line."""

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`call` in a thread of this pool; what it raises is raised here."""
        return await asyncio.wrap_future(self._executor.submit(call, *args, **kwargs))

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """The same for callers that are threads themselves."""
        return self._executor.submit(call, *args, **kwargs)

    def close(self) -> None:
        """Wait for what is running; nothing new is taken."""
        self._executor.shutdown(wait=True, cancel_futures=True)
