"""One vend: authenticate, queue, wait, hand over, acknowledge. Knows rows and rules, no sockets and no frames.

A `Vend` lives as long as one session of a device. Each request becomes one Answer within `hold_s`; where the work
takes longer the answer is "ask again", and the issuance goes on without the device (issuance.py decides).
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cvmd import authentication
from cvmd.authentication import Credentials, Denial
from cvmd.changes import Changes
from cvmd.errors import CsrError, Kind, Refusal, refusal
from cvmd.issuance import (
    Acknowledge,
    Decision,
    Done,
    Offer,
    Queue,
    Refuse,
    Request,
    Wait,
    answer,
    answer_ack,
    behind,
    check_request,
)
from cvmd.model import US, Account, Issuance, Line, Secret, State, View
from cvmd.model import Offer as Offered
from cvmd.ports import Sealing, VendingStore
from cvmd.seals import seal_csr, unseal_key
from cvmd.threads import Pool
from protocol.constants import MAX_TURN_S, Stage, Suite
from protocol.constants import Kind as ObjectKind
from protocol.messages import Proof
from protocol.objects import Bundle

_STAGES = {
    State.QUEUED: Stage.QUEUE,
    State.INTENT: Stage.CREATE,
    State.CREATED: Stage.ATTACH,
    State.OFFERED: Stage.QUEUE,  # past its time, and on its way out: what is asked for comes after it
    State.ACKED: Stage.ACTIVATE,
}


@dataclass(frozen=True, slots=True)
class HandOver:
    """Answer: here is the bundle."""

    bundle: Bundle
    certificate_id: bytes


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Answer: WAIT."""

    turn_s: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Answer: the device's certificate is ACTIVE."""

    certificate_id: bytes
    time_s: int
    connect_after_s: int


Answer = HandOver | AskAgain | Finished | Refusal


@dataclass(frozen=True, slots=True)
class Channel:
    """How a session came. `private`: its listener speaks TLS, or stands in a network that was declared trusted."""

    source: str
    """The peer's address."""
    suite: Suite
    private: bool


_LOOK_S: Final = 1.0
"""How old may be what is known of an account's line."""


class Lines:
    """What the devices of each account wait behind. One query an account at a time, however many ask."""

    def __init__(self, store: VendingStore, db: Pool) -> None:
        self._store = store
        self._db = db
        self._looks: dict[int, tuple[float, asyncio.Task[Line]]] = {}
        """By account the last query, and when it began."""

    async def of(self, issuance: Issuance) -> tuple[Kind, int]:
        """What holds it up, as issuance.behind has it: TURN as it was at most a second ago, all else as it is now.

        Raises StoreDown.
        """
        now_s = time.monotonic()
        kind, wait_s = behind(await self._line(issuance.account, now_s - _LOOK_S), issuance)
        # Nobody is sent away for what has been mended since.
        return (kind, wait_s) if kind is Kind.TURN else behind(await self._line(issuance.account, now_s), issuance)

    async def _line(self, account: Account, since_s: float) -> Line:
        """By a query that began no earlier."""
        while True:
            began_s, look = self._looks.get(account.id, (-math.inf, None))
            if look is not None and began_s >= since_s:
                return await asyncio.shield(look)
            if look is not None and not look.done():
                await asyncio.wait([look])  # the next one is for all who have come meanwhile
                continue
            look = asyncio.create_task(self._db.run(self._store.line, account.id))
            self._looks[account.id] = (time.monotonic(), look)


@dataclass(frozen=True, slots=True)
class Services:
    """What every vend of a node uses."""

    store: VendingStore
    db: Pool
    sealing: Sealing
    check_csr: Callable[[bytes, bytes], bytes]
    to_pkcs8: Callable[[Secret], Secret]
    changes: Changes
    lines: Lines
    wake_worker: Callable[[], None]
    hold_s: float
    """How long a request is held before WAIT answers it."""


class Vend:
    """One session of one device: `look_up`, then `ask` for PROOF and each FETCH after WAIT, `acknowledge` for ACK."""

    __slots__ = ("_began_s", "_channel", "_device_wait_s", "_grounds", "_queued", "_request", "_s", "_serial", "_view")

    def __init__(self, services: Services, serial: bytes, channel: Channel, max_wait_s: int) -> None:
        self._s = services
        self._serial = serial
        self._channel = channel
        self._device_wait_s = max_wait_s
        self._view: View | None = None
        self._request: Request | None = None
        self._queued = False
        self._grounds = ""
        self._began_s = time.monotonic()

    async def look_up(self) -> Credentials:
        """What its PROOF is checked with. One query and one unsealing whoever asks. Raises StoreDown."""
        return await self._s.db.run(self._credentials)

    def _credentials(self) -> Credentials:
        view = self._s.store.view(self._serial)
        found = authentication.credentials(view, self._serial, self._channel.source, self._s.sealing)
        self._view, self._grounds = view, found.grounds
        return found

    async def ask(self, proof: Proof | None) -> Answer:
        """Answer PROOF, or (None) the FETCH that repeats it. Raises StoreDown."""
        assert self._view is not None, "only an authenticated device asks"
        if proof is not None:
            refused = self._accept(self._view, proof)
            if refused is not None:
                return refused
        view = self._view if proof is not None else await self._fresh_view()
        assert self._request is not None, "a repeated request follows a PROOF that was accepted"
        return await self._settle(view, self._request, ack=None)

    async def acknowledge(self, certificate_id: bytes) -> Answer:
        """Answer ACK. Raises StoreDown."""
        assert self._request is not None, "the session lets an ACK in after MANIFEST only"
        return await self._settle(await self._fresh_view(), self._request, ack=certificate_id)

    def _accept(self, view: View, proof: Proof) -> Refusal | None:
        """Judge a PROOF against the product's rules, before anything is queued (SPEC.md, PROOF)."""
        key_id = None
        if proof.csr is not None:
            try:
                key_id = self._s.check_csr(proof.csr, self._serial)
            except CsrError as error:
                bad = Refuse(Kind.CSR_BAD, error.detail)
                return _refused(check_request(view.product, _request(proof, None)) or bad)
        self._request = _request(proof, key_id)
        refused = check_request(view.product, self._request)
        if refused is not None:
            return _refused(refused)
        # SPEC.md 12.3: judged before Create, so that no key is made that may not leave.
        if not view.product.key_source.makes_key:
            return None
        if not authentication.may_have_server_key(view):
            return refusal(Kind.UNPROVEN)
        return None if self._channel.private or self._channel.suite is Suite.NOISE else refusal(Kind.CHANNEL)

    async def _fresh_view(self) -> View | Refusal:
        view = await self._s.db.run(self._s.store.view, self._serial)
        if view is None or view.device.disabled:
            # Disabled while it waited: the same words as at the next PROOF, tagged this time.
            return replace(refusal(Kind.AUTH), reason=Denial.DISABLED.reason)
        return view

    async def _settle(self, view: View | Refusal, request: Request, ack: bytes | None) -> Answer:
        """Decide, record, wait, look again; until there is an answer or the request was held long enough.

        Raises LookupError where a step finds no row that the look has shown, and so does the same step once more.
        """
        until_s = time.monotonic() + self._s.hold_s
        former: Decision | None = None
        while True:
            if isinstance(view, Refusal):
                return view
            decision = await self._decide(view, request, ack)
            if decision == former and not isinstance(decision, Wait):
                raise LookupError(f"device {view.device.id}: its rows contradict each other; see `cvmd audit verify`")
            former = decision
            settled = await self._follow(view, decision, request, until_s)
            if settled is not None:
                return settled
            view = await self._fresh_view()

    async def _decide(self, view: View, request: Request, ack: bytes | None) -> Decision:
        digest = ack or request.have
        held = None
        if digest is not None:
            held = await self._s.db.run(self._s.store.certificate, view.device.id, digest)
        return answer(view, request, held) if ack is None else answer_ack(view, ack, held)

    async def _follow(self, view: View, decision: Decision, request: Request, until_s: float) -> Answer | None:
        """Carry a decision out; None: the rows have moved, decide again."""
        if isinstance(decision, Refuse):
            return _refused(decision)
        if isinstance(decision, Done):
            return Finished(decision.certificate_id, view.now_us // US, view.product.connect_after_s)
        if isinstance(decision, Queue):
            # Once a session: else two lines with a key each would replace each other's issuance for ever.
            if self._queued:
                return refusal(Kind.TURN)
            self._queued = await self._queue(view, decision, request)
            return None
        if isinstance(decision, Offer):
            return await self._hand_over(decision.issuance, request.want)
        if isinstance(decision, Acknowledge):
            assert decision.issuance.certificate_id is not None, "an offered issuance has its certificate"
            await self._s.db.run(self._s.store.acknowledge, decision.issuance.id, decision.issuance.certificate_id)
            self._s.wake_worker()
            return None
        return await self._wait(view, decision.issuance, until_s)

    async def _queue(self, view: View, queue: Queue, request: Request) -> bool:
        """Whoever wins the INSERT, the row is there afterwards, and the next look finds it; True: we did."""
        uid, csr_der = os.urandom(16), request.csr_der
        won = await self._s.db.run(
            self._s.store.queue,
            view.device.id,
            queue.generation,
            uid=uid,
            sealed_csr=None if csr_der is None else seal_csr(csr_der, uid, self._serial, self._s.sealing),
            public_key_id=request.public_key_id,
            replaces=queue.replaces,
            grounds=self._grounds,
        )
        self._s.wake_worker()
        return won

    async def _hand_over(self, issuance: Issuance, want: int) -> Answer | None:
        bundle = await self._s.db.run(self._bundle, issuance, want)
        if bundle is None:
            return None
        assert issuance.certificate_id is not None, "an offered issuance has its certificate"
        return HandOver(bundle, issuance.certificate_id)

    def _bundle(self, issuance: Issuance, want: int) -> Bundle | None:
        """The bundle as the committed rows have it; asking for it moves the offer's expiry on."""
        offer = self._s.store.offer(issuance.id)
        if offer is None:
            return None
        self._s.store.extend(issuance.id)
        objects = self._objects(offer, want)
        return Bundle.of({kind: content for kind, content in objects.items() if want >> kind & 1})

    def _objects(self, offer: Offered, want: int) -> Mapping[ObjectKind, bytes]:
        objects = {
            ObjectKind.CERTIFICATE: offer.cert_der,
            ObjectKind.ROOT_CA: offer.root_ca_der,
            ObjectKind.ENDPOINT: offer.endpoint.encode("ascii"),
            ObjectKind.THING_NAME: offer.thing.encode("ascii"),
        }
        # For the serial that has proved itself: whose row this is may have been rewritten since the look that decided.
        key = unseal_key(replace(offer.issuance, serial=self._serial), self._s.sealing)
        if key is not None:
            objects[ObjectKind.KEY_SEC1_PKCS1] = key.reveal()
            if want >> ObjectKind.KEY_PKCS8 & 1:
                objects[ObjectKind.KEY_PKCS8] = self._s.to_pkcs8(key).reveal()
        return objects

    async def _wait(self, view: View, issuance: Issuance, until_s: float) -> Answer | None:
        """Hold the request until the row moves; past that, say when to ask again, or to come back another time."""
        stage = _STAGES[issuance.state]
        while True:
            kind, wait_s = await self._s.lines.of(issuance)
            if kind is not Kind.TURN:
                # SPEC.md 10.4: the stage that fails; of a row that is queued, its Create.
                usual = refusal(kind, stage=max(stage, Stage.CREATE) if kind is Kind.AWS_DOWN else None)
                return replace(usual, retry_s=max(usual.retry_s, wait_s))
            if wait_s > self._device_wait_s:
                return refusal(Kind.TURN, stage=stage, retry_s=min(wait_s, MAX_TURN_S))
            left_s = until_s - time.monotonic()
            if left_s <= 0 or self._s.changes.draining:
                break
            # A breaker that opens meanwhile moves no row. Nor does a rest, so at the end the row is looked at again.
            if await self._s.changes.wait(issuance, min(left_s, _LOOK_S)) or left_s <= _LOOK_S:
                return None
        if self._s.changes.draining:
            return refusal(Kind.DRAINING, stage=stage)
        if time.monotonic() - self._began_s < self._device_wait_s:
            return AskAgain(0)
        later_s = (issuance.not_before_us - view.now_us) // US
        if issuance.not_before_us > view.now_us and issuance.state is not State.QUEUED:
            return refusal(Kind.AWS_DOWN, stage=stage, retry_s=max(30, later_s))
        return refusal(Kind.TURN, stage=stage)


def _request(proof: Proof, public_key_id: bytes | None) -> Request:
    return Request(proof.want, proof.have, proof.renew, proof.csr, public_key_id)


def _refused(decision: Refuse) -> Refusal:
    return refusal(decision.kind, detail=decision.detail)
