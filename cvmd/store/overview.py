"""What the whole deployment is doing: counts by state, what waits longest, and the breakers that are not closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from cvmd.model import Breaker, CertificateStatus, State
from cvmd.store.breakers import FAILING
from cvmd.store.engine import Database
from cvmd.store.schema import NOW, accounts, breakers, certificates, issuances

_ISSUANCES = (
    select(issuances.c.state, issuances.c.fault, func.count(), func.min(issuances.c.updated_us))
    .group_by(issuances.c.state, issuances.c.fault)
    .order_by(issuances.c.state, issuances.c.fault)
)
_CERTIFICATES = (
    select(certificates.c.status, certificates.c.reason, func.count())
    .group_by(certificates.c.status, certificates.c.reason)
    .order_by(certificates.c.status, certificates.c.reason)
)
_BREAKERS = (
    select(
        accounts.c.name, breakers.c.opened_us, breakers.c.account_id, breakers.c.policy, breakers.c.failures,
        breakers.c.until_us, breakers.c.fault, breakers.c.detail,
    )
    .join_from(breakers, accounts)
    .where(FAILING)
    .order_by(accounts.c.name, breakers.c.policy)
)  # fmt: skip
_NOW = select(NOW)


@dataclass(frozen=True, slots=True)
class InState:
    """Issuances of one state and, where they failed, of one fault."""

    state: State
    fault: str | None
    count: int
    oldest_us: int
    """When the first of them came into it."""


@dataclass(frozen=True, slots=True)
class InStatus:
    """Certificates of one status and, where they end or have ended, of one reason."""

    status: CertificateStatus
    reason: str | None
    count: int


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """One that is not closed."""

    account: str
    opened_us: int
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Status:
    """Of one moment, more or less: it is read by a query a table."""

    now_us: int
    issuances: Sequence[InState]
    certificates: Sequence[InStatus]
    breakers: Sequence[OpenBreaker]


def read_status(database: Database) -> Status:
    """Raises StoreDown."""
    return database.statement(
        lambda t: Status(
            now_us=t.rows(_NOW)[0][0],
            issuances=[InState(State(state), *rest) for state, *rest in t.rows(_ISSUANCES)],
            certificates=[InStatus(CertificateStatus(status), *rest) for status, *rest in t.rows(_CERTIFICATES)],
            breakers=[OpenBreaker(name, opened, Breaker(*rest)) for name, opened, *rest in t.rows(_BREAKERS)],
        )
    )
