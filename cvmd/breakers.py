"""How long who waits after an AWS call that failed: the one table of AWS faults.

What is an account's fault, or a policy's, holds up more than one issuance. It opens a breaker, a row that all nodes
see: the issuances behind it wait where they are, and their devices are told when to come back. After its rest one
issuance is let through, the trial; how its calls end closes the breaker, or opens it again for longer.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import US, Issuance
from cvmd.ports import BreakerStore, Issuer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rest:
    """Seconds after the first failure, and at the longest; `shared`: by a breaker."""

    first_s: float
    longest_s: float
    shared: bool = True

    def after_s(self, failures: int) -> float:
        """A breaker's, after that many failures in a row (from 1): doubled with each, jittered by a quarter."""
        doubled = self.first_s * (1 << min(failures - 1, 16))
        return min(doubled, self.longest_s) * random.uniform(0.75, 1.25)  # jitter, no secret

    def of_row_s(self, age_s: float) -> float:
        """One row's own, by how long it is in its state: what nobody mends costs the account ever fewer calls."""
        return min(max(self.first_s, age_s / 4), self.longest_s)


RESTS: Final = {
    IssuerFault.THROTTLED: Rest(1, 30),
    IssuerFault.UNREACHABLE: Rest(5, 60),
    IssuerFault.UNKNOWN: Rest(5, 60),
    IssuerFault.ACCOUNT: Rest(30, 300),
    IssuerFault.QUOTA: Rest(300, 300),
    IssuerFault.POLICY_MISSING: Rest(30, 300),
    IssuerFault.CONFLICT: Rest(5, 300, shared=False),
    IssuerFault.CERTIFICATE_MISSING: Rest(2, 300, shared=False),
}
"""The faults after which an issuance waits. Any other is the issuance's own, and ends it (issuance.fault_of)."""
UNKNOWN_IN_A_ROW: Final = 3
"""So many calls of an account without a known outcome are the account's fault: a single one happens."""
_POLICY_KNOWN_S: Final = 300.0


class Breakers:
    """What a node's workers ask before an issuance and tell after each AWS call. For many threads."""

    def __init__(self, store: BreakerStore, issuer: Issuer, *, on_closed: Callable[[], None]) -> None:
        self._store = store
        self._issuer = issuer
        self._on_closed = on_closed
        self._unknown: dict[int, int] = {}  # in a row, by account
        self._policies: dict[tuple[int, str], float] = {}  # there until this time

    def admit(self, issuance: Issuance) -> bool:
        """False: it was to be the trial, and another node has taken up its own. Raises StoreDown."""
        return not issuance.trial or self._store.half_open(issuance.account.id, issuance.policy)

    def check_policy(self, issuance: Issuance) -> None:
        """Before a certificate is made for it. Raises IssuerError, of POLICY_MISSING where there is none."""
        account, policy = issuance.account, issuance.policy
        if self._policies.get((account.id, policy), 0.0) > time.monotonic():
            return
        if not self._issuer.policy_exists(account, policy):
            raise IssuerError(IssuerFault.POLICY_MISSING, "GetPolicy", "ResourceNotFoundException", policy)
        self._policies[account.id, policy] = time.monotonic() + _POLICY_KNOWN_S
        self._close(issuance, policy)  # and not the account's: it may be Create that is refused

    def well(self, issuance: Issuance, policy: str = "") -> None:
        """A call for it, which used this policy or none, was answered."""
        self._unknown.pop(issuance.account.id, None)
        for each in sorted({"", policy}):
            self._close(issuance, each)

    def _close(self, issuance: Issuance, policy: str) -> None:
        if issuance.trial and self._store.close_breaker(issuance.account.id, policy):
            log.warning("%s: well again, the issuances that waited go on", _named(issuance, policy))
            self._on_closed()

    def failed(self, issuance: Issuance, error: IssuerError) -> float:
        """A call for it failed: the seconds that the issuance itself is to wait; 0 where a breaker holds it back."""
        account, fault = issuance.account, error.fault
        rest = RESTS.get(fault)
        if rest is None or not rest.shared or fault is IssuerFault.POLICY_MISSING:
            self.well(issuance)  # AWS has judged this very call, so the account is served
        if rest is None:
            return 0.0
        if fault is IssuerFault.UNKNOWN and not issuance.trial:
            self._unknown[account.id] = self._unknown.get(account.id, 0) + 1
            if self._unknown[account.id] < UNKNOWN_IN_A_ROW:
                return rest.first_s
        if not rest.shared:
            return rest.of_row_s(time.time() - issuance.updated_us / US)
        missing = issuance.policy if fault is IssuerFault.POLICY_MISSING else ""
        self._policies.pop((account.id, missing), None)
        if self._store.trip(account.id, missing, fault, str(error), rest.after_s, trial=issuance.trial):
            log.error("%s: its issuances wait (%s): %s", _named(issuance, missing), fault, error)
        return 0.0


def _named(issuance: Issuance, policy: str) -> str:
    of_policy = f", policy {policy}" if policy else ""
    return f"account {issuance.account.name}{of_policy}"
