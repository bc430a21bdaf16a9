"""The rows of the breakers: who opens one, who has its trial, what is held back meanwhile."""

from cvmd.errors import IssuerFault
from tests.cvmd.store.conftest import Scene, a_claim


def an_hour(_failures: int) -> float:
    return 3600.0


def over(_failures: int) -> float:
    return -1.0


def trip(scene: Scene, policy: str = "", *, rest_s: object = an_hour, trial: bool = False) -> bool:
    assert callable(rest_s)
    return scene.store.trip(1, policy, IssuerFault.ACCOUNT, "no access", rest_s, trial=trial)


def failures(scene: Scene) -> list[int]:
    return [number for (number,) in scene.sql("SELECT failures FROM breakers ORDER BY policy")]


def due(scene: Scene) -> list[tuple[int, bool]]:
    return [(it.id, it.trial) for it in scene.store.due(16)]


def test_it_opens_once_whoever_else_fails(scene: Scene) -> None:
    assert trip(scene)
    assert not trip(scene), "calls that were under way say nothing new"
    assert failures(scene) == [1]


def test_each_failed_trial_makes_the_rest_longer(scene: Scene) -> None:
    seen: list[int] = []
    trip(scene, rest_s=lambda failures: seen.append(failures) or -1.0)
    for _ in range(3):
        assert scene.store.half_open(1, "policy")
        assert not trip(scene, rest_s=lambda failures: seen.append(failures) or -1.0, trial=True)
    assert (seen, failures(scene)) == ([1, 2, 3, 4], [4])


def test_one_has_the_trial(scene: Scene) -> None:
    trip(scene)
    assert not scene.store.half_open(1, "policy"), "it rests"
    scene.sql("UPDATE breakers SET until_us = 1")
    assert scene.store.half_open(1, "policy")
    assert not scene.store.half_open(1, "policy")
    scene.sql("UPDATE breakers SET trial_until_us = 1")
    assert scene.store.half_open(1, "policy"), "whoever had it is gone"


def test_closed_it_opens_anew_from_the_shortest_rest(scene: Scene) -> None:
    trip(scene, rest_s=over)
    trip(scene, rest_s=over)
    assert failures(scene) == [2]
    assert scene.store.close_breaker(1, "")
    assert not scene.store.close_breaker(1, "")
    assert trip(scene)
    assert failures(scene) == [1]


def test_inv5_an_account_that_rests_keeps_its_rows_where_they_are(scene: Scene) -> None:
    rows = [scene.acked(), scene.queued()]
    trip(scene)
    assert due(scene) == []
    scene.store.close_breaker(1, "")
    assert due(scene) == [(row.id, False) for row in rows]


def test_after_its_rest_one_row_is_let_through(scene: Scene) -> None:
    acked, _ = scene.acked(), scene.queued()
    trip(scene, rest_s=over)
    assert due(scene) == [(acked.id, True)]
    assert scene.store.half_open(1, acked.policy)
    assert due(scene) == []


def test_an_offer_that_has_expired_waits_for_its_account_too_and_is_no_trial(scene: Scene) -> None:
    offered = scene.offered()
    scene.sql("UPDATE issuances SET expires_us = 1, not_before_us = 1")
    trip(scene)
    assert due(scene) == []
    scene.sql("UPDATE breakers SET until_us = 1")
    assert due(scene) == [(offered.id, False)]


def test_a_policy_that_rests_holds_back_what_needs_it_and_nothing_else(scene: Scene) -> None:
    acked, queued, other = scene.acked(), scene.queued(), scene.queued()
    claim = a_claim()
    created = scene.created(claim=claim)
    assert scene.store.release(created, claim, wait_s=0)
    scene.sql(f"UPDATE devices SET policy = 'other' WHERE id = {other.device_id}")
    trip(scene, queued.policy)
    assert due(scene) == [(acked.id, False), (other.id, False)]
    scene.sql("UPDATE breakers SET until_us = 1")
    assert due(scene) == [(acked.id, False), (created.id, True), (other.id, False)]


def test_the_line_tells_what_rests_now_and_why(scene: Scene) -> None:
    scene.queued()
    assert scene.store.line(1).breakers == ()
    trip(scene)
    trip(scene, "policy-b", rest_s=over)
    line = scene.store.line(1)
    ((breaker),) = line.breakers
    assert (line.length, breaker.policy, breaker.fault, breaker.detail) == (1, "", "account", "no access")
    assert 3500 < (breaker.until_us - line.now_us) / 1e6 <= 3600


def test_a_trial_holds_rows_back_and_sends_no_device_away(scene: Scene) -> None:
    row = scene.queued()
    trip(scene)
    scene.sql("UPDATE breakers SET until_us = 1")
    assert scene.store.half_open(1, row.policy)
    assert (due(scene), scene.store.line(1).breakers) == ([], ())
    trip(scene, trial=True)
    assert len(scene.store.line(1).breakers) == 1
    scene.sql("UPDATE breakers SET until_us = 1")
    assert due(scene) == [(row.id, True)], "the former trial is over"
