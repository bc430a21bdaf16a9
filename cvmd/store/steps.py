"""What every step of a worker is made of: a compare-and-set on (id, state, claim), right also when it is repeated.

A step whose COMMIT got no answer is run again; then no row may mean that it was committed, and the row tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Update, or_, select, update

from cvmd.model import US, CertificateStatus, Issuance, State
from cvmd.store.audit import Trail
from cvmd.store.engine import Database, Transaction
from cvmd.store.schema import NOW, given, issuances

# The parts of which the statements are made. The row is `issuance`, the claim of the step is `my_claim`.

TO_CREATE = (State.INTENT, State.QUEUED)
"""The states before a certificate is made."""

FREE = or_(issuances.c.claim.is_(None), issuances.c.lease_until_us <= NOW)
HELD = issuances.c.claim == given("my_claim")
LEASE = {"lease_until_us": NOW + given("lease_us"), "not_before_us": NOW + given("lease_us")}
UNCLAIMED = {"claim": None, "lease_until_us": None}
CLOSED = {
    **UNCLAIMED,
    "state": State.CLOSED,
    "sealed_escrow": None,
    "attempt_open": False,
    "not_before_us": None,
    "updated_us": NOW,
}
RETIRED = {
    "status": CertificateStatus.RETIRING,
    "live_device_id": None,
    "retired_us": NOW,
    "not_before_us": NOW,
}
"""Of a row of `certificates`, with the reason: from now on disposal's."""


def change(*conditions: ColumnElement[bool], **values: object) -> Update:
    """The compare-and-set of one row of `issuances`."""
    return update(issuances).where(issuances.c.id == given("issuance"), *conditions).values(**values)


_STANDING = select(issuances.c.state, issuances.c.claim).where(issuances.c.id == given("issuance"))

Mine = Callable[[str, bytes | None], bool]
"""Whether a row of this state and claim is as an earlier run of the very step left it."""


class Steps:
    """The two forms of a step. False: no row, and no earlier run of this step was committed."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    def single(self, issuance: Issuance, statement: Update, values: dict[str, Any], mine: Mine) -> bool:
        """A step that is one statement, and so needs no BEGIN."""

        def work(t: Transaction) -> bool:
            return t.change(statement, issuance=issuance.id, **values) > 0 or _was_done(t, issuance, mine)

        return self._database.statement(work)

    def step(self, issuance: Issuance, work: Callable[[Transaction], bool], mine: Mine) -> bool:
        """A step of several statements."""
        return self._database.transaction(lambda t: work(t) or _was_done(t, issuance, mine))


def _was_done(t: Transaction, issuance: Issuance, mine: Mine) -> bool:
    if not t.repeated:
        return False
    row = t.row(_STANDING, issuance=issuance.id)
    return row is not None and mine(*row)


def us(seconds: float) -> int:
    """Seconds as the microseconds of a row."""
    return round(seconds * US)
