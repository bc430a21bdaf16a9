"""What is written on the trail, once for each decision."""

import os
import threading
from collections.abc import Callable

import pytest

from cvmd.model import AuditEvent, Fault, Issuance
from cvmd.store import AdminStore
from cvmd.store.chains import AuditRows, Line
from cvmd.store.intake import NewDevice
from tests.cvmd.store.conftest import ENDPOINT, MAC, ROOT_CA, TRAIL, Scene, a_certificate, a_claim, at_once


def lines(scene: Scene, serial: bytes) -> list[Line]:
    """The device's chain, which holds."""
    rows = AuditRows(scene.database)
    chain = rows.verify_one(serial, MAC)
    assert chain is not None
    assert (chain.broken_at, chain.problem) == (None, "")
    found = rows.lines(serial)
    assert found is not None
    assert chain.lines == len(found)
    return found


def told(scene: Scene, serial: bytes) -> list[tuple[str, str | None]]:
    """Events and details."""
    return [(line.event, line.detail) for line in lines(scene, serial)]


def digest(issuance: Issuance) -> str:
    assert issuance.certificate_id is not None
    return issuance.certificate_id.hex()


def test_two_certificates_from_the_import_to_the_disposal(scene: Scene) -> None:
    first = scene.active()
    second = scene.active(first.serial)
    claim = a_claim()
    (retiring,) = scene.store.retiring(10)
    assert scene.store.take_retiring(retiring, claim)
    scene.store.record_deleted(retiring, claim)
    assert told(scene, first.serial) == [
        (AuditEvent.ADDED, "thing policy"),
        (AuditEvent.QUEUED, "generation 1"),
        (AuditEvent.CREATED, digest(first)),
        (AuditEvent.ACKED, digest(first)),
        (AuditEvent.ACTIVATED, digest(first)),
        (AuditEvent.QUEUED, "generation 2"),
        (AuditEvent.CREATED, digest(second)),
        (AuditEvent.ACKED, digest(second)),
        (AuditEvent.ACTIVATED, digest(second)),
        (AuditEvent.RETIRED, f"superseded {digest(first)}"),
        (AuditEvent.DELETED, digest(first)),
    ]


def test_a_line_says_when_and_who(scene: Scene) -> None:
    before_us = scene.sql("SELECT created_us FROM products")[0][0]
    found = lines(scene, scene.acked().serial)
    assert [(line.seq, line.actor) for line in found] == [(1, "test"), (2, "device"), (3, "test"), (4, "device")]
    times = [line.at_us for line in found]
    assert times == sorted(times)
    assert before_us <= times[0] <= times[-1] < before_us + 60_000_000


def test_what_is_replaced_is_retired_by_the_device(scene: Scene) -> None:
    offered = scene.offered()
    again = scene.queued(offered.serial, replaces=offered.id)
    scene.queued(offered.serial, replaces=again.id)
    assert told(scene, offered.serial)[3:] == [
        (AuditEvent.RETIRED, f"replaced {digest(offered)}"),
        (AuditEvent.QUEUED, "generation 2"),
        (AuditEvent.QUEUED, "generation 3"),
    ]
    assert {line.actor for line in lines(scene, offered.serial)[3:]} == {"device"}


def test_a_fault_and_the_operators_answer(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    assert scene.store.fail(issuance, claim.id, Fault.THING_MISSING, "x" * 300)
    scene.admin.retry(issuance.serial)
    assert told(scene, issuance.serial)[2:] == [
        (AuditEvent.FAILED, f"thing-missing: {'x' * 300}"[:255]),
        (AuditEvent.RETRIED, ""),
    ]


def test_the_operators_switches_write_where_they_change_something(scene: Scene) -> None:
    serial = scene.device()
    for disabled in (False, True, True, False):
        scene.admin.set_disabled(serial, disabled)
    scene.admin.open_window(serial, 60)
    scene.admin.open_window(serial, 0)
    assert told(scene, serial)[1:] == [
        (AuditEvent.DISABLED, ""),
        (AuditEvent.ENABLED, ""),
        (AuditEvent.WINDOW, "for 60 s"),
        (AuditEvent.WINDOW, "for 0 s"),
    ]


def test_what_is_revoked_before_there_is_a_certificate_is_told_too(scene: Scene) -> None:
    issuance = scene.queued()
    scene.admin.revoke(issuance.serial)
    assert told(scene, issuance.serial)[2:] == [(AuditEvent.RETIRED, "cancelled")]


def test_what_is_not_committed_is_not_told(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.acked(claim=claim)
    scene.admin.revoke(issuance.serial)
    before = told(scene, issuance.serial)
    assert not scene.store.record_active(issuance, claim)
    assert not scene.store.fail(issuance, claim.id, Fault.REFUSED, "")
    assert not scene.store.queue(
        issuance.device_id, 1, uid=os.urandom(16), sealed_csr=None, public_key_id=None, replaces=None
    )
    assert told(scene, issuance.serial) == before


def test_without_a_trail_nothing_is_decided(scene: Scene) -> None:
    serial = scene.device()
    with pytest.raises(TypeError, match="without a trail"):
        AdminStore(scene.database).set_disabled(serial, True)
    assert not scene.admin.show_device(serial).device.disabled


def test_there_is_no_chain_without_a_device(scene: Scene) -> None:
    rows = AuditRows(scene.database)
    assert rows.lines(b"nobody") is None
    assert rows.verify_one(b"nobody", MAC) is None
    with pytest.raises(LookupError):
        scene.database.transaction(lambda t: TRAIL.add(t, 10**9, AuditEvent.WINDOW))


def test_many_devices_begin_with_a_line_each(scene: Scene) -> None:
    serials = [b"many-%04d" % number for number in range(2345)]
    scene.admin.add_devices("sensor", [NewDevice(serial, "thing", "policy", b"sealed") for serial in serials])
    chains = list(AuditRows(scene.database).verify(MAC))
    assert [chain.serial for chain in chains] == serials
    assert {(chain.lines, chain.broken_at) for chain in chains} == {(1, None)}


# Repeated: the answer to COMMIT was lost, twice; what was done is done, and told, once.

Act = Callable[[], object]


def creating(scene: Scene) -> Act:
    claim, created = a_claim(), a_certificate()
    issuance = scene.intent(claim=claim)
    return lambda: scene.store.record_created(issuance, claim, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)


def losing(scene: Scene) -> Act:
    issuance, created = scene.intent(), a_certificate()
    return lambda: scene.store.record_loser(issuance, created)


def failing(scene: Scene) -> Act:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    return lambda: scene.store.fail(issuance, claim.id, Fault.REFUSED, "")


def retrying(scene: Scene) -> Act:
    failing(scene)()
    (serial,) = scene.sql("SELECT serial FROM devices")[0]
    return lambda: scene.admin.retry(serial)


def queueing(scene: Scene) -> Act:
    offered = scene.offered()
    values = {"uid": os.urandom(16), "sealed_csr": None, "public_key_id": None}
    return lambda: scene.store.queue(offered.device_id, 2, **values, replaces=offered.id)


def acknowledging(scene: Scene) -> Act:
    offered = scene.offered()
    return lambda: scene.store.acknowledge(offered.id, bytes.fromhex(digest(offered)))


def expiring(scene: Scene) -> Act:
    offered = scene.offered()
    scene.sql("UPDATE issuances SET expires_us = 1")
    return lambda: scene.store.expire(offered)


def activating(scene: Scene) -> Act:
    claim = a_claim()
    acked = scene.acked(scene.active().serial, claim)
    return lambda: scene.store.record_active(acked, claim)


def revoking(scene: Scene) -> Act:
    offered = scene.offered()
    return lambda: scene.admin.revoke(offered.serial)


def deleting(scene: Scene) -> Act:
    revoking(scene)()
    claim = a_claim()
    (retiring,) = scene.store.retiring(10)
    assert scene.store.take_retiring(retiring, claim)
    return lambda: scene.store.record_deleted(retiring, claim)


def disabling(scene: Scene) -> Act:
    serial = scene.device()
    return lambda: scene.admin.set_disabled(serial, True)


def opening_a_window(scene: Scene) -> Act:
    serial = scene.device()
    return lambda: scene.admin.open_window(serial, 60)


def importing(scene: Scene) -> Act:
    return scene.device


_TWO_LINES = (queueing, activating)
"""Of the new one, and of the one that it takes the place of."""


@pytest.mark.parametrize(
    "prepare",
    [
        creating, losing, failing, retrying, queueing, acknowledging, expiring, activating, revoking, deleting,
        disabling, opening_a_window, importing,
    ],
)  # fmt: skip
def test_a_repeated_decision_is_told_once(scene: Scene, prepare: Callable[[Scene], Act]) -> None:
    act = prepare(scene)
    ((before,),) = scene.sql("SELECT COUNT(*) FROM audit")
    scene.database.lose_together = 2
    assert act() is not False
    assert scene.database.lose_together < 2
    scene.database.lose_together = 0
    ((after,),) = scene.sql("SELECT COUNT(*) FROM audit")
    assert after - before == (2 if prepare in _TWO_LINES else 1)
    ((serial,),) = scene.sql("SELECT serial FROM devices")
    lines(scene, serial)


# Side by side.


def test_inv10_those_who_decide_at_once_make_one_chain(scene: Scene) -> None:
    serial = scene.device()
    device_id = scene.admin.show_device(serial).device.id

    def add(number: int) -> None:
        scene.database.transaction(lambda t: TRAIL.add(t, device_id, AuditEvent.WINDOW, str(number)))

    at_once(8, lambda number: [add(10 * number + time) for time in range(1, 6)])
    assert {int(detail or "") for _, detail in told(scene, serial)[1:]} == {
        10 * number + time for number in range(8) for time in range(1, 6)
    }


def test_a_chain_that_grows_is_no_false_alarm(scene: Scene) -> None:
    serials = [scene.device() for _ in range(3)]
    rows, stopped = AuditRows(scene.database), threading.Event()

    def work(number: int) -> bool:
        if number > 0:
            while not stopped.is_set():
                scene.active(serials[number - 1])
            return True
        try:
            grown = 0
            while grown < 60:
                chains = list(rows.verify(MAC))
                assert {chain.problem for chain in chains} == {""}
                grown = sum(chain.lines for chain in chains)
            return True
        finally:
            stopped.set()

    assert at_once(4, work) == [True] * 4
