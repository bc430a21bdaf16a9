"""Many devices by asyncio: flash in memory, so many at once, each until it is done or gives up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tools.client import (
    DeviceStorage,
    Dialogue,
    Done,
    Failed,
    MemoryFlash,
    Options,
    Outcome,
    Refused,
    Traffic,
    pause_before_next,
)
from tools.client.explain import status_name

_READ_AT_ONCE = 65536


@dataclass
class Tally:
    """What has come of it so far. `unanswered`: connections that ended without DONE or REFUSE."""

    vends: int = 0
    unanswered: int = 0
    mixed: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    gave_up: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    _owners: dict[str, str] = field(default_factory=dict)

    def connection(self, outcome: Outcome) -> None:
        """One connection has ended so."""
        match outcome:
            case Refused(status=status):
                self.refusals[status_name(status)] += 1
            case Failed(reason=reason):
                self.unanswered += 1
                self.failures[reason] += 1

    def vended(self, serial: str, certificate_id: str, thing: str | None, expected: str | None) -> None:
        """A device is done. Mixed up: the thing is another's, or so is the certificate."""
        self.vends += 1
        owner = self._owners.setdefault(certificate_id, serial)
        if owner != serial or (expected is not None and thing != expected):
            self.mixed.append(serial)

    def summary(self, seconds: float) -> dict[str, Any]:
        """For one line of JSON; README.md names the fields."""
        return {
            "vends": self.vends,
            "unanswered": self.unanswered,
            "mixed": self.mixed,
            "gave_up": self.gave_up,
            "refusals": dict(self.refusals),
            "failures": dict(self.failures),
            "seconds": round(seconds, 3),
            "vends_per_s": round(self.vends / seconds, 1),
            "latency_s": {name: round(value, 4) for name, value in _percentiles(self.latencies_s).items()},
            **vars(self.traffic),
        }


def _percentiles(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {f"p{part}": ordered[round(last * part / 100)] for part in (50, 90, 99)} | {"max": ordered[-1]}


Job = tuple[Options, str | None]
"""A device, and the thing name that must come back (None: any)."""


async def run(jobs: Iterable[Job], at_once: int, progress: Callable[[Tally], None]) -> dict[str, Any]:
    """Vend to every device, `at_once` of them at a time; the summary. `progress` is called after each."""
    tally, waiting, begin = Tally(), iter(jobs), time.monotonic()

    async def work() -> None:
        for options, thing in waiting:
            await _vend(options, thing, tally)
            progress(tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return tally.summary(time.monotonic() - begin)


async def _vend(options: Options, thing: str | None, tally: Tally) -> None:
    storage = DeviceStorage(MemoryFlash(), options.serial)
    begin = time.monotonic()
    for number in count(1):
        outcome = await _connect_once(options, storage, tally.traffic)
        tally.connection(outcome)
        pause_s = pause_before_next(outcome, number, options)
        if pause_s is None:
            break
        await asyncio.sleep(pause_s)
    meta = storage.installed()
    if isinstance(outcome, Done) and meta:
        tally.latencies_s.append(time.monotonic() - begin)
        tally.vended(options.serial, meta.certificate_id, meta.thing_name, thing)
    else:
        tally.gave_up.append(options.serial)


async def _connect_once(options: Options, storage: DeviceStorage, traffic: Traffic) -> Outcome:
    dialogue = Dialogue(options, storage)
    traffic.connections += 1
    try:
        async with asyncio.timeout(options.timeout_s):
            reader, writer = await asyncio.open_connection(options.host, options.port)
    except OSError as error:  # TimeoutError is one
        return Failed(f"no connection: {error.strerror or 'timeout'}")
    try:
        return await _converse(dialogue, reader, writer, traffic, options.timeout_s)
    except TimeoutError:
        return Failed("no answer in time")
    except OSError as error:
        return Failed(f"the connection broke: {error.strerror}")
    finally:
        traffic.round_trips += dialogue.round_trips
        writer.close()


async def _converse(
    dialogue: Dialogue,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    traffic: Traffic,
    timeout_s: float,
) -> Outcome:
    while dialogue.outcome is None:
        request = dialogue.data_to_send()
        traffic.bytes_up += len(request)
        writer.write(request)
        if dialogue.turn_s is not None:
            await asyncio.sleep(dialogue.turn_s)
            dialogue.ask_again()
            continue
        async with asyncio.timeout(timeout_s):
            data = await reader.read(_READ_AT_ONCE)
        traffic.bytes_down += len(data)
        if data:
            dialogue.receive_data(data)
        else:
            dialogue.receive_eof()
    return dialogue.outcome
