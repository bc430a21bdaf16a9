"""Revocation: whatever a device has ends in one transaction, or nothing of it does."""

import re

import pytest

from cvmd.errors import ConfigError, Kind
from cvmd.issuance import Decision, Queue, Refuse, Request, answer, answer_ack
from cvmd.model import CertificateStatus, Fault, Issuance, Outcome, Reason, State
from cvmd.store.products import ProductRules
from protocol.constants import Kind as ObjectKind
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, Scene, a_certificate, a_claim, at_once


def certificates(scene: Scene, serial: bytes) -> list[tuple[CertificateStatus, Reason | None]]:
    return [(it.status, it.reason) for it in scene.admin.show_device(serial).certificates]


def failed(scene: Scene, state: State) -> Issuance:
    """A row that failed in this state."""
    claim = a_claim()
    issuance = scene.bring(state, claim)
    assert scene.store.fail(issuance, claim.id, Fault.REFUSED, "")
    return scene.now(issuance.serial)


def told(scene: Scene, serial: bytes, *, have: bytes | None, ack: bool = False) -> Decision:
    """What the device is told that names this certificate."""
    view = scene.store.view(serial)
    assert view is not None
    held = None if have is None else scene.store.certificate(view.device.id, have)
    if ack:
        assert have is not None
        return answer_ack(view, have, held)
    return answer(view, Request(1 << ObjectKind.KEY_SEC1_PKCS1, have, False, None, None), held)


RETIRED = (CertificateStatus.RETIRING, Reason.REVOKED)


def test_inv1_the_active_certificate_retires_and_none_is_live(scene: Scene) -> None:
    issuance = scene.active()
    scene.admin.revoke(issuance.serial)
    assert certificates(scene, issuance.serial) == [RETIRED]
    (found,) = scene.store.retiring(9)
    assert (found.certificate_id, found.reason, found.in_grace) == (issuance.certificate_id, Reason.REVOKED, False)
    view = scene.store.view(issuance.serial)
    assert view is not None
    assert view.active is None
    assert scene.now(issuance.serial).state is State.ACTIVE  # it has become so, and counts


@pytest.mark.parametrize("state", [State.QUEUED, State.OFFERED, State.ACKED])
def test_inv6_what_is_open_is_closed_without_escrow(scene: Scene, state: State) -> None:
    issuance = {State.QUEUED: scene.queued, State.OFFERED: scene.offered, State.ACKED: scene.acked}[state]()
    scene.admin.revoke(issuance.serial)
    now = scene.now(issuance.serial)
    assert (now.state, now.sealed_escrow, now.not_before_us) == (State.CLOSED, None, 0)
    assert now.updated_us > issuance.updated_us
    assert scene.sql("SELECT reason FROM issuances") == [("cancelled",)]
    assert certificates(scene, issuance.serial) == ([] if state is State.QUEUED else [RETIRED])
    assert scene.store.due(9) == []


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED, State.ACKED])
def test_inv6_what_has_failed_is_closed_without_escrow(scene: Scene, state: State) -> None:
    issuance = failed(scene, state)
    scene.admin.revoke(issuance.serial)
    now = scene.now(issuance.serial)
    assert (now.state, now.sealed_escrow) == (State.CLOSED, None)
    assert certificates(scene, issuance.serial) == ([] if state is State.INTENT else [RETIRED])


def test_a_certificate_and_its_successor_end_together(scene: Scene) -> None:
    first = scene.active()
    scene.offered(first.serial)
    scene.admin.revoke(first.serial)
    assert certificates(scene, first.serial) == [RETIRED, RETIRED]


def test_another_device_keeps_what_it_has(scene: Scene) -> None:
    other, issuance = scene.active(), scene.active()
    scene.admin.revoke(issuance.serial)
    assert certificates(scene, other.serial) == [(CertificateStatus.ACTIVE, None)]


# What a worker holds


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED])
def test_what_is_being_made_now_is_let_be_and_nothing_is_half_done(scene: Scene, state: State) -> None:
    serial = scene.active().serial
    held = scene.intent(serial) if state is State.INTENT else scene.created(serial)
    before = certificates(scene, serial)
    with pytest.raises(ConfigError, match=r"is being made now: try again in \d+ seconds") as refused:
        scene.admin.revoke(serial)
    (seconds,) = re.findall(r"in (\d+) seconds", str(refused.value))
    assert 50 < int(seconds) <= 61
    assert scene.now(serial) == held
    assert certificates(scene, serial) == before


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED])
def test_inv5_what_its_worker_left_is_closed(scene: Scene, state: State) -> None:
    late = a_claim(lease_s=-1)
    issuance = scene.bring(state, late)
    scene.admin.revoke(issuance.serial)
    now = scene.now(issuance.serial)
    assert (now.state, now.claim, now.attempt_open, now.sealed_escrow) == (State.CLOSED, None, False, None)
    if state is State.INTENT:
        assert scene.outcomes(issuance.serial) == [Outcome.UNKNOWN]
        created = a_certificate()
        assert not scene.store.record_created(issuance, late, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)
    else:
        assert scene.outcomes(issuance.serial) == [Outcome.DONE]
        assert not scene.store.record_offered(issuance, late)


def test_inv1_a_worker_that_activates_does_not_win(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.acked(claim=claim)
    scene.admin.revoke(issuance.serial)
    assert not scene.store.record_active(issuance, claim)
    assert scene.now(issuance.serial).state is State.CLOSED
    assert certificates(scene, issuance.serial) == [RETIRED]


def test_inv1_of_activation_and_revocation_either_order_ends_without_a_live_one(scene: Scene) -> None:
    for _ in range(8):
        claim = a_claim()
        issuance = scene.acked(claim=claim)

        def race(number: int, issuance: Issuance = issuance, claim: object = claim) -> bool:
            if number:
                return scene.store.record_active(issuance, claim)
            scene.admin.revoke(issuance.serial)
            return True

        _, activated = at_once(2, race)
        assert certificates(scene, issuance.serial) == [RETIRED]
        assert scene.now(issuance.serial).state is (State.ACTIVE if activated else State.CLOSED)


# What is told afterwards


@pytest.mark.parametrize("ack", [False, True])
@pytest.mark.parametrize("state", [State.OFFERED, State.ACKED, State.ACTIVE])
def test_the_device_is_told_that_what_it_holds_is_stale(scene: Scene, state: State, ack: bool) -> None:
    issuance = {State.OFFERED: scene.offered, State.ACKED: scene.acked, State.ACTIVE: scene.active}[state]()
    scene.admin.revoke(issuance.serial)
    assert told(scene, issuance.serial, have=issuance.certificate_id, ack=ack) == Refuse(Kind.STALE)


def test_a_re_issue_counts_against_the_limit(scene: Scene) -> None:
    issuance = scene.active()
    scene.admin.revoke(issuance.serial)
    assert told(scene, issuance.serial, have=None) == Refuse(Kind.ISSUED)
    scene.admin.set_product("sensor", ProductRules(reissue_limit=1))
    assert told(scene, issuance.serial, have=None) == Queue(2)
    scene.active(issuance.serial)
    assert certificates(scene, issuance.serial) == [RETIRED, (CertificateStatus.ACTIVE, None)]
    scene.admin.revoke(issuance.serial)
    assert told(scene, issuance.serial, have=None) == Refuse(Kind.ISSUED)


# Nothing to revoke


def test_a_device_that_is_not_there_and_one_that_has_nothing_are_said_so(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="there is no device 'nobody'"):
        scene.admin.revoke(b"nobody")
    with pytest.raises(ConfigError, match="nothing to revoke"):
        scene.admin.revoke(scene.device())
    issuance = scene.active()
    scene.admin.revoke(issuance.serial)
    with pytest.raises(ConfigError, match="nothing to revoke"):
        scene.admin.revoke(issuance.serial)


def test_a_revocation_whose_answer_was_lost_was_done(scene: Scene) -> None:
    issuance = scene.active()
    scene.database.lose = 2
    scene.admin.revoke(issuance.serial)
    assert certificates(scene, issuance.serial) == [RETIRED]
