"""AWS's inventory against the rows: what is found, what is mended, and what nobody touches."""

import threading

import pytest

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import (
    Created,
    Issuance,
    Reason,
    State,
)
from cvmd.reconcile import TO_DO, BrokenOff, Kind, Remedies, pacer
from tests.cvmd.conftest import Bench
from tests.cvmd.inventories import LONG_AGO_S, Side, left_by_a_crash
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, a_certificate, a_claim, arn_of


@pytest.fixture
def side(bench: Bench) -> Side:
    return Side(bench)


def hex_id(issuance: Issuance) -> str:
    assert issuance.certificate_id is not None
    return issuance.certificate_id.hex()


def test_inv5_what_a_lost_answer_left_is_found_by_its_key_and_retired(side: Side) -> None:
    issuance, created = left_by_a_crash(side)
    assert issuance.public_key_id is not None
    orphan = side.aws.put(created, key=issuance.public_key_id)
    assert side.found() == [(Kind.ORPHAN, orphan, False)]
    assert side.found(side.mend) == [(Kind.ORPHAN, orphan, True)]
    (retiring,) = side.bench.scene.store.retiring(9)
    assert (retiring.certificate_id.hex(), retiring.reason) == (orphan, Reason.ORPHAN)
    assert side.found(side.mend) == []


def test_inv5_what_no_row_tells_of_any_more_is_found_by_its_subject(side: Side) -> None:
    orphan = side.aws.put(a_certificate(), cn=side.bench.sealer.subject(b"u" * 16))
    assert side.found() == [(Kind.ORPHAN, orphan, False)]
    assert side.found(side.mend) == [(Kind.ORPHAN, orphan, True)]


def test_the_unattended_run_leaves_what_no_attempt_proves_and_what_is_young(side: Side) -> None:
    issuance, created = left_by_a_crash(side)
    assert issuance.public_key_id is not None
    by_subject = side.aws.put(a_certificate(), cn=side.bench.sealer.subject(b"u" * 16))
    side.aws.put(created, key=issuance.public_key_id, created_s=1e12)
    store = side.bench.scene.store
    report = side.run(Remedies(store.retire_orphan, store.dispose_of, unattended=True))
    assert [(it.name, it.mended) for it in report.findings] == [(by_subject, False)]
    assert report.in_flight == 1


def test_inv5_what_an_open_attempt_may_have_made_is_its_workers(side: Side) -> None:
    issuance, created = left_by_a_crash(side, closed=False)
    assert issuance.public_key_id is not None
    side.aws.put(created, key=issuance.public_key_id)
    report = side.run(side.mend)
    assert (report.findings, report.in_flight) == ([], 1)


def test_a_device_s_own_key_proves_nothing_outside_its_attempts(side: Side) -> None:
    issuance = side.bench.carry(side.bench.queued_by_csr(b"csr"))
    assert issuance.certificate_id is not None
    side.put(issuance, "INACTIVE")
    side.aws.put(a_certificate(), key=b"k" * 32)
    report = side.run(side.mend)
    assert (report.findings, report.foreign) == ([], 1)


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "REVOKED"])
def test_what_is_not_provably_ours_is_counted_and_never_touched(side: Side, status: str) -> None:
    side.aws.put(a_certificate(), status)
    side.aws.put(a_certificate(), status, thing="another's")
    report = side.run(side.mend)
    assert (report.findings, report.foreign, report.listed) == ([], 2, 2)


def test_inv1_an_active_orphan_is_never_deleted(side: Side) -> None:
    issuance, created = left_by_a_crash(side)
    assert issuance.public_key_id is not None
    orphan = side.aws.put(created, "ACTIVE", key=issuance.public_key_id)
    store = side.bench.scene.store
    assert side.found(Remedies(store.retire_orphan, store.dispose_of)) == [(Kind.UNKNOWN_ACTIVE, orphan, False)]
    assert store.retiring(9) == []


def test_inv1_an_adopted_certificate_is_the_device_s_only_active_one(side: Side) -> None:
    former = side.bench.scene.active()
    side.settle()
    side.put(former, "INACTIVE")
    newer = a_certificate()
    name = side.aws.put(newer, "ACTIVE", thing=former.thing)
    store = side.bench.scene.store
    assert side.found()[1:] == [(Kind.NOT_ACTIVE, hex_id(former), False)]
    assert side.found(Remedies(adopt=store.adopt, chosen=frozenset([name]))) == [(Kind.UNKNOWN_ACTIVE, name, True)]
    view = store.view(former.serial)
    assert view is not None
    assert (view.active, view.device.activations) == (newer.certificate_id, 2)
    certificate = store.certificate(former.device_id, newer.certificate_id)
    assert certificate is not None
    assert (certificate.thing, certificate.policy) == (former.thing, former.policy)
    assert [it.certificate_id for it in store.retiring(9)] == [former.certificate_id]
    assert side.found() == []


def test_one_that_was_not_named_is_not_adopted(side: Side) -> None:
    device = side.bench.scene.queued()
    name = side.aws.put(a_certificate(), "ACTIVE", thing=device.thing)
    assert side.found(Remedies(adopt=side.bench.scene.store.adopt, chosen=frozenset(["00"]))) == [
        (Kind.UNKNOWN_ACTIVE, name, False)
    ]


@pytest.mark.parametrize("state", [State.INTENT, State.ACKED])
def test_inv1_nothing_is_adopted_beside_what_is_being_made(side: Side, state: State) -> None:
    issuance = side.bench.scene.bring(state, a_claim())
    name = side.aws.put(a_certificate(), "ACTIVE", thing=issuance.thing)
    found = side.found(Remedies(adopt=side.bench.scene.store.adopt))
    assert (Kind.UNKNOWN_ACTIVE, name, False) in found
    assert side.bench.scene.now(issuance.serial).state is state


def test_what_was_queued_ends_when_one_is_adopted(side: Side) -> None:
    issuance = side.bench.scene.queued()
    side.aws.put(a_certificate(), "ACTIVE", thing=issuance.thing)
    assert [mended for _, _, mended in side.found(side.mend)] == [True]
    assert side.bench.scene.now(issuance.serial).state is State.CLOSED


def test_inv1_a_retired_one_that_is_active_again_is_disposed_of_again(side: Side) -> None:
    former = side.bench.scene.active()
    side.bench.scene.active(former.serial)
    side.bench.scene.sql(f"UPDATE certificates SET not_before_us = {2**60} WHERE status = 'retiring'")
    side.settle()
    name = side.put(former, "ACTIVE")
    side.put(side.bench.scene.now(former.serial), "ACTIVE")
    store = side.bench.scene.store
    assert side.found() == [(Kind.REVIVED, name, False)]
    assert store.retiring(9) == []
    assert side.found(side.mend) == [(Kind.REVIVED, name, True)]
    assert [it.certificate_id for it in store.retiring(9)] == [former.certificate_id]


def test_inv5_a_deleted_one_that_is_there_is_disposed_of_again(side: Side) -> None:
    former = side.bench.scene.active()
    side.bench.scene.active(former.serial)
    side.bench.scene.sql("UPDATE certificates SET status = 'deleted', deleted_us = 1 WHERE status = 'retiring'")
    side.settle()
    name = side.put(former, "INACTIVE")
    side.put(side.bench.scene.now(former.serial), "ACTIVE")
    assert side.found(side.mend) == [(Kind.REVIVED, name, True)]
    assert len(side.bench.scene.store.retiring(9)) == 1


@pytest.mark.parametrize(
    ("bring", "status", "kind"),
    [
        ("active", "INACTIVE", Kind.NOT_ACTIVE),
        ("active", "REVOKED", Kind.NOT_ACTIVE),
        ("offered", "REVOKED", Kind.NOT_ACTIVE),
        ("offered", "ACTIVE", Kind.EARLY),
        ("acked", "ACTIVE", None),
        ("offered", "INACTIVE", None),
        ("active", "ACTIVE", None),
    ],
)
def test_a_certificate_that_both_have_is_compared(side: Side, bring: str, status: str, kind: Kind | None) -> None:
    name = side.put(getattr(side.bench.scene, bring)(), status)
    assert side.found() == [], "what has just changed is not judged"
    side.settle()
    assert side.found() == ([] if kind is None else [(kind, name, False)])


def test_a_row_whose_certificate_aws_does_not_have_is_said(side: Side) -> None:
    lost, there = side.bench.scene.active(), side.bench.scene.offered()
    side.put(there, "INACTIVE")
    side.settle()
    assert side.found(side.mend) == [(Kind.LOST, hex_id(lost), False)]


def test_deep_finds_things_with_two(side: Side) -> None:
    device = side.bench.scene.active()
    assert device.certificate_id is not None
    side.settle()
    own = side.put(device, "ACTIVE")
    side.aws.things[arn_of(device.certificate_id)] = device.thing
    other = side.aws.put(Created(b"o" * 32, arn_of(b"o" * 32), b""), "ACTIVE", thing=device.thing)
    assert (Kind.MANY_ACTIVE, device.thing, False) not in side.found()
    (finding,) = [it for it in side.run(deep=True).findings if it.kind is Kind.MANY_ACTIVE]
    assert set(finding.detail.split()) == {own, other}


def test_a_fault_that_passes_is_asked_again_and_another_ends_the_run(side: Side) -> None:
    side.aws.put(a_certificate())
    side.aws.failing = [IssuerFault.THROTTLED, IssuerFault.UNKNOWN]
    assert side.run().foreign == 1
    side.aws.failing = [IssuerFault.ACCOUNT]
    with pytest.raises(IssuerError):
        side.run()


def test_what_is_in_a_row_is_not_asked_for_by_itself(side: Side) -> None:
    for _ in range(5):
        side.put(side.bench.scene.offered(), "INACTIVE")
    side.run()
    assert side.aws.described == []


def test_every_finding_says_what_to_do() -> None:
    assert set(TO_DO) == set(Kind)


def test_a_pause_ends_when_the_run_is_to_end() -> None:
    broken_off = threading.Event()
    pause = pacer(0.001, broken_off)
    pause()
    broken_off.set()
    with pytest.raises(BrokenOff):
        pause()


def test_a_list_that_broke_off_goes_on_where_it_was(side: Side) -> None:
    for number in range(5):
        side.aws.put(a_certificate(), cn=side.bench.sealer.subject(bytes([number]) * 16))
    side.aws.pages_failing = [IssuerFault.THROTTLED, IssuerFault.UNREACHABLE]
    assert len(side.found()) == 5
    side.aws.pages_failing = [IssuerFault.UNKNOWN] * 9
    with pytest.raises(IssuerError):
        side.run()


def test_inv5_what_is_recorded_while_it_is_looked_at_is_no_orphan(side: Side) -> None:
    claim, created = a_claim(), a_certificate()
    issuance = side.bench.scene.intent(claim=claim)
    assert issuance.public_key_id is not None
    side.aws.put(created, key=issuance.public_key_id)
    store = side.bench.scene.store
    side.aws.before_describe = lambda: store.record_created(
        issuance, claim, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA
    )
    assert side.found(side.mend) == []
    assert side.bench.scene.now(issuance.serial).certificate_id == created.certificate_id


@pytest.mark.parametrize(
    "change", ["state = 'closed', sealed_escrow = NULL", "expires_us = 1", "certificate_id = NULL"]
)
def test_inv5_what_is_inert_past_its_time_is_disposed_of(side: Side, change: str) -> None:
    over, going_on = side.bench.scene.offered(), side.bench.scene.offered()
    side.put(going_on, "INACTIVE")
    name = side.put(over, "INACTIVE")
    assert side.found() == []
    side.bench.scene.sql(f"UPDATE issuances SET {change} WHERE id = {over.id}")
    assert side.found() == [], "it may have been ended just now"
    side.settle()
    assert side.found() == [(Kind.INERT, name, False)]
    assert side.found(side.mend) == [(Kind.INERT, name, True)]
    (retiring,) = side.bench.scene.store.retiring(9)
    assert (retiring.certificate_id.hex(), retiring.reason) == (name, Reason.EXPIRED)
    assert side.found(side.mend) == []


def test_what_lies_on_a_device_s_thing_and_proves_nothing_is_named_and_left(side: Side) -> None:
    device = side.bench.scene.queued()
    name = side.aws.put(a_certificate(), "INACTIVE", thing=device.thing)
    assert side.found(side.mend) == [(Kind.UNATTRIBUTED, name, False)]


# Adoption


@pytest.mark.parametrize("newer_first", [True, False])
def test_inv1_of_two_that_no_row_knows_the_newer_one_is_adopted(side: Side, newer_first: bool) -> None:
    serial = side.bench.scene.device()
    cn = side.bench.sealer.subject(b"u" * 16)
    times = (LONG_AGO_S + 9, LONG_AGO_S) if newer_first else (LONG_AGO_S, LONG_AGO_S + 9)
    names = [side.aws.put(a_certificate(), "ACTIVE", cn=cn, created_s=it, thing="thing") for it in times]
    assert [mended for _, _, mended in side.found(side.mend)] == [True, True]
    view = side.bench.scene.store.view(serial)
    assert view is not None
    assert view.active is not None
    newer, older = names if newer_first else reversed(names)
    assert view.active.hex() == newer
    (retiring,) = side.bench.scene.store.retiring(9)
    assert (retiring.certificate_id.hex(), retiring.reason) == (older, Reason.SUPERSEDED)


def test_an_older_one_that_only_its_thing_ties_to_us_is_left(side: Side) -> None:
    device = side.bench.scene.active()
    side.put(device, "ACTIVE")
    side.settle()
    side.aws.made(hex_id(device), LONG_AGO_S + 9)
    name = side.aws.put(a_certificate(), "ACTIVE", thing=device.thing)
    assert side.found(side.mend) == [(Kind.UNKNOWN_ACTIVE, name, False)]
    assert side.bench.scene.store.retiring(9) == []


@pytest.mark.parametrize("tied_by", ["its thing", "our subject"])
def test_inv1_a_newer_one_that_may_be_anybody_s_takes_no_active_one_s_place_unless_named(
    side: Side, tied_by: str
) -> None:
    device = side.bench.scene.active()
    own = side.put(device, "ACTIVE")
    side.settle()
    cn, thing = "AWS IoT Certificate", device.thing
    if tied_by == "our subject":
        cn, thing = side.bench.sealer.subject(device.uid), None
    name = side.aws.put(a_certificate(), "ACTIVE", cn=cn, thing=thing, created_s=LONG_AGO_S + 9)
    assert side.found(side.mend) == [(Kind.UNKNOWN_ACTIVE, name, False)]
    assert side.bench.scene.store.retiring(9) == []
    named = Remedies(adopt=side.bench.scene.store.adopt, chosen=frozenset([name]))
    assert side.found(named) == [(Kind.UNKNOWN_ACTIVE, name, True)]
    assert [it.certificate_id.hex() for it in side.bench.scene.store.retiring(9)] == [own]


def test_inv1_where_the_row_s_own_is_inert_the_older_active_one_is_adopted(side: Side) -> None:
    device = side.bench.scene.active()
    side.put(device, "INACTIVE")
    side.settle()
    side.aws.made(hex_id(device), LONG_AGO_S + 9)
    name = side.aws.put(a_certificate(), "ACTIVE", thing=device.thing)
    assert side.found(side.mend) == [(Kind.UNKNOWN_ACTIVE, name, True)]


@pytest.mark.parametrize(("made_s", "adopted"), [(LONG_AGO_S + 9, False), (LONG_AGO_S - 9, True)])
def test_inv1_beside_an_acknowledged_one_only_a_newer_one_is_adopted(side: Side, made_s: float, adopted: bool) -> None:
    issuance = side.bench.scene.acked()
    acked = side.put(issuance, "INACTIVE")
    side.aws.made(acked, made_s)
    name = side.aws.put(a_certificate(), "ACTIVE", thing=issuance.thing)
    assert side.found(side.mend) == [(Kind.UNKNOWN_ACTIVE, name, adopted)]
    assert side.bench.scene.now(issuance.serial).state is (State.CLOSED if adopted else State.ACKED)
    assert [it.certificate_id.hex() for it in side.bench.scene.store.retiring(9)] == ([acked] if adopted else [])


def test_inv1_what_was_set_back_to_before_its_ack_is_adopted_in_its_own_row(side: Side) -> None:
    former = side.bench.scene.active()
    issuance = side.bench.scene.offered(former.serial)
    side.put(former, "INACTIVE")
    name = side.put(issuance, "ACTIVE")
    side.settle()
    assert side.found(Remedies(adopt=side.bench.scene.store.adopt)) == [(Kind.EARLY, name, True)]
    row = side.bench.scene.now(former.serial)
    assert (row.state, row.sealed_escrow) == (State.ACTIVE, None)
    view = side.bench.scene.store.view(former.serial)
    assert view is not None
    assert view.active == issuance.certificate_id
    assert [it.certificate_id for it in side.bench.scene.store.retiring(9)] == [former.certificate_id]
    side.settle()
    assert side.found() == []


def test_what_is_adopted_may_be_named_by_its_device(side: Side) -> None:
    first, second = (side.bench.scene.device() for _ in range(2))
    side.bench.scene.sql("UPDATE devices SET thing = 'other' WHERE id = 2")
    names = [side.aws.put(a_certificate(), "ACTIVE", thing=it) for it in ("thing", "other")]
    chosen = Remedies(adopt=side.bench.scene.store.adopt, chosen=frozenset([second.decode()]))
    assert side.found(chosen) == [(Kind.UNKNOWN_ACTIVE, names[0], False), (Kind.UNKNOWN_ACTIVE, names[1], True)]
    assert side.bench.scene.admin.show_device(first).certificates == []


def test_of_a_thing_of_two_devices_nobody_knows_whose_it_is(side: Side) -> None:
    for _ in range(2):
        side.bench.scene.device()
    name = side.aws.put(a_certificate(), "ACTIVE", thing="thing")
    assert side.found(side.mend) == [(Kind.UNKNOWN_ACTIVE, name, False)]


def test_deep_lets_a_replacement_take_its_time(side: Side) -> None:
    former = side.bench.scene.active()
    now = side.bench.scene.active(former.serial)
    for it in (former, now):
        side.aws.things[arn_of(bytes.fromhex(side.put(it, "ACTIVE")))] = it.thing
    assert side.found(deep=True) == []
