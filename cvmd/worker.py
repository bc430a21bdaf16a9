"""The part of a node that claims issuances and carries them on. The numbers are those of docs/issuance.md.

`carry` takes one due row as far as it goes without its device: it does one step, records it by compare-and-set, asks
`issuance.next_step` again. It blocks in a thread; a crash anywhere leaves what the next claimer settles the same way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from cvmd.breakers import RESTS, Breakers
from cvmd.errors import IssuerError, IssuerFault, SealError
from cvmd.issuance import WITHOUT_CALLS, Step, backoff_s, fault_of, next_step
from cvmd.model import Account, Created, Fault, Issuance, KeySource, Outcome, State, certificate_id_of
from cvmd.ports import Claim, Issuer, KeyMaker, Sealing, StoreDown, WorkerStore
from cvmd.seals import escrow, seal_key, unseal_csr
from cvmd.threads import Pool

R = TypeVar("R")

log = logging.getLogger(__name__)

_INTERNAL_ERROR_REST_S = 30.0
_RECONCILE_REST_S = 300.0
"""What only a person's `cvmd reconcile` mends."""
_RECORD_AGAIN_S = 0.5
_DOWN_REST_S = 1.0
"""A database that takes no writes answers at once, to one row after the other: a hot loop."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`call_s`: the longest that one AWS call can take; a lease must have that much left before each."""

    concurrency: int
    lease_s: float
    poll_s: float
    call_s: float


@dataclass(frozen=True, slots=True)
class Hold:
    """A claim that is ours, and until when by the monotonic clock of this process."""

    claim: Claim
    until_s: float


class Worker:
    """Carries issuances on. `run` belongs to the event loop, all else to the threads of its pools.

    `predecessor`: what the ids of the claims begin with that a dead process of this node has left; None: unknown.
    """

    def __init__(
        self,
        store: WorkerStore,
        issuer: Issuer,
        keys: Mapping[KeySource, KeyMaker],
        sealing: Sealing,
        settings: WorkerSettings,
        *,
        node: bytes,
        predecessor: bytes | None,
        root_ca: Callable[[Account], bytes],
        data_endpoint: str | None,
        on_moved: Callable[[int], None],
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._breakers = Breakers(store, issuer, on_closed=self._look_again)
        self._keys = keys
        self._sealing = sealing
        self._settings = settings
        self._node = node
        self._predecessor = predecessor
        self._root_ca = root_ca
        self._data_endpoint = data_endpoint
        self._on_moved = on_moved
        self._pool = Pool("worker", settings.concurrency)
        self._beside = Pool("attach", 2 * settings.concurrency)
        self._opening = threading.Lock()
        self._endpoints: dict[Account, str] = {}
        self._woken = asyncio.Event()
        self._in_hand: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._more_due = False
        self._stopping = False
        self._down = False
        self._resting_until_s: dict[int, float] = {}  # by issuance

    # The loop's side.

    def wake(self) -> None:
        """There is something due: look now, not at the next poll."""
        self._woken.set()

    async def run(self) -> None:
        """Claim and carry until `stop`; at first free what the node's dead predecessor held."""
        while not self._stopping:
            self._woken.clear()
            try:
                await self._take_due()
            except StoreDown as error:
                log.error("cannot look for due issuances: %s", error)
            if self._down:
                self._down = False
                await asyncio.sleep(_DOWN_REST_S)
            with suppress(TimeoutError):  # the poll: rows of other nodes and of the past come due unsaid
                await asyncio.wait_for(self._woken.wait(), self._settings.poll_s)

    def stop(self) -> None:
        """Take no more rows; what is in hand goes on."""
        self._stopping = True

    async def _take_due(self) -> None:
        if self._predecessor is not None:
            left = await self._pool.run(self._store.take_over, self._predecessor)
            self._predecessor = None
            log.info("%d claims of this node's former process are free", left)
        free = self._settings.concurrency - len(self._in_hand)
        if free <= 0:
            return
        now_s = time.monotonic()
        self._resting_until_s = {row: until for row, until in self._resting_until_s.items() if until > now_s}
        limit = free + len(self._in_hand) + len(self._resting_until_s) + 1
        in_hand = set(self._in_hand)
        found = await self._pool.run(self._store.due, limit)
        due = [issuance for issuance in found if issuance.id not in self._resting_until_s]
        if self._stopping:  # while this was looking
            return
        ready = [issuance for issuance in due if issuance.id not in in_hand]
        # A row in hand that is due again: its device was quicker with the ACK than we with putting it down.
        # One that was put down while this was looking: what was read of it, or of its breaker, may be old.
        self._more_due = len(ready) > free or len(ready) < len(due)
        if in_hand - self._in_hand and len(ready) < len(due):
            self._woken.set()
        for issuance in ready[:free]:
            self._in_hand.add(issuance.id)
            self._idle.clear()
            carried = asyncio.wrap_future(self._pool.submit(self.carry, issuance))
            carried.add_done_callback(partial(self._carried, issuance))

    def _look_again(self) -> None:
        """What waited behind a breaker is due, as soon as the row that has closed it is carried."""
        self._more_due = True

    def _carried(self, issuance: Issuance, done: asyncio.Future[float]) -> None:
        self._in_hand.discard(issuance.id)
        if not self._in_hand:
            self._idle.set()
        if self._more_due:  # else the poll is soon enough, and a row that cannot move is no hot loop
            self._woken.set()
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._rest(issuance, done.result())
        elif isinstance(error, StoreDown):
            self._down = True
            log.error("issuance %d waits, for its lease to end if it has one: %s", issuance.id, error)
        else:
            # Its claim, if it has one, ends with its lease; without one it would come up again at once, for ever.
            self._rest(issuance, _INTERNAL_ERROR_REST_S)
            log.error("issuance %d: internal error", issuance.id, exc_info=error)

    def _rest(self, issuance: Issuance, rest_s: float) -> None:
        if rest_s > 0:
            self._resting_until_s[issuance.id] = time.monotonic() + rest_s

    async def finish(self, timeout_s: float) -> int:
        """Wait for what is past its claim; the number of issuances still in hand when the time was over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return len(self._in_hand)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.close()
        self._beside.close()

    # The threads' side.

    def carry(self, issuance: Issuance) -> float:
        """Take one issuance as far as it goes without its device. Raises StoreDown; never IssuerError.

        Returns for how many seconds this node is to leave alone a row that says nothing of it itself.
        """
        hold: Hold | None = None
        if next_step(issuance, held=False) not in WITHOUT_CALLS and not self._breakers.admit(issuance):
            return 0.0
        while True:
            step = next_step(issuance, held=hold is not None)
            if step is Step.REST:
                return 0.0
            if hold is not None and time.monotonic() + self._settings.call_s > hold.until_s:
                log.warning("issuance %d: too little is left of its lease; taken up when that is over", issuance.id)
                return 0.0
            try:
                if step is Step.EXPIRE:
                    return self._expire(issuance)
                after = self._do(step, issuance, hold)
            except IssuerError as error:
                return self._failed(issuance, hold, error)
            except SealError as error:
                self._fail(issuance, None if hold is None else hold.claim.id, Fault.CSR_UNSEALED, str(error))
                return 0.0
            if after is None:
                return 0.0
            issuance, hold = after

    def _do(self, step: Step, issuance: Issuance, hold: Hold | None) -> tuple[Issuance, Hold | None] | None:
        """One step; the row as it is now and the claim on it, or None where another has it or it has to wait."""
        if step is Step.OPEN_ATTEMPT:
            return self._open_attempt(issuance)
        if step is Step.CLOSE_ATTEMPT:
            self._close_unknown(issuance, None, "the worker that sent it is gone")
            return None
        if step is Step.EXHAUSTED:
            self._fail(issuance, None, Fault.ATTEMPTS_EXHAUSTED, "no Create call had a known outcome")
            return None
        if step is Step.TAKE:
            hold = self._hold()
            return (issuance, hold) if self._store.take(issuance, hold.claim) else None
        assert hold is not None, "next_step gives the other steps only to a holder"
        if step is Step.CREATE:
            return self._create(issuance, hold)
        if step is Step.ATTACH:
            self._attach(issuance, hold)
            return None
        return self._activate(issuance, hold)

    def _hold(self) -> Hold:
        lease_s = self._settings.lease_s
        # The lease begins at the database, after this moment: by our clock it is over no later than there.
        return Hold(Claim.of(self._node, lease_s), time.monotonic() + lease_s)

    def _open_attempt(self, issuance: Issuance) -> tuple[Issuance, Hold] | None:
        """The intent: what AWS will be asked is committed with the escrowed key before it is asked (invariant 2)."""
        # A Create whose bundle could not be built would be burnt.
        self._endpoint(issuance.account)
        self._root_ca(issuance.account)
        self._breakers.check_policy(issuance)
        key = None
        maker = self._keys.get(issuance.key_source)  # none where the device, or AWS, makes it
        if issuance.sealed_csr is None and maker is not None:
            key = escrow(maker.make(self._sealing.subject(issuance.uid)), issuance, self._sealing)
        elif issuance.key_source is not KeySource.AWS_RSA2048:
            unseal_csr(issuance, self._sealing)  # before it costs a Create of the quota
        # Side by side the threads of a node would only make each other lose the account's quota and try again.
        with self._opening:
            hold = self._hold()
            opened = self._store.open_attempt(issuance, hold.claim, key=key)
        if not opened:
            return None
        if key is not None:
            issuance = replace(issuance, sealed_csr=key.sealed_csr, public_key_id=key.public_key_id)
        return replace(issuance, state=State.INTENT, attempts=issuance.attempts + 1, attempt_open=True), hold

    def _create(self, issuance: Issuance, hold: Hold) -> tuple[Issuance, Hold] | None:
        try:
            if issuance.key_source is KeySource.AWS_RSA2048:
                created = self._issuer.create_with_key(issuance.account)
            else:
                created = self._issuer.create(issuance.account, unseal_csr(issuance, self._sealing))
        except IssuerError as error:
            self._create_failed(issuance, hold, error)
            return None
        endpoint, root_ca_der = self._endpoint(issuance.account), self._root_ca(issuance.account)
        sealed = None if created.key_der is None else seal_key(created.key_der, issuance, self._sealing)
        record = partial(
            self._store.record_created, issuance, hold.claim, created, endpoint=endpoint, root_ca_der=root_ca_der,
            sealed_escrow=sealed,
        )  # fmt: skip
        kept = self._keep(issuance, hold, created, record)  # before anything else that may fail
        self._breakers.well(issuance)
        if not kept:
            named = created.certificate_id.hex()
            log.error("issuance %d: its claim was lost during Create; %s is disposed of", issuance.id, named)
            self._keep(issuance, hold, created, partial(self._store.record_loser, issuance, created))
            return None
        return replace(issuance, state=State.CREATED, certificate_id=created.certificate_id, attempt_open=False), hold

    def _keep(self, issuance: Issuance, hold: Hold, created: Created, record: Callable[[], R]) -> R:
        """A certificate that exists at AWS and nowhere else: hold on to it as long as the lease lasts."""
        while True:
            try:
                return record()
            except StoreDown:
                named = created.certificate_id.hex()
                log.error("issuance %d: certificate %s was created and cannot be recorded", issuance.id, named)
                if time.monotonic() > hold.until_s:
                    raise
                time.sleep(_RECORD_AGAIN_S)  # a full disk answers at once, and would be asked in a hot loop

    def _create_failed(self, issuance: Issuance, hold: Hold, error: IssuerError) -> None:
        if error.fault is IssuerFault.UNKNOWN:
            self._close_unknown(issuance, hold.claim.id, str(error))  # first: it may name the certificate
        wait_s = self._breakers.failed(issuance, error)
        fault = fault_of(error.fault, issuance.state)
        if fault is not None:
            self._fail(issuance, hold.claim.id, fault, str(error))
        elif error.fault is not IssuerFault.UNKNOWN:
            log.warning("issuance %d waits: %s", issuance.id, error)
            self._store.close_attempt(issuance, hold.claim.id, Outcome.REFUSED, str(error), wait_s=wait_s)

    def _close_unknown(self, issuance: Issuance, claim_id: bytes | None, detail: str) -> None:
        log.error("issuance %d: a Create call has no known outcome: %s", issuance.id, detail)
        wait_s = backoff_s(issuance.unknown_attempts + 1)
        self._store.close_attempt(issuance, claim_id, Outcome.UNKNOWN, detail, wait_s=wait_s)

    def _attach(self, issuance: Issuance, hold: Hold) -> None:
        certificate = self._store.certificate_of(issuance)
        assert certificate is not None, "created commits the certificate's row with the state"
        account = issuance.account
        attaching = self._beside.submit(self._issuer.attach_thing, account, certificate.thing, certificate.arn)
        looking = self._beside.submit(self._foreign_active, issuance, certificate.thing, certificate.arn)
        self._issuer.attach_policy(account, certificate.policy, certificate.arn)
        attaching.result()
        occupied = looking.result()
        self._breakers.well(issuance, certificate.policy)
        if occupied is not None:
            self._fail(issuance, hold.claim.id, Fault.THING_OCCUPIED, f"{occupied} is ACTIVE on {certificate.thing}")
        elif self._store.record_offered(issuance, hold.claim):
            self._on_moved(issuance.id)

    def _foreign_active(self, issuance: Issuance, thing: str, own_arn: str) -> str | None:
        """The ARN of an ACTIVE certificate on the thing that is not this device's, if there is one."""
        if issuance.product.share_things:
            return None
        for arn in self._issuer.thing_principals(issuance.account, thing):
            certificate_id = certificate_id_of(arn)
            if arn == own_arn or certificate_id is None:
                continue
            own = self._store.certificate(issuance.device_id, certificate_id) is not None
            if not own and self._issuer.certificate_is_active(issuance.account, certificate_id):
                return arn
        return None

    def _activate(self, issuance: Issuance, hold: Hold) -> tuple[Issuance, None] | None:
        assert issuance.certificate_id is not None, "an acked issuance has its certificate"
        self._issuer.activate(issuance.account, issuance.certificate_id)
        self._breakers.well(issuance)
        if not self._store.record_active(issuance, hold.claim):
            self._store.dispose_again(issuance)  # it may have been ended meanwhile, and this call have revived it
            return None
        self._on_moved(issuance.id)
        return replace(issuance, state=State.ACTIVE), None

    def _failed(self, issuance: Issuance, hold: Hold | None, error: IssuerError) -> float:
        """An AWS call other than Create: it may be repeated, so its outcome need not be known."""
        wait_s = self._breakers.failed(issuance, error)
        fault = fault_of(error.fault, issuance.state)
        if hold is None:  # DescribeEndpoint, GetPolicy: nothing is claimed yet
            log.warning("issuance %d waits: %s", issuance.id, error)
            return wait_s if error.fault in RESTS else _INTERNAL_ERROR_REST_S
        if fault is not None:
            self._fail(issuance, hold.claim.id, fault, str(error))
        else:
            log.warning("issuance %d waits: %s", issuance.id, error)
            if not self._store.release(issuance, hold.claim, wait_s=wait_s):
                self._store.dispose_again(issuance)  # as in _activate: without an answer, it may have had its effect
        return 0.0

    def _expire(self, issuance: Issuance) -> float:
        assert issuance.certificate_id is not None, "an offered issuance has its certificate"
        if self._issuer.certificate_is_active(issuance.account, issuance.certificate_id):
            log.error(
                "issuance %d: certificate %s is ACTIVE, and by its row nobody has acknowledged it: the database is"
                " older than AWS, so run `cvmd reconcile`",
                issuance.id, issuance.certificate_id.hex(),
            )  # fmt: skip
            return _RECONCILE_REST_S
        if self._store.expire(issuance):
            log.info("issuance %d: nobody acknowledged its certificate in time", issuance.id)
            self._on_moved(issuance.id)
        return 0.0

    def _fail(self, issuance: Issuance, claim_id: bytes | None, fault: Fault, detail: str) -> None:
        log.error("issuance %d failed (%s): %s", issuance.id, fault, detail)
        if self._store.fail(issuance, claim_id, fault, detail):
            self._on_moved(issuance.id)

    def _endpoint(self, account: Account) -> str:
        """DescribeEndpoint's answer, which never changes: asked once, kept in the account's row."""
        known = account.data_endpoint or self._data_endpoint or self._endpoints.get(account)
        if known is None:
            known = self._issuer.describe_endpoint(account)
            self._store.remember_endpoint(account, known)
            self._endpoints[account] = known
        return known
