"""A step whose answer to COMMIT was lost is repeated, and finds that it was done."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from cvmd.model import Fault, Issuance, Outcome, State
from cvmd.ports import Claim
from cvmd.store import Store
from cvmd.store.accounts import AccountRules
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, Scene, a_certificate, a_claim, a_key

Repeated = Callable[[Store, Issuance, Claim], bool]
STEPS: dict[str, tuple[State, Repeated]] = {
    "open_attempt": (State.QUEUED, lambda s, i, c: s.open_attempt(i, c, key=a_key())),
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
        assert scene.store.open_attempt(issuance, claim, key=a_key())
    scene.database.lose = 1
    assert not take_step(scene.store, issuance, replace(a_claim(), id=os.urandom(16)))
    assert scene.now(issuance.serial).claim == claim.id


def test_a_slot_is_taken_once_by_a_repeated_attempt(scene: Scene) -> None:
    issuance = scene.queued()
    scene.admin.set_account("default", AccountRules(creates_per_s=1))
    scene.database.lose = 1
    assert scene.store.open_attempt(issuance, a_claim(), key=a_key())
    opened_us = scene.sql("SELECT opened_us FROM attempts")[0][0]
    assert scene.sql("SELECT tat_us FROM pace")[0][0] == pytest.approx(opened_us + 1_000_000, abs=500_000)
