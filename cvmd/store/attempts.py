"""Attempts: the one Create call that is about to be sent, with its slot of the quota, and how it ended."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, insert, select, update

from cvmd.model import EscrowedKey, Issuance, Outcome, State
from cvmd.pace import reserve
from cvmd.ports import Claim
from cvmd.store.engine import Contended, Transaction
from cvmd.store.schema import DETAIL, NOW, accounts, attempts, given, issuances, pace
from cvmd.store.steps import FREE, HELD, LEASE, UNCLAIMED, Steps, change, us

CREATE = "create"
"""The operation whose quota `pace` keeps."""

_PACE = (
    select(pace.c.tat_us, accounts.c.creates_per_s, NOW)
    .join_from(pace, accounts, accounts.c.id == pace.c.account_id)
    .where(pace.c.account_id == given("account"), pace.c.operation == CREATE)
)
_RESERVE = (
    update(pace)
    .where(pace.c.account_id == given("account"), pace.c.operation == CREATE, pace.c.tat_us == given("seen_us"))
    .values(tat_us=given("next_us"))
)

_TO_CREATE = issuances.c.state.in_((State.QUEUED, State.INTENT))
_POSTPONE = change(_TO_CREATE, FREE, not_before_us=given("until_us"))
_OPEN = change(
    _TO_CREATE,
    issuances.c.attempt_open.is_(False),
    issuances.c.attempts == given("seen_attempts"),
    FREE,
    state=State.INTENT,
    claim=given("my_claim"),
    attempts=issuances.c.attempts + 1,
    attempt_open=True,
    updated_us=NOW,
    **LEASE,
)
_OPEN_WITH_KEY = _OPEN.values(sealed_csr=given("csr"), public_key_id=given("key_id"), sealed_escrow=given("escrow"))
_ADD_ATTEMPT = insert(attempts).values(
    issuance_id=given("issuance"),
    number=given("attempt"),
    node=given("by_node"),
    claim=given("by_claim"),
    outcome=Outcome.OPEN,
    opened_us=NOW,
)
_CLOSED_ATTEMPT = {
    **UNCLAIMED,
    "attempt_open": False,
    "unknown_attempts": issuances.c.unknown_attempts + given("unknown"),
    "not_before_us": NOW + given("wait_us"),
}
_OPEN_INTENT = and_(issuances.c.state == State.INTENT, issuances.c.attempt_open.is_(True))
_CLOSE = change(_OPEN_INTENT, HELD, **_CLOSED_ATTEMPT)
_CLOSE_LEFT = change(_OPEN_INTENT, FREE, **_CLOSED_ATTEMPT)
_END_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.issuance_id == given("issuance"),
        attempts.c.number == given("attempt"),
        attempts.c.outcome == Outcome.OPEN,
    )
    .values(outcome=given("ended"), detail=given("why"), closed_us=NOW)
)

_ATTEMPT_ENDED = select(attempts.c.id).where(
    attempts.c.issuance_id == given("issuance"),
    attempts.c.number == given("attempt"),
    attempts.c.outcome == given("ended"),
)


class AttemptSteps(Steps):
    """The steps around a Create call, of cvmd.ports.WorkerStore."""

    def open_attempt(self, issuance: Issuance, claim: Claim, *, key: EscrowedKey | None) -> bool:
        """→ intent with a new attempt row, the claim, on the first attempt the key; one Create reserved."""
        values: dict[str, Any] = {
            "my_claim": claim.id,
            "lease_us": us(claim.lease_s),
            "seen_attempts": issuance.attempts,
        }
        opening = _OPEN
        if key is not None:
            opening = _OPEN_WITH_KEY
            values |= {"csr": key.sealed_csr, "key_id": key.public_key_id, "escrow": key.sealed_escrow}

        def work(t: Transaction) -> bool:
            seen = t.row(_PACE, account=issuance.account.id)
            if seen is None:
                raise LookupError(f"account {issuance.account.id} has no row in pace")
            tat_us, rate, now_us = seen
            slot = reserve(tat_us, now_us, rate, burst=rate)
            if not slot.ok:
                t.change(_POSTPONE, issuance=issuance.id, until_us=now_us + slot.wait_us)
                return False
            if not t.change(opening, issuance=issuance.id, **values):
                return False
            number = issuance.attempts + 1
            t.change(_ADD_ATTEMPT, issuance=issuance.id, attempt=number, by_node=claim.node, by_claim=claim.id)
            # Last, since all workers of all nodes queue for this row: it is locked for one COMMIT only.
            if not t.change(_RESERVE, account=issuance.account.id, seen_us=tat_us, next_us=slot.tat_us):
                raise Contended
            return True

        return self.step(issuance, work, lambda _state, holder: holder == claim.id)

    def close_attempt(
        self, issuance: Issuance, claim_id: bytes | None, outcome: Outcome, detail: str, *, wait_s: float
    ) -> bool:
        """Close the open attempt, release the claim, not before now + wait_s. claim_id None: the lease is over."""
        held = {} if claim_id is None else {"my_claim": claim_id}
        unknown = int(outcome is Outcome.UNKNOWN)

        def work(t: Transaction) -> bool:
            closing = _CLOSE_LEFT if claim_id is None else _CLOSE
            if not t.change(closing, issuance=issuance.id, unknown=unknown, wait_us=us(wait_s), **held):
                return t.repeated and _attempt_ended(t, issuance, outcome)
            end_attempt(t, issuance, outcome, detail)
            return True

        return self._database.transaction(work)


def end_attempt(t: Transaction, issuance: Issuance, outcome: Outcome, detail: str) -> None:
    """Close the row of the attempt that is open."""
    t.change(_END_ATTEMPT, issuance=issuance.id, attempt=issuance.attempts, ended=outcome, why=detail[:DETAIL])


def _attempt_ended(t: Transaction, issuance: Issuance, outcome: Outcome) -> bool:
    return t.row(_ATTEMPT_ENDED, issuance=issuance.id, attempt=issuance.attempts, ended=outcome) is not None
