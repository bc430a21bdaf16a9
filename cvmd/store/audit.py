"""The audit trail: every decision on a credential, written by the transaction that makes it, chained a device.

The head of a device's chain is in its row, so a line that was removed, also the last one, is missed; the MAC is
under a key that the database does not hold, so that none can be changed or put in. Only INSERT is granted to the
daemon (grants.sql).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, insert, select, update

from cvmd.model import AuditEvent
from cvmd.store.engine import Contended, Database, Row, Transaction
from cvmd.store.schema import DETAIL, NOW, audit, certificates, devices, given

_HEAD = select(devices.c.audit_seq, devices.c.audit_head, NOW).where(devices.c.id == given("device"))
_MOVE_HEAD = (
    update(devices)
    .where(devices.c.id == given("device"), devices.c.audit_seq == given("seen_seq"))
    .values(audit_seq=devices.c.audit_seq + 1, audit_head=given("new_head"))
)
_ADD = insert(audit).values(
    device_id=given("device"),
    seq=given("new_seq"),
    at_us=given("now_us"),
    actor=given("by"),
    event=given("what"),
    detail=given("why"),
    mac=given("new_mac"),
)


class Trail:
    """Writes lines, as one actor: a device, a node or an operator."""

    def __init__(self, mac: Callable[[bytes], bytes], actor: str) -> None:
        self._mac = mac
        self._actor = actor[:64]

    def add(self, t: Transaction, device_id: int, event: AuditEvent, detail: str = "", *, actor: str = "") -> None:
        """One line at the end of the device's chain; the last thing that a transaction does."""
        head = t.row(_HEAD, device=device_id)
        if head is None:
            raise LookupError(f"there is no device {device_id}")
        seen, previous, now_us = head
        by, why = actor or self._actor, detail[:DETAIL]
        mac = self._mac(_message(device_id, seen + 1, now_us, by, event, why, previous))
        if not t.change(_MOVE_HEAD, device=device_id, seen_seq=seen, new_head=mac):
            raise Contended
        t.change(
            _ADD, device=device_id, new_seq=seen + 1, now_us=now_us, by=by, what=event, why=why, new_mac=mac
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a device's chain; `seq` counts from 1."""

    seq: int
    at_us: int
    actor: str
    event: AuditEvent
    detail: str


@dataclass(frozen=True, slots=True)
class Broken:
    """What is wrong with one device's chain."""

    serial: bytes
    seq: int
    problem: str


_PAGE: Final = 200
_HEADS = (
    select(devices.c.id, devices.c.serial, devices.c.audit_seq, devices.c.audit_head)
    .where(devices.c.serial > given("after"))
    .order_by(devices.c.serial)
    .limit(_PAGE)
)
_HEAD_OF = select(devices.c.id, devices.c.serial, devices.c.audit_seq, devices.c.audit_head).where(
    devices.c.serial == given("which")
)
_LINES = (
    select(audit.c.seq, audit.c.at_us, audit.c.actor, audit.c.event, audit.c.detail, audit.c.mac)
    .where(audit.c.device_id == given("device"))
    .order_by(audit.c.seq)
)
_CERTIFICATES = select(func.count()).where(certificates.c.device_id == given("device"))


class AuditRows:
    """Reads chains."""

    def __init__(self, database: Database, mac: Callable[[bytes], bytes]) -> None:
        self._database = database
        self._mac = mac

    def lines(self, serial: bytes) -> list[Line] | None:
        """The device's chain, as it stands; None if there is no such device."""
        head = self._database.statement(lambda t: t.row(_HEAD_OF, which=serial))
        if head is None:
            return None
        found = self._database.statement(lambda t: t.rows(_LINES, device=head[0]))
        return [Line(seq, at_us, actor, AuditEvent(event), detail) for seq, at_us, actor, event, detail, _ in found]

    def verify(self) -> Iterator[tuple[bytes, Broken | None]]:
        """Every device's serial, and the first thing that is wrong with its chain."""
        after = b""
        while heads := self._database.statement(lambda t, after=after: t.rows(_HEADS, after=after)):
            for head in heads:
                yield head[1], self._verify_one(head)
            after = heads[-1][1]

    def _verify_one(self, head: Row) -> Broken | None:
        device_id, serial, _, _ = head
        # One transaction: a line that is written meanwhile must not look like one that was put in.
        current, found, certified = self._database.transaction(
            lambda t: (
                t.row(_HEAD_OF, which=serial),
                t.rows(_LINES, device=device_id),
                t.row(_CERTIFICATES, device=device_id),
            )
        )
        problem = self._problem(device_id, current or head, found, 0 if certified is None else certified[0])
        return None if problem is None else Broken(serial, *problem)

    def _problem(self, device_id: int, head: Row, found: list[Row], certified: int) -> tuple[int, str] | None:
        _, _, last, head_mac = head
        previous = None
        for expected, (seq, at_us, actor, event, detail, mac) in enumerate(found, 1):
            if seq != expected:
                return expected, "the line is missing"
            if seq > last:
                return seq, "the line was put in: the device's row does not know it"
            if not hmac.compare_digest(mac, self._mac(_message(device_id, seq, at_us, actor, event, detail, previous))):
                return seq, "the line was changed, or put in"
            previous = mac
        if len(found) < last:
            return len(found) + 1, "the line is missing, at the end"
        if previous != head_mac:
            return last, "the device's row names another end of the chain"
        created = sum(event == AuditEvent.CREATED for _, _, _, event, _, _ in found)
        return (0, "it has certificates that no line tells of") if created < certified else None


def _message(
    device_id: int, seq: int, at_us: int, actor: str, event: str, detail: str, previous: bytes | None
) -> bytes:
    parts = (actor.encode(), event.encode(), detail.encode(), previous or b"")
    return struct.pack(">QQq", device_id, seq, at_us) + b"".join(struct.pack(">H", len(p)) + p for p in parts)
