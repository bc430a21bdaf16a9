"""What each kind of refusal tells the device, and what may be told in clear."""

import logging

import pytest

from cvmd.errors import IssuerError, IssuerFault, Kind, Refusal, refusal
from protocol.constants import CLEAR_STATUSES, Stage, Status

IN_CLEAR = (Kind.BUSY, Kind.DRAINING, Kind.AUTH)


@pytest.mark.parametrize("kind", Kind)
def test_inv9_every_kind_tells_status_stage_and_seconds(kind: Kind) -> None:
    row = refusal(kind)
    assert row.status in Status
    assert row.stage in Stage
    assert 1 <= row.retry_s <= 3600
    assert row.level in (logging.INFO, logging.WARNING, logging.ERROR)
    assert row.reason


@pytest.mark.parametrize("kind", IN_CLEAR)
def test_what_is_said_before_the_proof_may_be_said_in_clear(kind: Kind) -> None:
    assert refusal(kind).status in CLEAR_STATUSES


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in IN_CLEAR])
def test_inv8_all_else_is_for_who_has_proved_itself(kind: Kind) -> None:
    assert refusal(kind).status not in CLEAR_STATUSES


def test_what_shares_a_status_differs_by_its_detail() -> None:
    mapping = (Kind.THING_MISSING, Kind.POLICY_MISSING, Kind.THING_OCCUPIED)
    assert [(refusal(kind).status, refusal(kind).detail) for kind in mapping] == [
        (Status.MAPPING, 1),
        (Status.MAPPING, 2),
        (Status.MAPPING, 3),
    ]


def test_a_case_overrides_stage_seconds_and_detail_and_no_more() -> None:
    row = refusal(Kind.BUSY)
    assert refusal(Kind.BUSY, stage=Stage.PROOF, retry_s=7, detail=9) == Refusal(
        row.status, Stage.PROOF, 7, 9, row.level, row.reason
    )


def test_a_zero_overrides_too() -> None:
    row = refusal(Kind.THING_MISSING, retry_s=0, detail=0)
    assert (row.retry_s, row.detail) == (0, 0)


def test_an_issuer_error_reads_as_operation_and_code() -> None:
    error = IssuerError(IssuerFault.THROTTLED, "AttachPolicy", "ThrottlingException")
    assert str(error) == "AttachPolicy: ThrottlingException"
    error = IssuerError(IssuerFault.QUOTA, "Create", "LimitExceeded", "too many")
    assert str(error) == "Create: LimitExceeded: too many"
