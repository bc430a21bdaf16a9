"""A device's record as `cvmd devices show` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvmd.cli.output import print_fields, print_table, time
from cvmd.store.admin import DeviceRecord
from cvmd.store.chains import Line


def document(record: DeviceRecord) -> dict[str, Any]:
    """The record as JSON has it: digests in hex, times in ISO 8601, nothing that is sealed."""
    device = record.device
    return {
        "serial": device.serial.decode(),
        "product": record.product.name,
        "thing": device.thing,
        "policy": device.policy,
        "disabled": device.disabled,
        "activations": device.activations,
        "reissue_until": time(device.reissue_until_us),
        "issuances": [
            {
                "generation": issuance.generation,
                "state": issuance.state,
                "fault": issuance.fault,
                "key_source": issuance.key_source,
                "certificate_id": None if issuance.certificate_id is None else issuance.certificate_id.hex(),
                "offer_expires": time(issuance.expires_us),
                "updated": time(issuance.updated_us),
                "attempts": [
                    {
                        "number": attempt.number,
                        "outcome": attempt.outcome,
                        "detail": attempt.detail,
                        "opened": time(attempt.opened_us),
                        "closed": time(attempt.closed_us),
                    }
                    for attempt in record.attempts
                    if attempt.issuance_id == issuance.id
                ],
            }
            for issuance in record.issuances
        ],
        "certificates": [
            {
                "certificate_id": certificate.certificate_id.hex(),
                "status": certificate.status,
                "reason": certificate.reason,
                "thing": certificate.thing,
                "policy": certificate.policy,
                "arn": certificate.arn,
            }
            for certificate in record.certificates
        ],
    }


def timeline(record: DeviceRecord, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What became of it, in the order of time: the audit's decisions, and the ends of its Create calls."""
    events = [(it.at_us, it.event, it.detail, it.actor) for it in lines]
    generations = {it.id: it.generation for it in record.issuances}
    for attempt in record.attempts:
        what = f"generation {generations[attempt.issuance_id]}, attempt {attempt.number}: {attempt.outcome}"
        detail = f"{what}: {attempt.detail}" if attempt.detail else what
        events.append((attempt.closed_us or attempt.opened_us, "create", detail, "worker"))
    # Stable: what is of the same microsecond stays as it was written. A time that was tampered with may be no number.
    return [
        {"at": time(at_us), "event": event, "detail": detail, "by": actor}
        for at_us, event, detail, actor in sorted(events, key=_when)
    ]


def _when(event: Sequence[Any]) -> int:
    return event[0] if isinstance(event[0], int) else 0


def print_history(record: DeviceRecord) -> None:
    """The same for people."""
    found = document(record)
    issuances, certificates = found.pop("issuances"), found.pop("certificates")
    print_fields(found)
    _print_rows("issuances", issuances, ["generation", "state", "fault", "key_source", "offer_expires", "updated"])
    attempts = [
        {"generation": issuance["generation"], **attempt} for issuance in issuances for attempt in issuance["attempts"]
    ]
    _print_rows("attempts", attempts, ["generation", "number", "outcome", "detail", "opened", "closed"])
    _print_rows("certificates", certificates, ["certificate_id", "status", "reason", "thing", "policy"])


def _print_rows(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    if rows:
        print_table(columns, [[row[column] for column in columns] for row in rows], title)
