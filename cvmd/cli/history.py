"""A device's record as `cvmd devices show` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvmd.cli.output import print_fields, print_table, time
from cvmd.store.admin import DeviceRecord


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
                "expires": time(issuance.expires_us),
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


def print_history(record: DeviceRecord) -> None:
    """The same for people."""
    found = document(record)
    issuances, certificates = found.pop("issuances"), found.pop("certificates")
    print_fields(found)
    _print_rows("issuances", issuances, ["generation", "state", "fault", "key_source", "expires", "updated"])
    attempts = [
        {"generation": issuance["generation"], **attempt} for issuance in issuances for attempt in issuance["attempts"]
    ]
    _print_rows("attempts", attempts, ["generation", "number", "outcome", "detail", "opened", "closed"])
    _print_rows("certificates", certificates, ["certificate_id", "status", "reason", "thing", "policy"])


def _print_rows(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    if rows:
        print_table(columns, [[row[column] for column in columns] for row in rows], title)
