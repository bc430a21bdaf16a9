"""How a connection, and with it a vend, ends; the exit code that says so; when to come back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.constants import Status

from .options import Options

_MAX_BACKOFF_S: Final = 300.0


class Exit(IntEnum):
    """Exit codes of cvm-client."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    TEMPORARY = 3
    FAILED = 4
    CUT = 5
    INTERRUPTED = 130


@dataclass(frozen=True)
class Done:
    """The certificate is active and in use. `already`: it was before this vend; nothing was fetched."""

    already: bool
    exit_code = Exit.DONE


@dataclass(frozen=True)
class Refused:
    """The server has said no. `tagged`: under the session's keys; otherwise anybody could have said it."""

    status: int
    stage: int
    retry_s: int
    detail: int
    tagged: bool

    @property
    def for_a_person(self) -> bool:
        """Whether coming back alone mends nothing (3x, 4x). An unknown code is obeyed by its class."""
        return self.status >> 4 not in (1, 2)

    @property
    def drops_bundle(self) -> bool:
        """Whether the device drops a partial bundle (2x). Nothing is erased on a word that anybody could have said."""
        return self.tagged and self.status >> 4 == Status.STALE >> 4

    @property
    def exit_code(self) -> Exit:
        return Exit.REFUSED if self.for_a_person else Exit.TEMPORARY


@dataclass(frozen=True)
class Failed:
    """There was no answer, or one that breaks the protocol."""

    reason: str
    exit_code = Exit.FAILED


@dataclass(frozen=True)
class Cut:
    """The connection was dropped on purpose, after `after` bytes."""

    after: int
    exit_code = Exit.CUT


Outcome = Done | Refused | Failed | Cut


def pause_before_next(outcome: Outcome, connections: int, options: Options) -> float | None:
    """Seconds until the next connection: max(retry_s, own back-off) + jitter; None: there is to be none.

    `connections`: how many there have been, 1 or more.
    """
    if isinstance(outcome, (Done, Cut)):
        return None
    hopeless = isinstance(outcome, Refused) and outcome.for_a_person
    if not options.retry and (hopeless or connections >= options.attempts):
        return None
    own = min(_MAX_BACKOFF_S, options.backoff_s * float(1 << min(connections - 1, 16)))
    asked = outcome.retry_s if isinstance(outcome, Refused) else 0
    return max(asked, own) + random.uniform(0, own)  # spreads devices out; nothing secret hangs on it
