"""Leases by name: of several nodes one does it, and none again before the lease is over."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from cvmd.store.engine import Database, Duplicate, Transaction
from cvmd.store.schema import NOW, given, leases
from cvmd.store.steps import us

_TAKE = (
    update(leases)
    .where(leases.c.name == given("the_name"), leases.c.until_us <= NOW)
    .values(holder=given("by"), until_us=NOW + given("lease_us"))
)
_HOLDER = select(leases.c.holder).where(leases.c.name == given("the_name"))
_SHORTEN = (
    update(leases)
    .where(leases.c.name == given("the_name"), leases.c.holder == given("by"))
    .values(until_us=NOW + given("lease_us"))
)
_ADD = insert(leases).values(name=given("the_name"), holder=given("by"), until_us=NOW + given("lease_us"))


class Leases:
    """Part of cvmd.reconciler.Schedule."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_lease(self, name: str, holder: bytes, lease_s: float) -> bool:
        """Take the lease of that name. False: it is not over."""
        values = {"the_name": name, "by": holder, "lease_us": us(lease_s)}

        def work(t: Transaction) -> bool:
            if t.change(_TAKE, **values):
                return True
            row = t.row(_HOLDER, the_name=name)
            if row is None:
                return t.change(_ADD, **values) > 0
            return t.repeated and bool(row[0] == holder)

        try:
            return self._database.transaction(work)
        except Duplicate:
            return False

    def shorten_lease(self, name: str, holder: bytes, lease_s: float) -> None:
        """Let it end earlier: what it was taken for has failed."""
        self._database.statement(lambda t: t.change(_SHORTEN, the_name=name, by=holder, lease_us=us(lease_s)))
