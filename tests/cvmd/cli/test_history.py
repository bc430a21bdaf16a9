"""A device's record as JSON and for people; what made it is on other tests."""

from typing import Any

import pytest

from cvmd.cli import history
from cvmd.model import (
    Account,
    Auth,
    Certificate,
    CertificateStatus,
    Device,
    Fault,
    Issuance,
    KeySource,
    Outcome,
    Product,
    Reason,
    State,
)
from cvmd.store.admin import Attempt, DeviceRecord

SEALED = b"sealed-5ec7e7"
AT_US = 1_700_000_000_000_000
AT = "2023-11-14T22:13:20Z"
ACCOUNT = Account(1, "default", None, None, None, None, 10)
PRODUCT = Product(1, "meter", ACCOUNT, Auth.TOKEN, KeySource.EC_P256, 0, 60, 60, 5, False)
DEVICE = Device(1, b"A1", "t", "p", False, 2, 1, None, SEALED)


def issuance(number: int, state: State, **facts: Any) -> Issuance:
    known: dict[str, Any] = {
        "uid": bytes(16), "device_id": 1, "serial": b"A1", "claim": None, "lease_until_us": None,
        "not_before_us": 0, "attempts": 1, "unknown_attempts": 0, "attempt_open": False, "resume_state": None,
        "fault": None, "key_source": KeySource.EC_P256, "public_key_id": None, "sealed_csr": None,
        "certificate_id": None, "thing": "t", "policy": "p", "expires_us": None, "updated_us": AT_US,
        "account": ACCOUNT, "product": PRODUCT, "sealed_escrow": SEALED,
    }  # fmt: skip
    return Issuance(id=number, generation=number, state=state, **(known | facts))


RECORD = DeviceRecord(
    DEVICE,
    PRODUCT,
    issuances=[
        issuance(1, State.ACTIVE, certificate_id=b"\xab" * 32),
        issuance(2, State.FAILED, fault=Fault.THING_MISSING),
    ],
    attempts=[
        Attempt(1, 1, Outcome.DONE, None, AT_US, AT_US),
        Attempt(2, 1, Outcome.REFUSED, "no such thing", AT_US, None),
    ],
    certificates=[
        Certificate(b"\xab" * 32, 1, 1, "arn:1", b"DER", "t", "p", CertificateStatus.ACTIVE, None),
        Certificate(b"\xcd" * 32, 1, 1, "arn:2", b"DER", "t", "p", CertificateStatus.DELETED, Reason.LOSER),
    ],
)


def test_attempts_are_under_their_issuance() -> None:
    found = history.document(RECORD)

    first, second = found["issuances"]
    assert first["certificate_id"] == "ab" * 32
    assert first["offer_expires"] is None
    assert first["attempts"] == [{"number": 1, "outcome": "done", "detail": None, "opened": AT, "closed": AT}]
    assert (second["state"], second["fault"]) == ("failed", "thing-missing")
    assert [attempt["detail"] for attempt in second["attempts"]] == ["no such thing"]
    assert [(it["status"], it["reason"]) for it in found["certificates"]] == [("active", None), ("deleted", "loser")]


def test_inv6_nothing_sealed_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    history.print_history(RECORD)

    shown = capsys.readouterr().out + str(history.document(RECORD))
    assert "5ec7e7" not in shown
    assert SEALED.hex() not in shown


def test_people_see_issuances_attempts_and_certificates(capsys: pytest.CaptureFixture[str]) -> None:
    history.print_history(RECORD)

    printed = capsys.readouterr().out
    for word in ("issuances", "attempts", "certificates", "thing-missing", "no such thing", "cd" * 32, AT):
        assert word in printed
