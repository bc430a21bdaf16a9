"""The state of the whole, counted."""

from cvmd.model import CertificateStatus, Fault, State
from cvmd.store.overview import read_status
from tests.cvmd.store.conftest import Scene, a_claim


def test_nothing_is_nothing(scene: Scene) -> None:
    status = read_status(scene.database)
    assert (status.issuances, status.certificates, status.breakers) == ([], [], [])


def test_issuances_and_certificates_are_counted_by_where_they_are(scene: Scene) -> None:
    first, _ = scene.queued(), scene.queued()
    scene.active()
    failed = scene.created(claim=(claim := a_claim()))
    assert scene.store.fail(failed, claim.id, Fault.THING_MISSING, "")
    status = read_status(scene.database)
    assert [(it.state, it.fault, it.count) for it in status.issuances] == [
        (State.ACTIVE, None, 1), (State.FAILED, "thing-missing", 1), (State.QUEUED, None, 2)
    ]  # fmt: skip
    assert status.issuances[2].oldest_us == first.updated_us
    assert [(it.status, it.reason, it.count) for it in status.certificates] == [
        (CertificateStatus.ACTIVE, None, 1), (CertificateStatus.INACTIVE, None, 1)
    ]  # fmt: skip


def test_breakers_are_listed_until_they_are_closed_also_while_they_wait_for_their_trial(scene: Scene) -> None:
    scene.store.trip(1, "", "account", "no access", lambda _: -1.0, trial=False)
    scene.store.trip(1, "p", "policy-missing", "p", lambda _: 60.0, trial=False)
    found = read_status(scene.database).breakers
    assert [(it.account, it.breaker.policy, it.breaker.detail) for it in found] == [
        ("default", "", "no access"), ("default", "p", "p")
    ]  # fmt: skip
    scene.store.close_breaker(1, "")
    assert [it.breaker.policy for it in read_status(scene.database).breakers] == ["p"]
