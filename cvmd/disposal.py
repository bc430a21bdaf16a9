"""The one way out for every certificate that ends: superseded, revoked, expired, replaced, loser, orphan.

Made inert at AWS, detached, and after its grace deleted. Each call may be repeated, and none can bring anything
back, so a pass that broke off is simply begun again, and two nodes at one certificate do no harm: the lease only
saves them the work.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import Reason, Retiring
from cvmd.ports import Claim, DisposalStore, Issuer, StoreDown
from cvmd.threads import Pool

log = logging.getLogger(__name__)

_REST_S = (5, 30, 300)
"""Seconds before the next pass over a certificate, by how many have failed. No more: it may be a revoked one."""


@dataclass(frozen=True, slots=True)
class DisposalSettings:
    """`concurrency`: certificates at once; `lease_s`: longer than a pass can take."""

    concurrency: int
    lease_s: float
    poll_s: float


class Disposer:
    """Disposes of what the database says is retiring. `run` belongs to the event loop, all else to its threads."""

    def __init__(self, store: DisposalStore, issuer: Issuer, settings: DisposalSettings, *, node: bytes) -> None:
        self._store = store
        self._issuer = issuer
        self._settings = settings
        self._node = node
        self._pool = Pool("disposal", settings.concurrency)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look for retiring certificates and dispose of them until `stop`; a pass under way is ended."""
        while not self._stopping.is_set():
            try:
                if await self.round():
                    continue
            except StoreDown as error:
                log.error("cannot look for retiring certificates: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._settings.poll_s)

    async def round(self) -> bool:
        """One pass over as many certificates as may be worked on at once; whether there may be more. Raises StoreDown.

        A pass that breaks leaves its certificate to the end of its lease.
        """
        due = await self._pool.run(self._store.retiring, self._settings.concurrency)
        passes = [self._pool.run(self.dispose, retiring) for retiring in due]
        errors = [error for error in await asyncio.gather(*passes, return_exceptions=True) if error is not None]
        for error in errors:
            if isinstance(error, StoreDown):
                log.error("a certificate's disposal waits for its lease to end: %s", error)
            else:
                log.error("disposal: internal error", exc_info=error)
        return len(due) == self._settings.concurrency and not errors

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.close()

    def dispose(self, retiring: Retiring) -> None:
        """One pass over one certificate. Raises StoreDown; never IssuerError."""
        claim = Claim.of(self._node, self._settings.lease_s)
        if not self._store.take_retiring(retiring, claim):
            return
        try:
            self._make_inert(retiring)
            if retiring.in_grace:
                self._store.record_inert(retiring, claim)
                return
            self._issuer.delete(retiring.account, retiring.certificate_id)
        except IssuerError as error:
            wait_s = _REST_S[min(retiring.attempts, len(_REST_S) - 1)]
            named = retiring.certificate_id.hex()
            if error.fault is IssuerFault.CONFLICT:  # AWS detaches some time after it was asked to: no fault
                log.info("certificate %s is still attached: %s", named, error)
            else:
                log.warning("certificate %s is not disposed of yet: %s", named, error)
            self._store.postpone(retiring, claim, wait_s=wait_s)
            return
        self._store.record_deleted(retiring, claim)
        log.info("certificate %s is deleted: %s", retiring.certificate_id.hex(), retiring.reason)

    def _make_inert(self, retiring: Retiring) -> None:
        """Not accepted by AWS IoT any more from the first call on; what follows only tidies."""
        account, arn = retiring.account, retiring.arn
        self._issuer.deactivate(account, retiring.certificate_id, revoked=retiring.reason is Reason.REVOKED)
        # Asked of AWS: what hangs on an orphan is in no row of ours, and a person may have attached more.
        for policy in self._issuer.attached_policies(account, arn):
            self._issuer.detach_policy(account, policy, arn)
        for thing in self._issuer.attached_things(account, arn):
            self._issuer.detach_thing(account, thing, arn)
