"""AWS's inventory held against the rows: what is there and should not be, is not there and should, or is unknown.

Dry by substitution: `Remedies` says what may be done, and by itself does nothing. A certificate that is not provably
ours is counted and never touched; one that is ACTIVE and unknown is never deleted, since a device may live by it.
"""

from __future__ import annotations

import logging
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Final, TypeVar

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import (
    Account,
    Attribution,
    CertificateStatus,
    DescribedCertificate,
    KnownCertificate,
    ListedCertificate,
    State,
    certificate_id_of,
)
from cvmd.ports import Issuer, ReconcileStore

R = TypeVar("R")

log = logging.getLogger(__name__)

SETTLED_S: Final = 600.0
"""What is younger may be on its way into the rows: only a person's own run touches it."""
_PASSING: Final = frozenset({IssuerFault.THROTTLED, IssuerFault.UNREACHABLE, IssuerFault.UNKNOWN})
_TRIES: Final = 5
_IN_USE: Final = {CertificateStatus.ACTIVE: {"ACTIVE"}, CertificateStatus.INACTIVE: {"ACTIVE", "INACTIVE"}}
"""What AWS may have, by what the row says."""
_PAGE: Final = 500
_HOW_KNOWN: Final = {
    "attempt": "ours by its attempt",
    "subject": "ours by its subject",
    "account": "made at the time of an attempt without an outcome, and the account is cvmd's alone",
    "time": "made at the time of an attempt without an outcome",
    "thing": "attached to its thing",
}
"""By Attribution.proof."""
_NO_PROOF: Final = frozenset({"thing", "time"})


class Kind(StrEnum):
    """What can be wrong with a certificate."""

    ORPHAN = "orphan"
    UNATTRIBUTED = "unattributed"
    UNKNOWN_ACTIVE = "unknown-active"
    REVIVED = "revived"
    INERT = "inert"
    NOT_ACTIVE = "not-active"
    EARLY = "early"
    LOST = "lost"
    MANY_ACTIVE = "many-active"


TO_DO: Final = {
    Kind.ORPHAN: "made for us and in no row: `cvmd reconcile --apply` deletes it",
    Kind.UNATTRIBUTED: "in no row, and it may be anybody's: delete it at AWS if nobody needs it",
    Kind.UNKNOWN_ACTIVE: "a device may use it, and no row knows it (a restored backup?): `cvmd reconcile --adopt ID`",
    Kind.REVIVED: "retired, and it is ACTIVE: `cvmd reconcile --apply` disposes of it; the log says why if it stays",
    Kind.INERT: "its issuance is over, and it is still there: `cvmd reconcile --apply` disposes of it",
    Kind.NOT_ACTIVE: "a row says that it is in use: make it ACTIVE at AWS, or `cvmd devices revoke` its device",
    # Not made INACTIVE here: its device may be about to acknowledge it, and would be left without one.
    Kind.EARLY: "ACTIVE and not acknowledged: after a restore `cvmd reconcile --adopt ID`, else find out who did that",
    Kind.LOST: "AWS has it no more: `cvmd devices revoke` its device, then `cvmd devices reissue`",
    Kind.MANY_ACTIVE: "the thing has more than one ACTIVE certificate: see which its device uses",
}
_IMPORT_FIRST: Final = (
    "a device that no row knows may use it (added after the backup?): import it again, its token too, then "
    "`cvmd reconcile --adopt ID`"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One certificate, or one thing, that is not as it should be."""

    kind: Kind
    name: str
    """certificate id in hex; of MANY_ACTIVE the thing's name."""
    serial: bytes | None
    detail: str
    mended: bool

    @property
    def to_do(self) -> str:
        """For a person, as long as it is not mended."""
        if self.kind is Kind.UNKNOWN_ACTIVE and self.serial is None:
            return _IMPORT_FIRST
        return TO_DO[self.kind]


@dataclass(slots=True)
class Report:
    """Of one account."""

    account: str
    listed: int = 0
    foreign: int = 0
    in_flight: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def remain(self) -> int:
        """Findings that are not mended."""
        return sum(not it.mended for it in self.findings)


def _leave(*_: object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Remedies:
    """What may be done about a finding; each says whether it did it. By itself it leaves everything as it is."""

    retire_orphan: Callable[[Account, DescribedCertificate, Attribution], bool] = _leave
    dispose_of: Callable[[bytes], bool] = _leave
    adopt: Callable[[Account, DescribedCertificate, Attribution, bytes | None], bool] = _leave
    supersede: Callable[[Account, DescribedCertificate, Attribution], bool] = _leave
    chosen: frozenset[str] = frozenset()
    """What alone is to be taken up: certificate ids in hex, and serials. Empty: all."""
    unattended: bool = False
    """Nobody watches: only what an attempt proves, and what is old enough not to be in anybody's hands."""


class Reconciliation:
    """One account's run. Blocking; `pause` is called before each call to AWS, `progress` after each page.

    What is held on to, beside the findings: 8 bytes a certificate that AWS has, some 50 for the moment they are sorted.
    """

    def __init__(
        self,
        store: ReconcileStore,
        issuer: Issuer,
        owns_subject: Callable[[str], bytes | None],
        remedies: Remedies,
        *,
        pause: Callable[[], None],
        progress: Callable[[Report], object] = _leave,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._owns_subject = owns_subject
        self._remedies = remedies
        self._pause = pause
        self._progress = progress

    def run(self, account: Account, *, deep: bool = False) -> Report:
        """Raises StoreDown, and IssuerError where AWS does not answer, also asked again."""
        report = Report(account.name)
        seen = array("Q")
        suspects: list[tuple[bool, bytes]] = []
        for page in self._pages(account):
            known = self._store.known([it.certificate_id for it in page])
            for it in page:
                row = known.get(it.certificate_id)
                if row is None:
                    _add(report, self._unknown(account, it, report))
                elif judge(it.status, row) is not None:
                    suspects.append((it.status != "ACTIVE", it.certificate_id))
            seen.extend(_head(it.certificate_id) for it in page)
            report.listed += len(page)
            self._progress(report)
        # Only now: what was found since may explain it, above all what was adopted in its place. ACTIVE ones first.
        for _, certificate_id in sorted(suspects):
            _add(report, self._confirmed(account, certificate_id))
        for certificate_id in self._missing(account, array("Q", sorted(seen))):
            _add(report, self._confirmed(account, certificate_id))
        if deep:
            report.findings += self._many_active(account)
        return report

    def _pages(self, account: Account) -> Iterator[Sequence[ListedCertificate]]:
        marker: str | None = None
        while True:
            page, marker = self._ask(partial(self._issuer.certificates, account, marker))
            yield page
            if marker is None:
                return

    def _unknown(self, account: Account, listed: ListedCertificate, report: Report) -> Finding | None:
        """A certificate that is in no row."""
        if self._remedies.unattended and time.time() - listed.created_s < SETTLED_S:
            report.in_flight += 1
            return None
        found = self._ask(partial(self._issuer.describe, account, listed.certificate_id))
        if found is None:  # deleted since it was listed
            return None
        whose = self._whose(account, found)
        if whose is None:
            report.foreign += 1
            return None
        if self._store.known([found.certificate_id]):  # its attempt was open, or closed by what recorded it
            return None
        kind, mended = Kind.UNATTRIBUTED, False
        if found.status == "ACTIVE":
            kind, mended = Kind.UNKNOWN_ACTIVE, self._take_up(account, found, whose)
        elif whose.in_flight:
            report.in_flight += 1
            return None
        elif whose.proof not in _NO_PROOF:
            may = not self._remedies.unattended or whose.proof == "attempt"
            kind, mended = Kind.ORPHAN, may and self._remedies.retire_orphan(account, found, whose)
        detail = f"{found.status}, {_HOW_KNOWN[whose.proof]}"
        return Finding(kind, found.certificate_id.hex(), whose.serial, detail, mended)

    def _whose(self, account: Account, found: DescribedCertificate) -> Attribution | None:
        uid = None if found.subject_cn is None else self._owns_subject(found.subject_cn)
        whose = self._store.attribute(found, uid)
        if whose is not None and whose.device_id is not None:
            return whose
        things = self._ask(partial(self._issuer.attached_things, account, found.arn))
        if whose is None and not things:
            return self._left(account, found)
        mapped = self._store.device_of_thing(account.id, things) if things else None
        if whose is None or mapped is None:
            return whose or mapped
        return replace(whose, device_id=mapped.device_id, serial=mapped.serial)

    def _left(self, account: Account, found: DescribedCertificate) -> Attribution | None:
        """What an attempt whose key AWS was to make may have left: nobody has that key, so it was never put to use."""
        whose = self._store.attempted(account.id, found.created_s) if found.status == "INACTIVE" else None
        if whose is None or self._ask(partial(self._issuer.attached_policies, account, found.arn)):
            return None
        return whose

    def _take_up(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """ACTIVE, and its row does not say so. Of two, a device uses the newer one: the other one is superseded."""
        chosen, serial = self._remedies.chosen, (whose.serial or b"").decode("ascii", "replace")
        if whose.device_id is None or (chosen and chosen.isdisjoint((found.certificate_id.hex(), serial))):
            return False
        # Perhaps by its subject, which is no secret; an ACTIVE one of ours is attached.
        weak = whose.proof == "attempt" and not chosen
        if weak and not self._ask(partial(self._issuer.attached_things, account, found.arn)):
            return False
        rival = self._store.rival(whose.device_id)
        if rival is None:
            return self._remedies.adopt(account, found, whose, None)
        certificate_id, acked = rival
        other = self._ask(partial(self._issuer.describe, account, certificate_id))
        in_use = other is not None and other.status == "ACTIVE"
        if other is not None and other.created_s > found.created_s:
            if acked:  # it becomes ACTIVE any moment, and then supersedes this one
                return False
            if in_use:
                return whose.proof != "thing" and self._remedies.supersede(account, found, whose)
        # On the thing alone it may be somebody's own, unless its subject is one that the device's CSR may have.
        elif in_use and not chosen and whose.proof == "thing" and found.subject_cn not in (None, serial):
            return False
        return self._remedies.adopt(account, found, whose, certificate_id)

    def _confirmed(self, account: Account, certificate_id: bytes) -> Finding | None:
        """What is wrong with a certificate that has a row, asked of AWS and then of the row."""
        found = self._ask(partial(self._issuer.describe, account, certificate_id))
        row = self._store.known([certificate_id]).get(certificate_id)
        kind = None if row is None else judge(None if found is None else found.status, row)
        if row is None or kind is None:
            return None
        mended = False
        if kind in (Kind.REVIVED, Kind.INERT):
            mended = self._remedies.dispose_of(certificate_id)
        elif kind is Kind.EARLY and found is not None:
            whose = Attribution(row.issuance_id, row.device_id, row.serial, "row", in_flight=False)
            mended = self._take_up(account, found, whose)
        at_aws = "AWS has no such certificate" if found is None else f"AWS has it {found.status}"
        state = "" if row.issuance_state is None else f", its issuance {row.issuance_state}"
        return Finding(kind, certificate_id.hex(), row.serial, f"{at_aws}, the row {row.status}{state}", mended)

    def _missing(self, account: Account, seen: Sequence[int]) -> Iterator[bytes]:
        """Of the rows whose certificates AWS must have, those that it did not list: also what was made since."""
        after: int | None = 0
        while after is not None:
            expected, after = self._store.expected(account.id, after, _PAGE)
            yield from (it for it in expected if not _has(seen, _head(it)))

    def _many_active(self, account: Account) -> Iterator[Finding]:
        after = ""
        while page := self._store.mapped_things(account.id, after, _PAGE):
            after = page[-1]
            for thing in page:
                active = self._active_on(account, thing)
                known = self._store.known(active)
                # The former one of a device that has just been given another is on its way out.
                staying = [it for it in active if it not in known or known[it].status != CertificateStatus.RETIRING]
                if len(staying) > 1:
                    yield Finding(Kind.MANY_ACTIVE, thing, None, " ".join(it.hex() for it in staying), mended=False)

    def _active_on(self, account: Account, thing: str) -> list[bytes]:
        try:
            principals = self._ask(partial(self._issuer.thing_principals, account, thing))
        except IssuerError as error:
            if error.fault is IssuerFault.THING_MISSING:
                return []
            raise
        ids = [it for it in map(certificate_id_of, principals) if it is not None]
        if len(ids) < 2:  # fewer than two are not many
            return ids
        return [it for it in ids if self._ask(partial(self._issuer.certificate_is_active, account, it))]

    def _ask(self, call: Callable[[], R]) -> R:
        """One call at the run's pace, again where the fault passes."""
        for number in range(1, _TRIES):
            self._pause()
            try:
                return call()
            except IssuerError as error:
                if error.fault not in _PASSING:
                    raise
                log.warning("asked again: %s", error)
                for _ in range(1 << number):
                    self._pause()
        self._pause()
        return call()


def judge(status: str | None, row: KnownCertificate) -> Kind | None:
    """What is wrong with a certificate that has a row; `status`: AWS's, None if it is not there.

    Nothing yet, where something has just changed: AWS may have been asked before that.
    """
    if not row.settled:
        return None
    living = row.status in _IN_USE
    if status is None:
        return Kind.LOST if living else None
    if living and status not in _IN_USE[row.status]:
        return Kind.NOT_ACTIVE
    if row.status is CertificateStatus.INACTIVE:
        if status == "ACTIVE":
            return None if row.issuance_state is State.ACKED else Kind.EARLY
        return Kind.INERT if row.overdue else None
    if row.status is CertificateStatus.DELETED or (row.status is CertificateStatus.RETIRING and status == "ACTIVE"):
        return Kind.REVIVED
    return None


def _add(report: Report, finding: Finding | None) -> None:
    if finding is not None:
        report.findings.append(finding)


class BrokenOff(Exception):  # noqa: N818  # no error: it was asked to
    """The run was to end."""


def pacer(calls_per_s: float, broken_off: threading.Event) -> Callable[[], None]:
    """A pause that lets no more than that many calls a second begin; it raises BrokenOff once that is set."""
    next_s = time.monotonic()

    def pause() -> None:
        nonlocal next_s
        if broken_off.wait(max(0.0, next_s - time.monotonic())):
            raise BrokenOff
        next_s = max(next_s, time.monotonic()) + 1 / calls_per_s

    return pause


def _head(certificate_id: bytes) -> int:
    return int.from_bytes(certificate_id[:8])


def _has(ascending: Sequence[int], wanted: int) -> bool:
    place = bisect_left(ascending, wanted)
    return place < len(ascending) and ascending[place] == wanted
