"""Who waits for an issuance to move, and who tells them: the worker of this node at once, the database for
others.

A connection is only a waiter. Where another node does the work, one query a node every `poll_s` asks for
the rows that somebody here waits for; nothing is asked while nobody waits.
"""

from __future__ import annotations

import asyncio
import logging

from cvmd.model import Issuance
from cvmd.ports import StoreDown, VendingStore
from cvmd.threads import Pool

log = logging.getLogger(__name__)


class Changes:
    """Waiters by issuance id. Belongs to the event loop; `moved_from_thread` alone may be called
    elsewhere."""

    def __init__(self, store: VendingStore, db: Pool, *, poll_s: float) -> None:
        self._store = store
        self._db = db
        self._poll_s = poll_s
        self._waiters: dict[int, set[asyncio.Future[None]]] = {}
        self._seen: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        self.draining = False  # read by who would wait

    async def wait(self, issuance: Issuance, timeout_s: float) -> bool:
        """Until the row has moved from what `issuance` shows, or the node drains. False: the time was over first."""
        if self.draining:
            return True
        waiter: asyncio.Future[None] = self._loop.create_future()
        waiters = self._waiters.setdefault(issuance.id, set())
        waiters.add(waiter)
        # Of two who wait, the one who saw less: else the poll would compare with what only the other knows.
        self._seen[issuance.id] = min(issuance.updated_us, self._seen.get(issuance.id, issuance.updated_us))
        try:
            done, _ = await asyncio.wait([waiter], timeout=max(timeout_s, 0))
            return bool(done)
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(issuance.id) is waiters:
                del self._waiters[issuance.id]
                self._seen.pop(issuance.id, None)

    def moved(self, issuance_id: int) -> None:
        """Wake those who wait for this row."""
        self._seen.pop(issuance_id, None)
        for waiter in self._waiters.pop(issuance_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def moved_from_thread(self, issuance_id: int) -> None:
        """The same, called by a worker's thread."""
        self._loop.call_soon_threadsafe(self.moved, issuance_id)

    def drain(self) -> None:
        """Wake everybody, and let nobody wait from now on."""
        self.draining = True
        for issuance_id in list(self._waiters):
            self.moved(issuance_id)

    async def run(self) -> None:
        """Ask the database for moves that happened elsewhere, for ever."""
        while True:
            await asyncio.sleep(self._poll_s)
            if not self._waiters:
                continue
            seen = {issuance_id: self._seen[issuance_id] for issuance_id in self._waiters}
            try:
                for issuance_id in await self._db.run(self._store.moved, seen):
                    self.moved(issuance_id)
            except StoreDown as error:
                log.warning("cannot ask for changes: %s", error)
                await asyncio.sleep(1)
