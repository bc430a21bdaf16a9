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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
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


class Kind(StrEnum):
    """What can be wrong with a certificate."""

    ORPHAN = "orphan"
    UNKNOWN_ACTIVE = "unknown-active"
    REVIVED = "revived"
    NOT_ACTIVE = "not-active"
    EARLY = "early"
    LOST = "lost"
    MANY_ACTIVE = "many-active"


TO_DO: Final = {
    Kind.ORPHAN: "made for us and in no row: `cvmd reconcile --apply` deletes it",
    Kind.UNKNOWN_ACTIVE: "a device may use it, and no row knows it (a restored backup?): `cvmd reconcile --adopt ID`",
    Kind.REVIVED: "it was disposed of and is there again: `cvmd reconcile --apply` disposes of it",
    Kind.NOT_ACTIVE: "a row says that it is in use: make it ACTIVE at AWS, or `cvmd devices revoke` its device",
    Kind.EARLY: "ACTIVE before its device acknowledged it: see who did that, and make it INACTIVE at AWS",
    Kind.LOST: "AWS has it no more: `cvmd devices revoke` its device, then `cvmd devices reissue`",
    Kind.MANY_ACTIVE: "the thing has more than one ACTIVE certificate: see which its device uses",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One certificate, or one thing, that is not as it should be."""

    kind: Kind
    name: str
    """certificate id in hex; of MANY_ACTIVE the thing's name."""
    serial: bytes | None
    detail: str
    mended: bool


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
    dispose_of_again: Callable[[bytes], bool] = _leave
    adopt: Callable[[Account, DescribedCertificate, Attribution], bool] = _leave
    unattended: bool = False
    """Nobody watches: only what an attempt proves, and what is old enough not to be in anybody's hands."""


class Reconciliation:
    """One account's run. Blocking; `pause` is called before each call to AWS, `progress` after each page."""

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
        seen = array("Q")  # heads of ids: 8 MB a million, and no two certificates share one
        for page in self._pages(account):
            known = self._store.known([it.certificate_id for it in page])
            for it in page:
                row = known.get(it.certificate_id)
                finding = self._compare(it, row) if row is not None else self._unknown(account, it, report)
                if finding is not None:
                    report.findings.append(finding)
            seen.extend(_head(it.certificate_id) for it in page)
            report.listed += len(page)
            self._progress(report)
        report.findings += self._lost(account, sorted(seen))
        if deep:
            report.findings += self._many_active(account)
        return report

    def _pages(self, account: Account) -> Iterator[Sequence[ListedCertificate]]:
        pages = self._issuer.certificates(account)
        while (page := self._ask(lambda: next(pages, None))) is not None:
            yield page

    def _compare(self, listed: ListedCertificate, row: KnownCertificate) -> Finding | None:
        """A certificate that both sides have. Whatever has just changed may have been asked for before that."""
        if not row.settled:
            return None
        active = listed.status == "ACTIVE"
        match row.status:
            case CertificateStatus.ACTIVE | CertificateStatus.INACTIVE if listed.status not in _IN_USE[row.status]:
                return _finding(Kind.NOT_ACTIVE, row, f"AWS has it {listed.status}")
            case CertificateStatus.INACTIVE if active and row.issuance_state is not State.ACKED:
                return _finding(Kind.EARLY, row, f"its issuance is {row.issuance_state or 'another'}")
            case CertificateStatus.DELETED:
                mended = self._remedies.dispose_of_again(row.certificate_id)
                return _finding(Kind.REVIVED, row, "deleted, and still there", mended=mended)
            case CertificateStatus.RETIRING if active:
                mended = self._remedies.dispose_of_again(row.certificate_id)
                return _finding(Kind.REVIVED, row, "retired, and ACTIVE", mended=mended)
        return None

    def _unknown(self, account: Account, listed: ListedCertificate, report: Report) -> Finding | None:
        """A certificate that is in no row."""
        if self._remedies.unattended and time.time() - listed.created_s < SETTLED_S:
            report.in_flight += 1
            return None
        found = self._ask(lambda: self._issuer.describe(account, listed.certificate_id))
        if found is None:  # deleted since it was listed
            return None
        whose = self._whose(account, found)
        if whose is None:
            report.foreign += 1
            return None
        if whose.in_flight:
            report.in_flight += 1
            return None
        name = found.certificate_id.hex()
        if found.status == "ACTIVE":
            mended = self._remedies.adopt(account, found, whose)
            return Finding(Kind.UNKNOWN_ACTIVE, name, whose.serial, f"ours by its {whose.proof}", mended)
        may = not self._remedies.unattended or whose.proof == "attempt"
        mended = may and self._remedies.retire_orphan(account, found, whose)
        return Finding(Kind.ORPHAN, name, whose.serial, f"ours by its {whose.proof}, {found.status}", mended)

    def _whose(self, account: Account, found: DescribedCertificate) -> Attribution | None:
        uid = None if found.subject_cn is None else self._owns_subject(found.subject_cn)
        whose = self._store.attribute(found, uid)
        # Of what is not ACTIVE the thing proves nothing, and nobody lives by it.
        if found.status != "ACTIVE" or (whose is not None and whose.device_id is not None):
            return whose
        things = self._ask(lambda: self._issuer.attached_things(account, found.arn))
        return (self._store.device_of_thing(account.id, things) if things else None) or whose

    def _lost(self, account: Account, seen: Sequence[int]) -> Iterator[Finding]:
        """Rows whose certificate was not in the list; what was made since is asked for by itself."""
        after = 0
        while page := self._store.expected(account.id, after, _PAGE):
            after = page[-1][0]
            for _, certificate_id, serial in page:
                if _has(seen, _head(certificate_id)):
                    continue
                if self._ask(partial(self._issuer.describe, account, certificate_id)) is None:
                    yield Finding(Kind.LOST, certificate_id.hex(), serial, "AWS has no such certificate", mended=False)

    def _many_active(self, account: Account) -> Iterator[Finding]:
        after = ""
        while page := self._store.mapped_things(account.id, after, _PAGE):
            after = page[-1]
            for thing in page:
                active = self._active_on(account, thing)
                if len(active) > 1:
                    yield Finding(Kind.MANY_ACTIVE, thing, None, " ".join(active), mended=False)

    def _active_on(self, account: Account, thing: str) -> list[str]:
        """Ids in hex. A certificate's id is the end of its ARN; other principals have none."""
        try:
            principals = self._ask(lambda: self._issuer.thing_principals(account, thing))
        except IssuerError as error:
            if error.fault is IssuerFault.THING_MISSING:
                return []
            raise
        ids = [arn.rpartition("/")[2] for arn in principals if ":cert/" in arn]
        if len(ids) < 2:  # fewer than two are not many
            return ids
        is_active = self._issuer.certificate_is_active
        return [it for it in ids if self._ask(partial(is_active, account, bytes.fromhex(it)))]

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


def only(chosen: Collection[str], adopt: Callable[[Account, DescribedCertificate, Attribution], bool]) -> Callable[
    [Account, DescribedCertificate, Attribution], bool
]:  # fmt: skip
    """`adopt`, but of the certificates with these ids only."""
    return lambda account, found, whose: found.certificate_id.hex() in chosen and adopt(account, found, whose)


def _finding(kind: Kind, row: KnownCertificate, detail: str, *, mended: bool = False) -> Finding:
    return Finding(kind, row.certificate_id.hex(), row.serial, detail, mended)


def _head(certificate_id: bytes) -> int:
    return int.from_bytes(certificate_id[:8])


def _has(ascending: Sequence[int], wanted: int) -> bool:
    place = bisect_left(ascending, wanted)
    return place < len(ascending) and ascending[place] == wanted
