"""Leases by name: of several nodes one does it, and none again before the lease is over."""

from __future__ import annotations

from sqlalchemy import insert, update

from cvmd.store.engine import Database, Duplicate
from cvmd.store.schema import NOW, given, leases
from cvmd.store.steps import us

_TAKE_LEASE = (
    update(leases)
    .where(leases.c.name == given("the_name"), leases.c.until_us <= NOW)
    .values(holder=given("by"), until_us=NOW + given("lease_us"))
)
_SHORTEN_LEASE = (
    update(leases)
    .where(leases.c.name == given("the_name"), leases.c.holder == given("by"))
    .values(until_us=NOW + given("lease_us"))
)
_ADD_LEASE = insert(leases).values(name=given("the_name"), holder=given("by"), until_us=NOW + given("lease_us"))


class Leases:
    """Part of cvmd.reconciler.Schedule."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_lease(self, name: str, holder: bytes, lease_s: float) -> bool:
        """Take the lease of that name. False: it is not over."""
        values = {"the_name": name, "by": holder, "lease_us": us(lease_s)}
        if self._database.statement(lambda t: t.change(_TAKE_LEASE, **values) > 0):
            return True
        try:
            return self._database.statement(lambda t: t.change(_ADD_LEASE, **values) > 0)
        except Duplicate:
            return False

    def shorten_lease(self, name: str, holder: bytes, lease_s: float) -> None:
        """Let it end earlier: what it was taken for has failed."""
        self._database.statement(lambda t: t.change(_SHORTEN_LEASE, the_name=name, by=holder, lease_us=us(lease_s)))
