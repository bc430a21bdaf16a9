"""A worker's steps: each a compare-and-set on (id, state, claim)."""

import pytest
from sqlalchemy.exc import IntegrityError

from cvmd.model import CertificateStatus, Fault, Outcome, Reason, State
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
    scene.sql("UPDATE certificates SET status = 'retiring', reason = 'revoked', not_before_us = 1 WHERE status = 'inactive'")
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
    scene.store.remember_endpoint(issuance.account.id, ENDPOINT)
    assert scene.now(issuance.serial).account.data_endpoint == ENDPOINT
