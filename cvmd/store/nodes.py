"""The nodes' rows: a node that is alive says so now and then, and reads with it what there is to do."""

from __future__ import annotations

import os
import socket

from sqlalchemy import func, insert, select, update

from cvmd import __version__
from cvmd.meter import OpenBreakers, Waiting, Workload
from cvmd.model import US, CertificateStatus, State
from cvmd.ports import NODE_SILENT_S
from cvmd.store.breakers import FAILING, IN_USE
from cvmd.store.engine import Database, Duplicate, Transaction
from cvmd.store.schema import NOW, accounts, breakers, certificates, given, issuances, nodes
from cvmd.store.steps import us

SILENT_US = us(NODE_SILENT_S)
_HOST = 255
_WAITING = (State.QUEUED, State.INTENT, State.CREATED, State.ACKED, State.FAILED)

_SAID = {
    "host": given("on_host"),
    "pid": given("as_pid"),
    "version": given("of_version"),
    "started_us": NOW - given("uptime_us"),
    "seen_us": NOW,
    "stopped_us": None,
}
_BEAT = update(nodes).where(nodes.c.id == given("node")).values(**_SAID)
_ADD = insert(nodes).values(id=given("node"), **_SAID)
_STOPPED = update(nodes).where(nodes.c.id == given("node")).values(seen_us=NOW, stopped_us=NOW)
_ALIVE = (
    select(nodes.c.version, func.count())
    .where(nodes.c.stopped_us.is_(None), nodes.c.seen_us > NOW - SILENT_US)
    .group_by(nodes.c.version)
)
# Counted in an index alone: in a herd it is read while tens of thousands wait. The first id is the oldest.
_COUNTED = (
    select(
        issuances.c.account_id, issuances.c.state, func.count().label("many"), func.min(issuances.c.id).label("first")
    )
    .where(issuances.c.state.in_(_WAITING))
    .group_by(issuances.c.account_id, issuances.c.state)
    .subquery()
)
WAITING = (
    select(accounts.c.name, accounts.c.creates_per_s, _COUNTED.c.state, _COUNTED.c.many, issuances.c.created_us, NOW)
    .join_from(_COUNTED, accounts, accounts.c.id == _COUNTED.c.account_id)
    .join(issuances, issuances.c.id == _COUNTED.c.first)
    .order_by(accounts.c.name, _COUNTED.c.state)
)
"""(account, its creates a second, state, how many wait in it, when the oldest was queued, now)."""
_OPEN = (
    select(accounts.c.name, breakers.c.fault, func.count())
    .join_from(breakers, accounts)
    .where(FAILING, IN_USE)
    .group_by(accounts.c.name, breakers.c.fault)
)
_ENDED = select(func.count()).select_from(certificates).where(certificates.c.status == CertificateStatus.RETIRING)


class Nodes:
    """cvmd.heartbeat.NodeRows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, node: bytes, uptime_s: float) -> Workload:
        """The node, of 16 bytes, is alive, for `uptime_s` by now. What there is to do, and for how many nodes.

        Raises StoreDown.
        """
        said = {
            "node": node,
            "on_host": socket.gethostname()[:_HOST],
            "as_pid": os.getpid(),
            "of_version": __version__,
            "uptime_us": us(uptime_s),
        }

        def work(t: Transaction) -> Workload:
            if not t.change(_BEAT, **said):
                t.change(_ADD, **said)
            return Workload(
                waiting=[
                    Waiting(name, State(state), count, (now_us - oldest_us) / US)
                    for name, _, state, count, oldest_us, now_us in t.rows(WAITING)
                ],
                breakers=[OpenBreakers(*row) for row in t.rows(_OPEN)],
                retiring=t.rows(_ENDED)[0][0],
                nodes=dict(t.rows(_ALIVE)),
            )

        while True:
            try:
                return self._database.statement(work)
            except Duplicate:  # an INSERT whose answer was lost: the row is there now
                continue

    def node_stopped(self, node: bytes) -> None:
        """It ends in good order. Raises StoreDown."""
        self._database.statement(lambda t: t.change(_STOPPED, node=node))
