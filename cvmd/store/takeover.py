"""What a node's dead predecessor held is free at once, and not only when its leases are over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import ColumnElement, Select, Table, Update, select, update

from cvmd.model import CertificateStatus, State
from cvmd.store.engine import Database, Row, Transaction
from cvmd.store.schema import NOW, certificates, given, issuances

_CLAIM_BYTES = 16


def _held(table: Table, in_question: ColumnElement[bool]) -> Select[tuple[int, bytes]]:
    """(id, claim) of the claimed rows; read without a lock, since all rows of these states are looked at."""
    claimed = table.c.claim.between(given("first"), given("last"))
    return select(table.c.id, table.c.claim).where(in_question, claimed, table.c.lease_until_us > NOW)


def _let_go(table: Table) -> Update:
    """The claim stays: what it had begun is settled by whoever takes the row up."""
    return (
        update(table)
        .where(table.c.id == given("row"), table.c.claim == given("its_claim"))
        .values(lease_until_us=NOW, not_before_us=NOW)
    )


_TABLES = (
    (_held(issuances, issuances.c.state.in_((State.INTENT, State.CREATED, State.ACKED))), _let_go(issuances)),
    (_held(certificates, certificates.c.status == CertificateStatus.RETIRING), _let_go(certificates)),
)


class TakeOver:
    """The `take_over` of cvmd.ports.WorkerStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_over(self, prefix: bytes) -> int:
        """End the leases of all claims that begin so; how many there were. Raises StoreDown."""
        span = {"first": prefix.ljust(_CLAIM_BYTES, b"\0"), "last": prefix.ljust(_CLAIM_BYTES, b"\xff")}
        ended = 0
        for held, let_go in _TABLES:
            for row, claim in self._database.statement(partial(_rows, held, span)):
                ended += self._database.statement(partial(_end, let_go, row, claim))
        return ended


def _rows(held: Select[tuple[int, bytes]], span: dict[str, bytes], t: Transaction) -> Sequence[Row]:
    return t.rows(held, **span)


def _end(let_go: Update, row: int, claim: bytes, t: Transaction) -> int:
    return t.change(let_go, row=row, its_claim=claim)
