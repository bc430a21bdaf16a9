"""The chains of the audit trail as they are read, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sqlalchemy import exists, func, not_, select

from cvmd.model import US, AuditEvent, CertificateStatus
from cvmd.store.audit import Mac, message
from cvmd.store.engine import Database, Row
from cvmd.store.schema import audit, certificates, devices, given


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a device's chain; `seq` counts from 1."""

    seq: int
    at_us: int
    actor: str
    event: str
    """As it stands there: an AuditEvent, if nobody has meddled."""
    detail: str | None


@dataclass(frozen=True, slots=True)
class Chain:
    """What became of one device's chain."""

    serial: bytes
    lines: int
    broken_at: int | None = None
    """The first line that is wrong or missing; None: the chain holds."""
    problem: str = ""


_PAGE: Final = 200
_SLACK_US: Final = 60 * US
"""A line is written so much later, at the most, than what it tells of was decided."""
_LINE = (audit.c.seq, audit.c.at_us, audit.c.actor, audit.c.event, audit.c.detail)
_OF_PAGE = devices.c.serial.between(given("first"), given("last"))

_SERIALS = select(devices.c.serial).where(devices.c.serial > given("after")).order_by(devices.c.serial).limit(_PAGE)
_CERTIFICATES = (
    select(devices.c.serial, certificates.c.certificate_id, certificates.c.status)
    .join_from(certificates, devices, devices.c.id == certificates.c.device_id)
    .where(_OF_PAGE)
    .order_by(devices.c.serial)
)
# Heads and lines in one statement, which sees one moment: a line that is being written is there with its head or not.
_CHAINS = (
    select(
        devices.c.serial, devices.c.audit_seq, devices.c.audit_head, devices.c.generation, devices.c.disabled,
        devices.c.reissue_until_us, *_LINE, audit.c.mac,
    )
    .outerjoin_from(devices, audit, audit.c.device_id == devices.c.id)
    .where(_OF_PAGE)
    .order_by(devices.c.serial, audit.c.seq, audit.c.id)
)  # fmt: skip
_head_end = 6
_STRAYS = (
    select(audit.c.device_id, func.count(), func.min(audit.c.seq))
    .where(not_(exists().where(devices.c.id == audit.c.device_id)))
    .group_by(audit.c.device_id)
)
_KNOWN = select(devices.c.id).where(devices.c.serial == given("which"))
_LINES = select(*_LINE).where(audit.c.device_id == given("device")).order_by(audit.c.seq)

_LAST_DECISION: Final[dict[str, tuple[AuditEvent, ...]]] = {
    CertificateStatus.INACTIVE: (AuditEvent.CREATED,),
    CertificateStatus.ACTIVE: (AuditEvent.ACTIVATED, AuditEvent.ADOPTED),
    CertificateStatus.RETIRING: (AuditEvent.RETIRED,),
    CertificateStatus.DELETED: (AuditEvent.DELETED,),
}
"""The events that bring a certificate into a status: where one is in a chain, so is all that was before it."""


class AuditRows:
    """Reads chains."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lines(self, serial: bytes) -> list[Line] | None:
        """The device's chain as it stands, unchecked; None: there is no such device."""
        device = self._database.statement(lambda t: t.row(_KNOWN, which=serial))
        if device is None:
            return None
        return [Line(*row) for row in self._database.statement(lambda t: t.rows(_LINES, device=device[0]))]

    def verify(self, mac: Mac) -> Iterator[Chain]:
        """All chains, in the order of the serials, page by page; right also while lines are being written.

        Last those of no device, each under a name that is no serial.
        """
        after = b""
        while page := self._serials(after):
            first, after = page[0], page[-1]
            yield from self._verify_between(first, after, mac)
        for device_id, lines, first_line in self._database.statement(lambda t: t.rows(_STRAYS)):
            nobody = b"(no device, id %d)" % device_id
            yield Chain(nobody, lines, first_line, "lines of a device that is not there: put in, or it was taken out")

    def verify_one(self, serial: bytes, mac: Mac) -> Chain | None:
        """One device's chain; None: there is no such device."""
        return next(self._verify_between(serial, serial, mac), None)

    def _serials(self, after: bytes) -> list[bytes]:
        return [serial for (serial,) in self._database.statement(lambda t: t.rows(_SERIALS, after=after))]

    def _verify_between(self, first: bytes, last: bytes, mac: Mac) -> Iterator[Chain]:
        # Certificates before chains: what happens in between is then on a line, and at most not yet in a status.
        held = self._database.statement(lambda t: t.rows(_CERTIFICATES, first=first, last=last))
        found = self._database.statement(lambda t: t.rows(_CHAINS, first=first, last=last))
        of_device = {serial: list(rows) for serial, rows in groupby(held, key=lambda row: row[0])}
        for serial, rows in groupby(found, key=lambda row: row[0]):
            yield _verify(list(rows), of_device.get(serial, []), mac)


def _verify(rows: Sequence[Row], held: Sequence[Row], mac: Mac) -> Chain:
    """The rows of one device: its head, and a line in each."""
    serial, last, head, *state = rows[0][:_head_end]
    lines = [row[_head_end:] for row in rows if row[_head_end] is not None]
    wrong = _broken(serial, lines, mac) or _cut(lines, last, head) or _untold(lines, held, *state)
    return Chain(serial, len(lines), *wrong) if wrong else Chain(serial, len(lines))


def _broken(serial: bytes, lines: Sequence[Row], mac: Mac) -> tuple[int, str] | None:
    """What is wrong between the lines."""
    previous = b""
    for number, (*line, found) in enumerate(lines, 1):
        if line[0] != number:
            return number, "the line is missing: somebody took it out of the database"
        if found != mac(message(serial, line, previous)):
            return number, (
                "the line is not as cvmd wrote it: somebody changed it, put it in, or moved it here from another place"
            )
        previous = found
    return None


def _cut(lines: Sequence[Row], last: int, head: bytes | None) -> tuple[int, str] | None:
    """What is wrong between the lines and the head in the device's row."""
    if len(lines) < last:
        return len(lines) + 1, f"the lines from here to {last} are missing: somebody took them out of the database"
    if len(lines) > last:
        return last + 1, f"the device's row counts {last} lines: somebody set it back, or put lines in from a backup"
    if (lines[-1][-1] if lines else None) != head:
        return last, "the device's row names another end of the chain: somebody changed its audit_head"
    return None


def _untold(
    lines: Sequence[Row], held: Sequence[Row], generation: int, disabled: bool, window_until_us: int | None
) -> tuple[int, str] | None:
    """What the rows say and no line tells: lines and head were set back together, or a row changed past cvmd."""
    if not lines:
        return 1, _past("no line tells who added the device")
    end = len(lines) + 1
    queued = sum(line[3] == AuditEvent.QUEUED for line in lines)
    if queued != generation:
        return end, _past(f"the device's row counts {generation} issuances, its lines tell of {queued}")
    switched = [line[3] for line in lines if line[3] in (AuditEvent.DISABLED, AuditEvent.ENABLED)]
    if bool(disabled) != (switched[-1:] == [AuditEvent.DISABLED]):
        return end, _past(f"no line tells that the device was {'disabled' if disabled else 'enabled'}")
    windows = [line for line in lines if line[3] == AuditEvent.WINDOW]
    if window_until_us is not None and not any(_tells_of(line, window_until_us) for line in windows[-1:]):
        return end, _past("no line tells of the window for a re-issue")
    told = {(line[3], line[4].rpartition(" ")[2]) for line in lines}
    for _, certificate_id, status in held:
        name = certificate_id.hex()
        if not any((event, name) in told for event in _LAST_DECISION.get(status, ())):
            return end, _past(f"no line tells why certificate {name} is {status}")
    return None


def _tells_of(line: Row, window_until_us: int) -> bool:
    """Whether this is the line of that window: its detail is `for N s`."""
    ends_us: int = line[1] + int(line[4].split()[1]) * US
    return 0 <= ends_us - window_until_us <= _SLACK_US


def _past(what: str) -> str:
    return f"{what}: somebody took the last lines out and set the head back, or changed the rows past cvmd"
