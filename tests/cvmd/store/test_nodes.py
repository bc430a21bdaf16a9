"""The nodes' rows, and what a heartbeat reads with them."""

from cvmd import __version__
from cvmd.meter import Workload
from cvmd.model import US, Fault, State
from cvmd.store import Nodes
from cvmd.store.intake import NewDevice
from tests.cvmd.store.conftest import Scene, a_claim

ONE, OTHER = b"1" * 16, b"2" * 16


def beat(scene: Scene, node: bytes = ONE, uptime_s: float = 0.0) -> Workload:
    return Nodes(scene.database).beat(node, uptime_s)


def test_a_node_that_beats_is_alive_until_it_stops_or_falls_silent(scene: Scene) -> None:
    assert beat(scene).nodes == {__version__: 1}
    assert beat(scene, OTHER).nodes == {__version__: 2}
    Nodes(scene.database).node_stopped(OTHER)
    assert beat(scene).nodes == {__version__: 1}
    assert beat(scene, OTHER).nodes == {__version__: 2}
    scene.sql("UPDATE nodes SET seen_us = seen_us - 31000000")
    assert beat(scene).nodes == {__version__: 1}


def test_a_row_tells_since_when_the_process_runs(scene: Scene) -> None:
    for uptime_s in (100.0, 200.0):
        beat(scene, uptime_s=uptime_s)
        # SQLite's clock goes on inside of a statement.
        [(count, up_us)] = scene.sql("SELECT COUNT(*), MAX(seen_us - started_us) FROM nodes")
        assert (count, round(up_us / US)) == (1, uptime_s)


def test_a_beat_whose_answer_is_lost_is_one_row(scene: Scene) -> None:
    scene.database.lose = 1
    assert beat(scene).nodes == {__version__: 1}


def test_what_waits_is_counted_by_account_and_state(scene: Scene) -> None:
    assert beat(scene) == Workload([], [], 0, {__version__: 1})
    scene.queued()
    scene.queued()
    scene.offered()
    scene.active()
    failed = scene.created(claim=(claim := a_claim()))
    assert scene.store.fail(failed, claim.id, Fault.THING_MISSING, "")
    scene.sql("UPDATE issuances SET created_us = created_us - 90000000 WHERE state = 'queued'")
    found = {(it.account, it.state): it for it in beat(scene).waiting}
    assert {key: it.count for key, it in found.items()} == {
        ("default", State.QUEUED): 2, ("default", State.FAILED): 1
    }  # fmt: skip
    assert 90 <= found["default", State.QUEUED].oldest_s < 1000


def test_certificates_that_ended_are_counted_until_they_are_gone(scene: Scene) -> None:
    scene.store.expire(offered := scene.offered())
    assert beat(scene).retiring == 0
    scene.sql(f"UPDATE issuances SET expires_us = 1 WHERE id = {offered.id}")
    assert scene.store.expire(offered)
    assert beat(scene).retiring == 1


def test_breakers_are_counted_without_those_of_policies_that_nobody_uses(scene: Scene) -> None:
    for policy in ("", "used", "unused"):
        scene.store.trip(1, policy, "policy-missing" if policy else "account", "", lambda _: 60.0, trial=False)
    scene.admin.add_device("sensor", NewDevice(b"a", "thing", "used", b"sealed token"))
    found = {it.fault: it.count for it in beat(scene).breakers}
    assert found == {"account": 1, "policy-missing": 1}
