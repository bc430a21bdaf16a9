"""The audit trail: every decision on a credential, written by the transaction that makes it, chained a device.

The head of a device's chain is in its row, so a line that was taken out, also the last one, is missed; the MAC is
under a key that the database does not hold, so that none can be changed or put in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import insert, select, update

from cvmd.model import AuditEvent, Reason
from cvmd.store.engine import Contended, Transaction
from cvmd.store.schema import DETAIL, NOW, audit, devices, given

DEVICE: Final = "device"
"""The actor of what a device decides by itself."""
_ACTOR_SIZE: Final = 64
_BATCH: Final = 1000

_HEAD = select(devices.c.serial, devices.c.audit_seq, devices.c.audit_head, NOW).where(devices.c.id == given("device"))
_MOVE_HEAD = (
    update(devices)
    .where(devices.c.id == given("device"), devices.c.audit_seq == given("seen_seq"))
    .values(audit_seq=devices.c.audit_seq + 1, audit_head=given("new_mac"))
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

Mac = Callable[[bytes], bytes]
"""cvmd.sealing.Sealer.audit_mac."""


class Trail:
    """Writes lines in the name of one actor: a node, or an operator."""

    def __init__(self, mac: Mac, actor: str) -> None:
        self._mac = mac
        self._actor = actor[:_ACTOR_SIZE]

    def add(self, t: Transaction, device_id: int, event: AuditEvent, detail: str = "", *, actor: str = "") -> None:
        """One line at the end of the device's chain, whose row is locked from here on: a transaction's last act."""
        head = t.row(_HEAD, device=device_id)
        if head is None:
            raise LookupError(f"there is no device {device_id}")
        serial, seen, previous, now_us = head
        line = self._line(serial, seen + 1, now_us, event, detail, previous or b"", actor=actor)
        # Before the INSERT, whose foreign key would take a lock on the device's row that two can hold and none raise.
        if not t.change(_MOVE_HEAD, device=device_id, seen_seq=seen, new_mac=line["new_mac"]):
            raise Contended
        t.change(_ADD, device=device_id, **line)

    def first(self, serial: bytes, at_us: int, detail: str) -> dict[str, Any]:
        """The line that a new device begins with, for `add_first`; its `new_mac` is the head, and its seq is 1."""
        return self._line(serial, 1, at_us, AuditEvent.ADDED, detail, b"")

    def add_first(self, t: Transaction, lines: Mapping[bytes, dict[str, Any]]) -> None:
        """The lines of `first` by serial, of devices that this transaction has inserted; many at once."""
        serials = list(lines)
        for start in range(0, len(serials), _BATCH):
            batch = serials[start : start + _BATCH]
            found = t.rows(select(devices.c.id, devices.c.serial).where(devices.c.serial.in_(batch)))
            t.insert_many(_ADD, [{"device": device_id, **lines[serial]} for device_id, serial in found])

    def _line(
        self, serial: bytes, seq: int, at_us: int, event: AuditEvent, detail: str, previous: bytes, *, actor: str = ""
    ) -> dict[str, Any]:
        by, why = actor or self._actor, detail[:DETAIL]
        mac = self._mac(message(serial, (seq, at_us, by, event, why), previous))
        return {"new_seq": seq, "now_us": at_us, "by": by, "what": event, "why": why, "new_mac": mac}


def message(serial: bytes, line: Sequence[object], previous: bytes) -> bytes:
    """What the MAC of a line is over: (seq, at_us, actor, event, detail), whose it is, and the MAC before it.

    JSON, since whoever meddles may leave any type and any text in a column.
    """
    return json.dumps([serial.hex(), *line, previous.hex()], default=repr).encode()


def retired(reason: Reason, certificate_id: bytes) -> str:
    """The detail of a RETIRED line."""
    return f"{reason} {certificate_id.hex()}"
