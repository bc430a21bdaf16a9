"""Attempts: one open at a time, under one claim, within the quota."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

from cvmd.model import Outcome, State
from cvmd.store import Database, Store
from cvmd.store.accounts import AccountRules
from tests.cvmd.store.conftest import TRAIL, Scene, a_claim, a_key, at_once

# open_attempt


def test_inv2_an_attempt_is_committed_with_claim_and_escrow(scene: Scene) -> None:
    claim, key = a_claim(), a_key()
    issuance = scene.queued()
    assert scene.store.open_attempt(issuance, claim, key=key)
    now = scene.now(issuance.serial)
    assert (now.state, now.claim, now.attempts, now.attempt_open) == (State.INTENT, claim.id, 1, True)
    assert (now.sealed_csr, now.sealed_escrow, now.public_key_id) == (b"sealed csr", b"sealed key", key.public_key_id)
    assert scene.outcomes(issuance.serial) == [Outcome.OPEN]


def test_of_many_workers_one_opens_the_attempt(scene: Scene) -> None:
    issuance = scene.queued()
    answers = at_once(6, lambda _: scene.store.open_attempt(issuance, a_claim(), key=a_key()))
    assert sorted(answers) == [False] * 5 + [True]
    assert scene.outcomes(issuance.serial) == [Outcome.OPEN]


def test_the_second_attempt_keeps_key_and_escrow(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    assert scene.store.close_attempt(issuance, claim.id, Outcome.UNKNOWN, "reset", wait_s=0)
    rested = scene.now(issuance.serial)
    assert scene.store.open_attempt(rested, a_claim(), key=None)
    now = scene.now(issuance.serial)
    assert (now.attempts, now.unknown_attempts, now.sealed_escrow) == (2, 1, b"sealed key")
    assert (now.sealed_csr, now.public_key_id) == (issuance.sealed_csr, issuance.public_key_id)
    assert scene.outcomes(issuance.serial) == [Outcome.UNKNOWN, Outcome.OPEN]


def test_no_attempt_is_opened_beside_an_open_one(scene: Scene) -> None:
    issuance = scene.intent(claim=a_claim(lease_s=-1))
    assert not scene.store.open_attempt(issuance, a_claim(), key=None)
    assert scene.outcomes(issuance.serial) == [Outcome.OPEN]


def test_no_attempt_is_opened_on_a_row_seen_before_another_attempt(scene: Scene) -> None:
    claim = a_claim()
    stale = scene.queued()
    assert scene.store.open_attempt(stale, claim, key=a_key())
    assert scene.store.close_attempt(scene.now(stale.serial), claim.id, Outcome.REFUSED, "", wait_s=0)
    assert not scene.store.open_attempt(stale, a_claim(), key=replace(a_key(), sealed_escrow=b"another"))
    assert scene.now(stale.serial).sealed_escrow == b"sealed key"


def test_without_a_slot_the_row_waits_for_one(scene: Scene) -> None:
    scene.admin.set_account("default", AccountRules(creates_per_s=1))
    scene.intent()
    issuance = scene.queued()
    assert not scene.store.open_attempt(issuance, a_claim(), key=a_key())
    view = scene.store.view(issuance.serial)
    assert view is not None
    assert view.issuance is not None
    assert view.issuance.state is State.QUEUED
    assert view.now_us < view.issuance.not_before_us <= view.now_us + 1_000_000


def test_a_refused_compare_and_set_takes_no_slot(scene: Scene) -> None:
    issuance = scene.intent()
    before = scene.sql("SELECT tat_us FROM pace")
    assert not scene.store.open_attempt(issuance, a_claim(), key=None)
    assert scene.sql("SELECT tat_us FROM pace") == before


_meeting: list[Barrier] = []


def _meet(barrier: Barrier) -> None:
    """Tell a process where the others wait."""
    _meeting.append(barrier)


def _open_all(url: str, first: int) -> list[bool]:
    """In a process of its own: try to open an attempt on each of the 30 rows, from the `first` on."""
    database = Database(url)
    store = Store(database, TRAIL)
    views = [store.view(b"dev-%d" % (number % 30)) for number in range(first, first + 30)]
    issuances = [view.issuance for view in views if view is not None and view.issuance is not None]
    _meeting[0].wait(60)
    answers = [store.open_attempt(it, a_claim(), key=a_key()) for it in issuances]
    database.close()
    return answers


def test_inv10_processes_together_hand_out_the_quota_and_none_twice(scene: Scene) -> None:
    for _ in range(30):
        scene.queued()
    scene.admin.set_account("default", AccountRules(creates_per_s=20))
    file = scene.database.path
    url = f"sqlite:///{file}" if file else scene.database.engine.url.render_as_string(hide_password=False)
    spawned = get_context("spawn")
    with ProcessPoolExecutor(3, spawned, initializer=_meet, initargs=(spawned.Barrier(3),)) as pool:
        processes = pool.map(_open_all, [url] * 3, [0, 10, 20])
        answers = [granted for process in processes for granted in process]
    opened, issuances = scene.sql("SELECT COUNT(*), COUNT(DISTINCT issuance_id) FROM attempts")[0]
    first_us, last_us = scene.sql("SELECT MIN(opened_us), MAX(opened_us) FROM attempts")[0]
    interval_us = 50_000
    assert sum(answers) == opened == issuances
    assert 20 <= opened <= 20 + (last_us - first_us) / interval_us + 1
    # Each grant moved the tat on by one interval at least: two that read the same tat would have moved it once.
    assert scene.sql("SELECT tat_us FROM pace")[0][0] >= first_us + (opened - 1) * interval_us


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
