"""The daemon's reconciliation: now and then, one node for all, and only what is certain is mended."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from cvmd.errors import IssuerError
from cvmd.model import Account
from cvmd.ports import StoreDown
from cvmd.reconcile import BrokenOff, Report
from cvmd.threads import Pool

log = logging.getLogger(__name__)

_LOOK_S: Final = 600.0
"""Between two looks whether it is time; the first one comes so long after the start that nobody waits for it."""
_AGAIN_S: Final = 3600.0
"""After a run that broke off."""


class Schedule(Protocol):
    """When which account was reconciled, for all nodes: a lease that lasts up to the next time."""

    def accounts(self) -> Sequence[Account]:
        """All."""

    def take_lease(self, name: str, holder: bytes, lease_s: float) -> bool:
        """False: it is not over."""

    def shorten_lease(self, name: str, holder: bytes, lease_s: float) -> None:
        """Let it end earlier."""


class Reconciler:
    """Runs `reconcile` of each account every `every_s`, whichever node comes first. `run` belongs to the loop."""

    def __init__(
        self, schedule: Schedule, reconcile: Callable[[Account], Report], *, every_s: float, broken_off: threading.Event
    ) -> None:
        self._schedule = schedule
        self._reconcile = reconcile
        self._every_s = every_s
        self._holder = os.urandom(16)
        self._pool = Pool("reconcile", 1)
        self._stopping = asyncio.Event()
        self._broken_off = broken_off

    async def run(self) -> None:
        """Until `stop`; never, where every_s is 0."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LOOK_S * random.uniform(0.5, 1.5))  # jitter
            if self._every_s and not self._stopping.is_set():
                try:
                    await self._pool.run(self.round)
                except StoreDown as error:
                    log.error("no reconciliation: %s", error)

    def round(self) -> None:
        """Each account whose time has come. Raises StoreDown."""
        for account in self._schedule.accounts():
            lease = f"reconcile:{account.id}"
            if not self._broken_off.is_set() and self._schedule.take_lease(lease, self._holder, self._every_s):
                self._one(account, lease)

    def _one(self, account: Account, lease: str) -> None:
        try:
            report = self._reconcile(account)
        except BrokenOff:
            self._schedule.shorten_lease(lease, self._holder, min(_AGAIN_S, self._every_s))
            return
        except StoreDown:
            with suppress(StoreDown):  # it may be back; else the account's next turn is the regular one
                self._schedule.shorten_lease(lease, self._holder, min(_AGAIN_S, self._every_s))
            raise
        except IssuerError as error:
            log.error("account %s: the reconciliation broke off: %s", account.name, error)
            self._schedule.shorten_lease(lease, self._holder, min(_AGAIN_S, self._every_s))
            return
        for it in report.findings:
            log.warning("account %s: %s %s (%s)%s", account.name, it.kind, it.name, it.detail,
                        ": mended" if it.mended else f": {it.to_do}")  # fmt: skip
        log.info(
            "account %s: reconciled: %d certificates, %d foreign, %d findings, %d remain",
            account.name, report.listed, report.foreign, len(report.findings), report.remain,
        )  # fmt: skip

    def stop(self) -> None:
        """End soon; the account under way is begun anew another time."""
        self._stopping.set()
        self._broken_off.set()

    def close(self) -> None:
        """Let the thread go."""
        self._pool.close()
