"""What a daemon tells of itself as it works: a port of named events. metrics.py counts them; NO_METER does not.

Every event may be told from any thread, at once and without an error. What is told names kinds, states and the
operator's own accounts: never a serial, a thing, a policy or an address (invariant 6; and labels stay few).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cvmd.model import Fault, State


@dataclass(frozen=True, slots=True)
class Waiting:
    """Issuances of one account in one state; `oldest_s`: seconds since the first of them was queued."""

    account: str
    state: State
    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class OpenBreakers:
    """Breakers of an account and of its policies that are not closed, by their fault."""

    account: str
    fault: str
    count: int


@dataclass(frozen=True, slots=True)
class Workload:
    """What the whole deployment has to do, as one look at the database found it."""

    waiting: Sequence[Waiting]
    """None of the states in which an issuance waits for its device, or for nothing: offered, active, closed."""
    breakers: Sequence[OpenBreakers]
    retiring: int
    """Certificates that ended and are at AWS still, those in their grace among them."""
    nodes: Mapping[str, int]
    """Nodes that are alive, by version."""


class Meter:
    """Counts nothing: the base, and the twin, of metrics.Metrics."""

    def connections_open(self, count: int) -> None:
        """A connection came or went: so many are open."""

    def turned_away(self, why: str) -> None:
        """A connection was not let in; the name of an admission.Admission."""

    def connection_ended(self, outcome: str | None, duration_s: float) -> None:
        """A device that said something is gone; `outcome`: `status` of its log line, None where it has none."""

    def issuance_became(self, state: State, fault: Fault | None = None) -> None:
        """An issuance was recorded in this state; a failed one with its fault."""

    def certificate_deleted(self, reason: str) -> None:
        """A certificate is gone at AWS; a model.Reason."""

    def orphan_found(self) -> None:
        """A certificate of ours was at AWS and on no row."""

    def aws_called(self, account: str, operation: str, outcome: str, took_s: float) -> None:
        """A request was answered, or not; `outcome`: ok, or an errors.IssuerFault."""

    def database_worked(self, took_s: float) -> None:
        """One run of a transaction, in which it was committed or not; with the wait for a connection."""

    def database_failed(self, kind: str) -> None:
        """One run of a transaction failed; the name of a store.retry.Verdict, or `pool`: no connection was free."""

    def loop_was_late(self, late_s: float) -> None:
        """So much later than asked for the event loop called."""

    def workload_seen(self, workload: Workload, at_s: float) -> None:
        """The heartbeat has read it, at this Unix time of this machine."""


NO_METER: Final = Meter()
