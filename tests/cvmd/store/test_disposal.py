"""Certificates on their way out: which are due, and each compare-and-set with its one winner."""

import pytest

from cvmd.model import US, CertificateStatus, Issuance, Reason, Retiring
from tests.cvmd.store.conftest import Scene, a_claim, at_once


def retiring(scene: Scene, reason: Reason = Reason.EXPIRED, grace_s: int = 0) -> Retiring:
    """A certificate that is due, as the store gives it."""
    row = scene.offered()
    scene.sql(
        f"UPDATE certificates SET status = 'retiring', reason = '{reason}', not_before_us = {row.updated_us},"
        f" keep_until_us = {row.updated_us + grace_s * US} WHERE issuance_id = {row.id}"
    )
    return next(it for it in scene.store.retiring(99) if it.certificate_id == row.certificate_id)


def due(scene: Scene, limit: int = 16) -> list[int]:
    return [it.id for it in scene.store.retiring(limit)]


def columns(scene: Scene, names: str) -> tuple[object, ...]:
    (row,) = scene.sql(f"SELECT {names} FROM certificates")
    return tuple(row)


# retiring


def test_what_is_retiring_is_given_with_all_that_its_disposal_needs(scene: Scene) -> None:
    row = scene.offered()
    scene.sql("UPDATE certificates SET status = 'retiring', reason = 'loser', not_before_us = 1")
    (found,) = scene.store.retiring(16)
    certificate = scene.store.certificate_of(row)
    assert certificate is not None
    assert (found.certificate_id, found.arn) == (certificate.certificate_id, certificate.arn)
    assert (found.reason, found.in_grace, found.attempts, found.account) == (Reason.LOSER, False, 0, row.account)


def test_inv5_an_orphan_without_issuance_or_device_is_due_too(scene: Scene) -> None:
    scene.sql(
        "INSERT INTO certificates"
        " (certificate_id, account_id, arn, cert_der, status, reason, not_before_us, created_us)"
        " VALUES ('orphan', 1, 'arn', 'der', 'retiring', 'orphan', 1, 1)"
    )
    (found,) = scene.store.retiring(16)
    assert (found.arn, found.reason) == ("arn", Reason.ORPHAN)


def test_the_longest_due_come_first_up_to_the_limit(scene: Scene) -> None:
    numbers = [retiring(scene).id for _ in range(4)]
    scene.sql(f"UPDATE certificates SET not_before_us = 1 WHERE id = {numbers[2]}")
    expected = [numbers[2], numbers[0], numbers[1], numbers[3]]
    assert due(scene) == expected
    assert due(scene, 2) == expected[:2]


def test_what_lives_is_deleted_or_rests_is_not_due(scene: Scene) -> None:
    scene.active()
    scene.offered()
    resting, deleted = retiring(scene), retiring(scene)
    claim = a_claim()
    for it in (resting, deleted):
        assert scene.store.take_retiring(it, claim)
    scene.store.postpone(resting, claim, wait_s=600)
    scene.store.record_deleted(deleted, claim)
    assert due(scene) == []


def test_what_is_in_its_grace_says_so(scene: Scene) -> None:
    assert retiring(scene, Reason.SUPERSEDED, grace_s=600).in_grace


@pytest.mark.parametrize(
    ("policy", "failures", "for_s", "rests"),
    [("", 1, 600, True), ("", 0, 600, False), ("", 1, -1, False), ("policy", 1, 600, False)],
)
def test_nothing_is_due_while_the_account_s_breaker_is_open(
    scene: Scene, policy: str, failures: int, for_s: int, rests: bool
) -> None:
    certificate = retiring(scene)
    until_us = scene.now(b"dev-0").updated_us + for_s * US
    scene.sql(
        "INSERT INTO breakers (account_id, policy, failures, until_us, fault, detail, opened_us)"
        f" VALUES (1, '{policy}', {failures}, {until_us}, 'account', '', 1)"
    )
    assert due(scene) == ([] if rests else [certificate.id])


# A pass's compare-and-sets


def test_inv10_of_many_nodes_one_takes_it(scene: Scene) -> None:
    certificate = retiring(scene)
    assert sorted(at_once(6, lambda _: scene.store.take_retiring(certificate, a_claim()))) == [False] * 5 + [True]
    assert due(scene) == []


def test_a_taken_one_whose_answer_was_lost_is_ours(scene: Scene) -> None:
    certificate, claim = retiring(scene), a_claim()
    scene.database.lose = 1
    assert scene.store.take_retiring(certificate, claim)
    scene.database.lose = 1
    assert not scene.store.take_retiring(certificate, a_claim())


def test_a_lease_that_is_over_makes_it_due(scene: Scene) -> None:
    certificate = retiring(scene)
    assert scene.store.take_retiring(certificate, a_claim(lease_s=-1))
    assert due(scene) == [certificate.id]
    assert scene.store.take_retiring(certificate, a_claim())


def test_in_its_grace_it_is_looked_at_again_when_that_is_over(scene: Scene) -> None:
    certificate, claim = retiring(scene, Reason.SUPERSEDED, grace_s=600), a_claim()
    assert scene.store.take_retiring(certificate, claim)
    scene.store.record_inert(certificate, claim)
    not_before_us, keep_until_us, claimed = columns(scene, "not_before_us, keep_until_us, claim")
    assert (not_before_us, claimed) == (keep_until_us, None)


def test_a_grace_that_ended_during_the_pass_is_not_waited_for(scene: Scene) -> None:
    certificate, claim = retiring(scene, Reason.SUPERSEDED, grace_s=600), a_claim()
    assert scene.store.take_retiring(certificate, claim)
    scene.sql("UPDATE certificates SET keep_until_us = 1")
    scene.store.record_inert(certificate, claim)
    assert due(scene) == [certificate.id]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_deleted_certificate_keeps_its_row(scene: Scene, lost: int) -> None:
    certificate, claim = retiring(scene), a_claim()
    assert scene.store.take_retiring(certificate, claim)
    scene.database.lose = lost
    scene.store.record_deleted(certificate, claim)
    status, reason, not_before_us, claimed, deleted_us = columns(
        scene, "status, reason, not_before_us, claim, deleted_us"
    )
    assert (status, reason, not_before_us, claimed) == ("deleted", "expired", None, None)
    assert deleted_us is not None
    assert not scene.store.take_retiring(certificate, a_claim())


def test_whoever_lost_the_claim_records_nothing(scene: Scene) -> None:
    certificate, late = retiring(scene), a_claim(lease_s=-1)
    assert scene.store.take_retiring(certificate, late)
    assert scene.store.take_retiring(certificate, a_claim())
    before = columns(scene, "status, not_before_us, disposal_attempts, claim")
    scene.store.record_deleted(certificate, late)
    scene.store.record_inert(certificate, late)
    scene.store.postpone(certificate, late, wait_s=0)
    assert columns(scene, "status, not_before_us, disposal_attempts, claim") == before


# Again


def test_inv1_a_disposal_begins_anew_whoever_holds_it(scene: Scene) -> None:
    certificate, claim = retiring(scene, Reason.SUPERSEDED, grace_s=600), a_claim()
    assert scene.store.take_retiring(certificate, claim)
    row: Issuance = scene.now(b"dev-0")
    scene.store.dispose_again(row)
    assert due(scene) == [certificate.id]
    scene.store.record_deleted(certificate, claim)
    assert due(scene) == [certificate.id]


def test_a_certificate_that_lives_or_is_gone_is_not_disposed_of_again(scene: Scene) -> None:
    rows = [scene.offered(), scene.active()]
    certificate, claim = retiring(scene), a_claim()
    assert scene.store.take_retiring(certificate, claim)
    scene.store.record_deleted(certificate, claim)
    for row in [*rows, scene.now(b"dev-2")]:
        scene.store.dispose_again(row)
    statuses = [it for (it,) in scene.sql("SELECT status FROM certificates ORDER BY id")]
    assert statuses == [CertificateStatus.INACTIVE, CertificateStatus.ACTIVE, CertificateStatus.DELETED]
