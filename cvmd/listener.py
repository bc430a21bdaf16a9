"""The TCP server: accepts, asks the door, keeps the deadlines of all connections by one sweep, drains.

Plain sockets and those of TLS are one listener: one door, one sweep, one drain.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from cvmd.admission import Admission, Door
from cvmd.connection import Connection, Deadlines, House
from cvmd.meter import NO_METER, Meter
from cvmd.tls import ServerTls, TlsLine
from cvmd.vending import Channel, Vend
from protocol.constants import Suite

log = logging.getLogger(__name__)

_SWEEP_S = 1.0
"""How often deadlines are looked at. A timer a connection would cost memory and say nothing better."""


class Listener:
    """All sockets of a node and the connections that came by them."""

    def __init__(
        self,
        *,
        deadlines: Deadlines,
        door: Door,
        vend: Callable[[bytes, Channel, int], Vend],
        report: Callable[[dict[str, object]], None],
        meter: Meter = NO_METER,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._meter = meter
        self._door = door
        self._house = partial(
            House, deadlines=deadlines, vend=vend, came=self._came, proved=door.proved, gone=self._gone, report=report
        )
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._turned_away = 0
        self._empty = asyncio.Event()

    async def start(
        self,
        sockets: Collection[socket.socket],
        *,
        backlog: int,
        suites: Collection[Suite],
        trusted: bool = False,
        tls: ServerTls | None = None,
    ) -> None:
        """Listen on these sockets, bound already. `trusted`: nobody eavesdrops there."""
        house = self._house(suites=suites, private=trusted or tls is not None, tls=tls is not None)

        def plain() -> asyncio.Protocol:
            return Connection(house, self._loop)

        def secure() -> asyncio.Protocol:
            assert tls is not None, "else its sockets are plain"
            return TlsLine(tls.context, Connection(house, self._loop))

        for sock in sockets:
            make = plain if tls is None else secure
            self._servers.append(await self._loop.create_server(make, sock=sock, backlog=backlog))

    async def run(self) -> None:
        """Keep deadlines, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = self._loop.time()
            for connection in [each for each in self._connections if each.deadline_s <= now_s]:
                connection.expire(now_s)
            if self._turned_away:
                log.warning("%d connections were turned away in the last second", self._turned_away)
                self._turned_away = 0

    def _came(self, connection: Connection, source: str) -> bool:
        admission = self._door.judge(source, random.random())
        if admission is not Admission.ACCEPT:
            self._turned_away += 1
            self._meter.turned_away(admission.name)
            return False
        self._door.enter(source)
        self._connections.add(connection)
        self._meter.connections_open(self._door.open)
        return True

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        assert connection.source is not None, "it came in by the door"
        self._door.leave(connection.source, proved=connection.proved)
        self._meter.connections_open(self._door.open)
        if not self._connections:
            self._empty.set()

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, let what has begun end; the number of connections that were cut when the time was
        over."""
        for server in self._servers:
            server.close()
        self._empty.clear()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        cut = len(self._connections)
        for connection in list(self._connections):
            connection.cut()
        return cut
