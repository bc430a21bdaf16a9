"""The state of the whole, counted."""

from cvmd.model import US, CertificateStatus, Fault, State
from cvmd.store import Nodes
from cvmd.store.accounts import AccountRules
from cvmd.store.overview import OfProduct, Queue, read_status
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene, a_claim


def test_nothing_is_nothing(scene: Scene) -> None:
    status = read_status(scene.database)
    assert (status.issuances, status.certificates, status.breakers) == ([], [], [])
    assert (status.queues, status.nodes) == ([], [])
    assert status.products == [OfProduct("sensor")]
    assert {it.what: it.counts for it in status.rates} == dict.fromkeys(("made", "activated", "failed"), (0, 0, 0))


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


def test_certificates_that_aws_does_not_let_go_are_counted(scene: Scene) -> None:
    scene.active(serial := scene.device())
    scene.admin.revoke(serial)
    for stuck in (0, 1):
        (retiring,), claim = scene.store.retiring(9), a_claim()
        assert scene.store.take_retiring(retiring, claim)
        scene.store.postpone(retiring, claim, wait_s=0)
        (found,) = read_status(scene.database).certificates
        assert (found.status, found.count, found.stuck) == (CertificateStatus.RETIRING, 1, stuck)


def test_breakers_are_listed_until_they_are_closed_also_while_they_wait_for_their_trial(scene: Scene) -> None:
    scene.store.trip(1, "", "account", "no access", lambda _: -1.0, trial=False)
    scene.store.trip(1, "policy", "policy-missing", "p", lambda _: 60.0, trial=False)
    scene.device()
    found = read_status(scene.database).breakers
    assert [(it.account, it.breaker.policy, it.breaker.detail) for it in found] == [
        ("default", "", "no access"), ("default", "policy", "p")
    ]  # fmt: skip
    scene.store.close_breaker(1, "")
    assert [it.breaker.policy for it in read_status(scene.database).breakers] == ["policy"]


def test_a_breaker_of_a_policy_that_nobody_uses_any_more_is_not_listed(scene: Scene) -> None:
    scene.store.trip(1, "policy", "policy-missing", "p", lambda _: 60.0, trial=False)
    assert read_status(scene.database).breakers == []
    scene.admin.add_account("other", AccountRules())
    scene.admin.add_product("of-other", ProductRules(), account="other")
    scene.device(product="of-other")
    assert read_status(scene.database).breakers == []  # another account's policy of that name
    scene.device()
    assert [it.breaker.policy for it in read_status(scene.database).breakers] == ["policy"]


def test_devices_are_counted_by_product_and_newest_issuance(scene: Scene) -> None:
    scene.device(b"silent")
    scene.queued()
    again = scene.active()
    scene.queued(again.serial)
    scene.active()
    scene.offered()
    scene.admin.set_disabled(b"silent", True)
    (product,) = read_status(scene.database).products
    assert (product.devices, product.disabled, product.certified) == (5, 1, 2)
    assert product.newest == {None: 1, State.QUEUED: 2, State.ACTIVE: 1, State.OFFERED: 1}


def test_rates_count_within_their_windows(scene: Scene) -> None:
    scene.active()
    scene.active()
    scene.offered()
    scene.sql(f"UPDATE certificates SET activated_us = activated_us - {600 * US} WHERE live_device_id IS NOT NULL")
    scene.active()
    failed = scene.created(claim=(claim := a_claim()))
    assert scene.store.fail(failed, claim.id, Fault.THING_MISSING, "")
    scene.sql(f"UPDATE issuances SET updated_us = updated_us - {7200 * US} WHERE state = 'failed'")
    rates = {it.what: it.counts for it in read_status(scene.database).rates}
    assert rates == {"made": (5, 5, 5), "activated": (1, 3, 3), "failed": (0, 0, 1)}


def test_a_queue_is_what_an_account_has_still_to_create(scene: Scene) -> None:
    first = scene.queued()
    scene.intent()
    scene.offered()
    (queue,) = read_status(scene.database).queues
    assert (queue.account, queue.creates_per_s, queue.length) == ("default", 1000, 2)
    [(created_us,)] = scene.sql(f"SELECT created_us FROM issuances WHERE id = {first.id}")
    assert queue == Queue("default", 1000, 2, created_us)


def test_nodes_are_listed_for_a_day(scene: Scene) -> None:
    nodes = Nodes(scene.database)
    nodes.beat(b"1" * 16, 60.0)
    nodes.beat(b"2" * 16, 0.0)
    nodes.node_stopped(b"2" * 16)
    first, second = sorted(read_status(scene.database).nodes, key=lambda it: it.id)
    assert (first.id, first.stopped_us) == (b"1" * 16, None)
    assert first.seen_us > first.started_us
    assert second.stopped_us is not None
    scene.sql(f"UPDATE nodes SET seen_us = seen_us - {90_000 * US}")
    assert read_status(scene.database).nodes == []
