"""A worker's steps: each a compare-and-set on (id, state, claim)."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from cvmd.model import CertificateStatus, Fault, Issuance, Outcome, Reason, State
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, Scene, a_certificate, a_claim, at_once

# take, release


@pytest.mark.parametrize("state", [State.CREATED, State.ACKED])
def test_of_many_workers_one_takes_the_row(scene: Scene, state: State) -> None:
    claim = a_claim()
    issuance = scene.bring(state, claim)
    assert not scene.store.take(issuance, a_claim())
    assert scene.store.release(issuance, claim, wait_s=0)
    assert sorted(at_once(6, lambda _: scene.store.take(issuance, a_claim()))) == [False] * 5 + [True]


def test_a_lease_that_is_over_is_taken(scene: Scene) -> None:
    late = a_claim(lease_s=-1)
    issuance = scene.created(claim=late)
    assert scene.store.take(issuance, a_claim())
    assert not scene.store.record_offered(issuance, late)


def test_what_waits_for_its_device_is_not_taken(scene: Scene) -> None:
    for issuance in (scene.queued(), scene.offered(), scene.active()):
        assert not scene.store.take(issuance, a_claim())


def test_a_released_row_waits(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.created(claim=claim)
    assert not scene.store.release(issuance, a_claim(), wait_s=0)
    assert scene.store.release(issuance, claim, wait_s=600)
    now = scene.now(issuance.serial)
    assert (now.state, now.claim) == (State.CREATED, None)
    assert now.not_before_us > issuance.updated_us + 500_000_000


# created, offered, active


def test_created_is_committed_with_certificate_attempt_and_bundle(scene: Scene) -> None:
    claim, created = a_claim(), a_certificate()
    issuance = scene.intent(claim=claim)
    assert scene.store.record_created(issuance, claim, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)
    now = scene.now(issuance.serial)
    assert (now.state, now.claim, now.certificate_id) == (State.CREATED, claim.id, created.certificate_id)
    certificate = scene.store.certificate_of(now)
    assert certificate is not None
    assert (certificate.arn, certificate.cert_der) == (created.arn, created.cert_der)
    assert (certificate.thing, certificate.policy) == ("thing", "policy")
    assert (certificate.status, certificate.reason) == (CertificateStatus.INACTIVE, None)
    assert scene.outcomes(issuance.serial) == [Outcome.DONE]


@pytest.mark.parametrize("lost", [0, 1])
def test_inv4_the_key_that_aws_made_comes_with_it_once(scene: Scene, lost: int) -> None:
    claim = a_claim()
    issuance = scene.queued()
    assert scene.store.open_attempt(issuance, claim, key=None)
    issuance = scene.now(issuance.serial)
    assert issuance.sealed_escrow is None
    bundle = {"endpoint": ENDPOINT, "root_ca_der": ROOT_CA, "sealed_escrow": b"sealed key"}
    scene.database.lose = lost
    assert scene.store.record_created(issuance, claim, a_certificate(), **bundle)
    assert scene.now(issuance.serial).sealed_escrow == b"sealed key"
    assert not scene.store.record_created(issuance, claim, a_certificate(), **bundle | {"sealed_escrow": b"another"})
    assert scene.now(issuance.serial).sealed_escrow == b"sealed key"


def test_an_issuance_without_certificate_has_none(scene: Scene) -> None:
    assert scene.store.certificate_of(scene.intent()) is None


def test_a_stale_owner_records_nothing(scene: Scene) -> None:
    issuance = scene.intent()
    assert not scene.store.record_created(issuance, a_claim(), a_certificate(), endpoint=ENDPOINT, root_ca_der=ROOT_CA)
    assert scene.admin.show_device(issuance.serial).certificates == []


def test_offered_releases_and_expires(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.created(claim=claim)
    assert not scene.store.record_offered(issuance, a_claim())
    assert scene.store.record_offered(issuance, claim)
    now = scene.now(issuance.serial)
    assert (now.state, now.claim) == (State.OFFERED, None)
    assert now.expires_us is not None
    assert now.expires_us > now.updated_us + 3_500_000_000
    assert now.not_before_us == pytest.approx(now.expires_us, abs=1_000_000)
    assert not scene.store.record_offered(issuance, claim)


def test_inv1_the_former_certificate_retires_with_the_activation_of_the_new(scene: Scene) -> None:
    first = scene.active()
    second = scene.active(first.serial)
    record = scene.admin.show_device(first.serial)
    assert [(it.certificate_id, it.status, it.reason) for it in record.certificates] == [
        (first.certificate_id, CertificateStatus.RETIRING, Reason.SUPERSEDED),
        (second.certificate_id, CertificateStatus.ACTIVE, None),
    ]
    assert record.device.activations == 2
    (times,) = scene.sql("SELECT retired_us, not_before_us, keep_until_us FROM certificates WHERE status = 'retiring'")
    assert times[0] == pytest.approx(times[1], abs=1_000_000)
    assert times[2] - times[0] == pytest.approx(second.product.grace_s * 1_000_000, abs=1_000_000)


def test_a_certificate_that_was_retired_meanwhile_does_not_come_back(scene: Scene) -> None:
    first = scene.active()
    claim = a_claim()
    second = scene.acked(first.serial, claim)
    scene.sql(
        "UPDATE certificates SET status = 'retiring', reason = 'revoked', not_before_us = 1 WHERE status = 'inactive'"
    )
    assert not scene.store.record_active(second, claim)
    view = scene.store.view(first.serial)
    assert view is not None
    assert view.active == first.certificate_id
    assert scene.now(first.serial).state is State.ACKED


def test_inv1_the_database_refuses_a_second_active_certificate(scene: Scene) -> None:
    first = scene.active()
    scene.acked(first.serial)
    with pytest.raises(IntegrityError):
        scene.sql("UPDATE certificates SET status = 'active', live_device_id = device_id")


# expire, lose


def over(scene: Scene, issuance: Issuance) -> Issuance:
    """The offer once its time is over."""
    scene.sql(f"UPDATE issuances SET expires_us = 1, not_before_us = 1 WHERE id = {issuance.id}")
    return scene.now(issuance.serial)


@pytest.mark.parametrize("lost", [0, 1])
def test_inv5_an_offer_that_is_over_is_closed_and_its_certificate_retires(scene: Scene, lost: int) -> None:
    issuance = over(scene, scene.offered())
    scene.database.lose = lost
    assert scene.store.expire(issuance)
    assert not scene.store.expire(issuance)
    now = scene.now(issuance.serial)
    assert (now.state, now.sealed_escrow, now.not_before_us) == (State.CLOSED, None, 0)
    assert now.updated_us > issuance.updated_us
    assert scene.sql("SELECT reason FROM issuances") == [("expired",)]
    (certificate,) = scene.store.retiring(9)
    assert (certificate.certificate_id, certificate.reason) == (issuance.certificate_id, Reason.EXPIRED)
    assert scene.outcomes(issuance.serial) == [Outcome.DONE]


def test_nothing_else_expires(scene: Scene) -> None:
    for issuance in (scene.offered(), over(scene, scene.created()), over(scene, scene.acked())):
        assert not scene.store.expire(issuance)
        assert scene.now(issuance.serial) == issuance
    assert scene.store.retiring(9) == []


def test_inv3_of_expiry_and_ack_one_wins(scene: Scene) -> None:
    for ms in range(10):
        issuance = scene.offered()
        digest = issuance.certificate_id
        assert digest is not None
        scene.sql(f"UPDATE issuances SET expires_us = updated_us + {1000 * ms} WHERE id = {issuance.id}")

        def race(number: int, issuance: Issuance = issuance, digest: bytes = digest) -> bool:
            if number:
                return scene.store.acknowledge(issuance.id, digest)
            while scene.now(issuance.serial).state is State.OFFERED:
                if scene.store.expire(issuance):
                    return True
            return False

        expired, acknowledged = at_once(2, race)
        assert expired != acknowledged
        assert scene.now(issuance.serial).state is (State.CLOSED if expired else State.ACKED)


@pytest.mark.parametrize("lost", [0, 1])
def test_inv5_a_certificate_whose_claim_was_lost_is_recorded_as_a_loser(scene: Scene, lost: int) -> None:
    issuance, created = scene.intent(), a_certificate()
    scene.database.lose = lost
    scene.store.record_loser(issuance, created)
    (found,) = scene.store.retiring(9)
    assert (found.certificate_id, found.arn, found.reason) == (created.certificate_id, created.arn, Reason.LOSER)
    (certificate,) = scene.admin.show_device(issuance.serial).certificates
    assert (certificate.issuance_id, certificate.device_id) == (issuance.id, issuance.device_id)
    assert scene.now(issuance.serial) == issuance


def test_a_certificate_that_was_recorded_all_the_same_is_no_loser(scene: Scene) -> None:
    claim, created = a_claim(), a_certificate()
    issuance = scene.intent(claim=claim)
    assert scene.store.record_created(issuance, claim, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)
    scene.store.record_loser(issuance, created)
    (certificate,) = scene.admin.show_device(issuance.serial).certificates
    assert certificate.status is CertificateStatus.INACTIVE


# fail


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED, State.ACKED])
def test_a_failed_row_keeps_where_to_resume(scene: Scene, state: State) -> None:
    claim = a_claim()
    issuance = scene.bring(state, claim)
    assert not scene.store.fail(issuance, a_claim().id, Fault.THING_MISSING, "no such thing")
    assert not scene.store.fail(issuance, None, Fault.THING_MISSING, "no such thing")
    assert scene.store.fail(issuance, claim.id, Fault.THING_MISSING, "no such thing" * 100)
    now = scene.now(issuance.serial)
    assert (now.state, now.resume_state, now.fault, now.claim) == (State.FAILED, state, Fault.THING_MISSING, None)
    assert not now.attempt_open
    assert now.sealed_escrow == issuance.sealed_escrow
    assert scene.outcomes(issuance.serial) == [Outcome.REFUSED if state is State.INTENT else Outcome.DONE]


def test_a_row_that_nobody_holds_fails_too(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    assert scene.store.close_attempt(issuance, claim.id, Outcome.UNKNOWN, "", wait_s=0)
    rested = scene.now(issuance.serial)
    assert scene.store.fail(rested, None, Fault.ATTEMPTS_EXHAUSTED, "")
    assert scene.now(issuance.serial).fault is Fault.ATTEMPTS_EXHAUSTED
    assert scene.outcomes(issuance.serial) == [Outcome.UNKNOWN]


def test_the_endpoint_is_remembered(scene: Scene) -> None:
    issuance = scene.queued()
    scene.store.remember_endpoint(issuance.account, ENDPOINT)
    assert scene.now(issuance.serial).account.data_endpoint == ENDPOINT


def test_an_endpoint_that_was_asked_elsewhere_is_not_remembered(scene: Scene) -> None:
    issuance = scene.queued()
    elsewhere = replace(scene.admin.show_account("default").rules, region="us-east-1")
    scene.admin.set_account("default", elsewhere)
    scene.store.remember_endpoint(issuance.account, ENDPOINT)
    assert scene.now(issuance.serial).account.data_endpoint is None
