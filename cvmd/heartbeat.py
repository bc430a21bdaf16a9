"""The two signs of life of a node: its event loop turns, and the database knows its row.

What health tells is read from them. Nothing here asks AWS: an account at fault is a breaker's row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, Protocol

from cvmd.meter import Meter, Workload
from cvmd.ports import NODE_SILENT_S, StoreDown
from cvmd.threads import Pool

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
_AGAIN_S: Final = 1.0
_TURN_S: Final = 1.0
_STUCK_S: Final = 10.0


class NodeRows(Protocol):
    """What a heartbeat asks of the database."""

    def beat(self, node: bytes, uptime_s: float) -> Workload:
        """The node is alive, for `uptime_s` by now. What there is to do, and for how many nodes."""

    def node_stopped(self, node: bytes) -> None:
        """It ends in good order."""


class Heartbeat:
    """`run` and `turn` belong to the event loop; `stuck` and `unready` may be asked by any thread."""

    def __init__(self, rows: NodeRows, node: bytes, meter: Meter) -> None:
        self._rows = rows
        self._node = node
        self._meter = meter
        self._pool = Pool("heartbeat", 1)
        self._began_s = self._turned_s = time.monotonic()
        self._beat_s: float | None = None
        self._draining = self._stopped = False

    async def run(self) -> None:
        """Beat until `stopped`; a database that is down is only noted."""
        while not self._stopped:
            try:
                await self._pool.run(self.beat)
            except StoreDown as error:
                log.warning("no heartbeat: %s", error)
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(EVERY_S)

    def beat(self) -> None:
        """Once. Raises StoreDown."""
        at_s = time.monotonic()
        workload = self._rows.beat(self._node, at_s - self._began_s)
        self._beat_s = at_s
        self._meter.workload_seen(workload, time.time())

    async def turn(self) -> None:
        """Note that the loop turns, and how late it was, for ever."""
        while True:
            asked_s = time.monotonic()
            await asyncio.sleep(_TURN_S)
            self._turned_s = time.monotonic()
            self._meter.loop_was_late(max(0.0, self._turned_s - asked_s - _TURN_S))

    def drain(self) -> None:
        """From now on not ready."""
        self._draining = True

    async def stopped(self) -> None:
        """The node's last word, if the database hears it. Whatever was about to beat does not."""
        self._stopped = True
        try:
            await self._pool.run(self._rows.node_stopped, self._node)
        except StoreDown as error:
            log.warning("the node's row still says that it runs: %s", error)

    def close(self) -> None:
        """Let the thread go."""
        self._pool.close()

    def stuck(self) -> str:
        """Why this process should be started anew; empty: it should not."""
        still_s = time.monotonic() - self._turned_s
        return f"the event loop has not turned for {still_s:.0f} s" if still_s > _STUCK_S else ""

    def unready(self) -> str:
        """Why devices should be sent to another node; empty: they need not."""
        if self._draining:
            return "this node is stopping"
        if self._beat_s is None:
            return "the database has not answered yet"
        silent_s = time.monotonic() - self._beat_s
        late = silent_s > NODE_SILENT_S
        return self.stuck() or (f"the database has not answered for {silent_s:.0f} s" if late else "")
