"""A worker's steps: each a compare-and-set on (id, state, claim), right also when it is repeated."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from cvmd.model import CertificateStatus, Fault, Issuance, Outcome, Reason, State
from cvmd.ports import Claim
from cvmd.store import Database, Store
from cvmd.store.products import AccountRules
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, Scene, a_certificate, a_claim, a_key, at_once

# open_attempt


def test_inv2_an_attempt_is_committed_with_claim_and_escrow(scene: Scene) -> None:
    claim, key = a_claim(), a_key()
    issuance = scene.queued()
    assert scene.store.open_attempt(issuance, claim, key=key, sealed_escrow=b"sealed key")
    now = scene.now(issuance.serial)
    assert (now.state, now.claim, now.attempts, now.attempt_open) == (State.INTENT, claim.id, 1, True)
    assert (now.csr_der, now.public_key_id, now.sealed_escrow) == (b"csr", key.public_key_id, b"sealed key")
    assert scene.outcomes(issuance.serial) == [Outcome.OPEN]


def test_of_many_workers_one_opens_the_attempt(scene: Scene) -> None:
    issuance = scene.queued()
    answers = at_once(
        6, lambda _: scene.store.open_attempt(issuance, a_claim(), key=a_key(), sealed_escrow=b"sealed key")
    )
    assert sorted(answers) == [False] * 5 + [True]
    assert scene.outcomes(issuance.serial) == [Outcome.OPEN]


def test_the_second_attempt_keeps_key_and_escrow(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    assert scene.store.close_attempt(issuance, claim.id, Outcome.UNKNOWN, "reset", wait_s=0)
    rested = scene.now(issuance.serial)
    assert scene.store.open_attempt(rested, a_claim(), key=None, sealed_escrow=None)
    now = scene.now(issuance.serial)
    assert (now.attempts, now.unknown_attempts, now.sealed_escrow) == (2, 1, b"sealed key")
    assert (now.csr_der, now.public_key_id) == (issuance.csr_der, issuance.public_key_id)
    assert scene.outcomes(issuance.serial) == [Outcome.UNKNOWN, Outcome.OPEN]


def test_no_attempt_is_opened_beside_an_open_one(scene: Scene) -> None:
    issuance = scene.intent(claim=a_claim(lease_s=-1))
    assert not scene.store.open_attempt(issuance, a_claim(), key=None, sealed_escrow=None)
    assert scene.outcomes(issuance.serial) == [Outcome.OPEN]


def test_no_attempt_is_opened_on_a_row_seen_before_another_attempt(scene: Scene) -> None:
    claim = a_claim()
    stale = scene.queued()
    assert scene.store.open_attempt(stale, claim, key=a_key(), sealed_escrow=b"sealed key")
    assert scene.store.close_attempt(scene.now(stale.serial), claim.id, Outcome.REFUSED, "", wait_s=0)
    assert not scene.store.open_attempt(stale, a_claim(), key=a_key(), sealed_escrow=b"another")
    assert scene.now(stale.serial).sealed_escrow == b"sealed key"


def test_without_a_slot_the_row_waits_for_one(scene: Scene) -> None:
    scene.admin.set_account("default", AccountRules(creates_per_s=1))
    scene.intent()
    issuance = scene.queued()
    assert not scene.store.open_attempt(issuance, a_claim(), key=a_key(), sealed_escrow=b"sealed key")
    view = scene.store.view(issuance.serial)
    assert view is not None
    assert view.issuance is not None
    assert view.issuance.state is State.QUEUED
    assert view.now_us < view.issuance.not_before_us <= view.now_us + 1_000_000


def test_a_refused_compare_and_set_takes_no_slot(scene: Scene) -> None:
    issuance = scene.intent()
    before = scene.sql("SELECT tat_us FROM pace")
    assert not scene.store.open_attempt(issuance, a_claim(), key=None, sealed_escrow=None)
    assert scene.sql("SELECT tat_us FROM pace") == before


def _open_all(url: str) -> list[bool]:
    """In a process of its own: try to open an attempt on every row."""
    database = Database(url)
    store = Store(database)
    rows = [store.view(b"dev-%d" % number) for number in range(30)]
    answers = [
        store.open_attempt(view.issuance, a_claim(), key=a_key(), sealed_escrow=b"sealed key")
        for view in rows
        if view is not None and view.issuance is not None and view.issuance.state is State.QUEUED
    ]
    database.close()
    return answers


def test_inv10_processes_together_hand_out_the_quota_and_none_twice(scene: Scene) -> None:
    for _ in range(30):
        scene.queued()
    scene.admin.set_account("default", AccountRules(creates_per_s=20))
    file = scene.database.path
    url = f"sqlite:///{file}" if file else scene.database.engine.url.render_as_string(hide_password=False)
    with ProcessPoolExecutor(3) as pool:
        answers = [granted for process in pool.map(_open_all, [url] * 3) for granted in process]
    opened, issuances = scene.sql("SELECT COUNT(*), COUNT(DISTINCT issuance_id) FROM attempts")[0]
    first_us, last_us = scene.sql("SELECT MIN(opened_us), MAX(opened_us) FROM attempts")[0]
    assert sum(answers) == opened == issuances
    assert 20 <= opened <= 20 + 20 * (last_us - first_us) / 1_000_000 + 1


# close_attempt


def test_a_closed_attempt_releases_the_row_for_later(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    assert scene.store.close_attempt(issuance, claim.id, Outcome.REFUSED, "Throttling" * 100, wait_s=600)
    view = scene.store.view(issuance.serial)
    assert view is not None
    now = view.issuance
    assert now is not None
    assert (now.state, now.claim, now.lease_until_us, now.attempt_open) == (State.INTENT, None, None, False)
    assert (now.attempts, now.unknown_attempts) == (1, 0)
    assert now.not_before_us > view.now_us + 500_000_000
    assert scene.outcomes(issuance.serial) == [Outcome.REFUSED]


def test_only_its_holder_closes_an_attempt(scene: Scene) -> None:
    issuance = scene.intent()
    assert not scene.store.close_attempt(issuance, a_claim().id, Outcome.UNKNOWN, "", wait_s=0)
    assert not scene.store.close_attempt(issuance, None, Outcome.UNKNOWN, "", wait_s=0)
    assert scene.now(issuance.serial).attempt_open


def test_anybody_closes_the_attempt_of_a_lease_that_is_over(scene: Scene) -> None:
    issuance = scene.intent(claim=a_claim(lease_s=-1))
    answers = at_once(4, lambda _: scene.store.close_attempt(issuance, None, Outcome.UNKNOWN, "gone", wait_s=0))
    assert sorted(answers) == [False] * 3 + [True]
    now = scene.now(issuance.serial)
    assert (now.claim, now.unknown_attempts, now.attempts) == (None, 1, 1)


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
    assert (now.state, now.claim, now.not_before_us) == (State.OFFERED, None, 0)
    assert now.expires_us is not None
    assert now.expires_us > now.updated_us + 3_500_000_000
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
    scene.sql("UPDATE certificates SET status = 'retiring', reason = 'revoked' WHERE status = 'inactive'")
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


# The answer to COMMIT was lost: the step is repeated, and finds that it was done.

Repeated = Callable[[Store, Issuance, Claim], bool]
STEPS: dict[str, tuple[State, Repeated]] = {
    "open_attempt": (State.QUEUED, lambda s, i, c: s.open_attempt(i, c, key=a_key(), sealed_escrow=b"sealed")),
    "close_attempt": (State.INTENT, lambda s, i, c: s.close_attempt(i, c.id, Outcome.UNKNOWN, "", wait_s=0)),
    "record_created": (
        State.INTENT,
        lambda s, i, c: s.record_created(i, c, a_certificate(), endpoint=ENDPOINT, root_ca_der=ROOT_CA),
    ),
    "record_offered": (State.CREATED, lambda s, i, c: s.record_offered(i, c)),
    "record_active": (State.ACKED, lambda s, i, c: s.record_active(i, c)),
    "release": (State.ACKED, lambda s, i, c: s.release(i, c, wait_s=0)),
    "fail": (State.INTENT, lambda s, i, c: s.fail(i, c.id, Fault.REFUSED, "")),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_whose_answer_was_lost_is_found_to_be_done(scene: Scene, step: str) -> None:
    state, take_step = STEPS[step]
    claim = a_claim()
    issuance = scene.bring(state, claim)
    scene.database.lose = 2
    assert take_step(scene.store, issuance, claim)
    assert len(scene.admin.show_device(issuance.serial).attempts) == 1
    assert scene.now(issuance.serial).unknown_attempts <= 1


def test_a_taken_row_whose_answer_was_lost_is_ours(scene: Scene) -> None:
    issuance, claim = scene.acked(), a_claim()
    scene.database.lose = 1
    assert scene.store.take(issuance, claim)
    assert scene.now(issuance.serial).claim == claim.id


@pytest.mark.parametrize("step", STEPS)
def test_a_repeated_step_of_a_stranger_is_still_refused(scene: Scene, step: str) -> None:
    state, take_step = STEPS[step]
    claim = a_claim()
    issuance = scene.bring(state, claim)
    if state is State.QUEUED:
        assert scene.store.open_attempt(issuance, claim, key=a_key(), sealed_escrow=b"sealed")
    scene.database.lose = 1
    assert not take_step(scene.store, issuance, replace(a_claim(), id=os.urandom(16)))
    assert scene.now(issuance.serial).claim == claim.id


def test_a_slot_is_taken_once_by_a_repeated_attempt(scene: Scene) -> None:
    issuance = scene.queued()
    scene.admin.set_account("default", AccountRules(creates_per_s=1))
    scene.database.lose = 1
    assert scene.store.open_attempt(issuance, a_claim(), key=a_key(), sealed_escrow=b"sealed key")
    opened_us = scene.sql("SELECT opened_us FROM attempts")[0][0]
    assert scene.sql("SELECT tat_us FROM pace")[0][0] == pytest.approx(opened_us + 1_000_000, abs=500_000)
