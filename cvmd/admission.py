"""Who may come in, decided: connections in all, connections a source. Pure; the listener acts on it.

A connection that has not proved itself is dropped at random, ever more likely, as the node fills up (the
idea of
OpenSSH's MaxStartups), so that a flood does not keep every honest device out; one that has proved itself
never is.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

_DROP_FROM = 0.3
"""The share of `max_connections` from which unauthenticated connections are dropped at random."""


class Admission(StrEnum):
    """What to do with a new connection."""

    ACCEPT = "accept"
    FULL = "the node is full"
    SOURCE_FULL = "too many connections of this source"
    EARLY = "dropped early: the node fills up with connections that have not proved themselves"


class Door:
    """Counts open connections: O(1) a decision, memory bounded by the connections that are open (invariant
    7)."""

    def __init__(self, *, max_connections: int, max_per_source: int) -> None:
        self._max = max_connections
        self._max_per_source = max_per_source
        self._unproved = 0
        self._open = 0
        self._by_source: Counter[str] = Counter()

    def judge(self, source: str, chance: float) -> Admission:
        """Whether a connection of `source` may stay; `chance` is uniform in 0..1."""
        if self._open >= self._max:
            return Admission.FULL
        if self._by_source[source] >= self._max_per_source:
            return Admission.SOURCE_FULL
        filled = (self._unproved / self._max - _DROP_FROM) / (1 - _DROP_FROM)
        return Admission.EARLY if chance < filled else Admission.ACCEPT

    def enter(self, source: str) -> None:
        """A connection was accepted."""
        self._open += 1
        self._unproved += 1
        self._by_source[source] += 1

    def proved(self) -> None:
        """One of them has proved itself."""
        self._unproved -= 1

    def leave(self, source: str, *, proved: bool) -> None:
        """One of them is gone."""
        self._open -= 1
        self._unproved -= not proved
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return self._open
