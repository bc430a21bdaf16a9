"""What a dead process held is due at once; what anybody else holds is not."""

from cvmd.model import CertificateStatus, Reason
from cvmd.ports import Claim
from tests.cvmd.store.conftest import Scene

MINE, OTHER = b"m" * 16, b"o" * 16


def due(scene: Scene) -> list[int]:
    return [it.id for it in scene.store.due(16)]


def test_inv5_the_claims_of_the_dead_are_free_and_no_others(scene: Scene) -> None:
    rows = [
        make(claim=Claim.of(node, 60)) for node in (MINE, OTHER) for make in (scene.acked, scene.created, scene.intent)
    ]
    assert due(scene) == []
    assert scene.store.take_over(MINE[:8]) == 3
    assert due(scene) == [it.id for it in rows[:3]]
    assert scene.store.take_over(MINE[:8]) == 0


def test_inv5_an_attempt_that_the_dead_had_open_is_still_open(scene: Scene) -> None:
    scene.intent(claim=Claim.of(MINE, 60))
    scene.store.take_over(MINE[:8])
    (row,) = scene.store.due(16)
    assert row.attempt_open


def test_without_a_prefix_all_are_of_the_dead(scene: Scene) -> None:
    scene.acked(claim=Claim.of(MINE, 60))
    scene.acked(claim=Claim.of(OTHER, 60))
    assert scene.store.take_over(b"") == 2


def test_inv5_what_the_dead_was_disposing_of_goes_on(scene: Scene) -> None:
    former = scene.active()
    scene.sql(
        f"UPDATE certificates SET status = '{CertificateStatus.RETIRING}', reason = '{Reason.REVOKED}',"
        " live_device_id = NULL, not_before_us = 1"
    )
    (retiring,) = scene.store.retiring(9)
    assert retiring.certificate_id == former.certificate_id
    assert scene.store.take_retiring(retiring, Claim.of(MINE, 60))
    assert scene.store.retiring(9) == []
    assert scene.store.take_over(MINE[:8]) == 1
    assert [it.id for it in scene.store.retiring(9)] == [retiring.id]
