"""The rows that certificates get which AWS has and no row knew: each transaction whole, once, and by one."""

import os
from dataclasses import replace

import pytest

from cvmd.model import (
    Account,
    Attribution,
    CertificateStatus,
    Created,
    DescribedCertificate,
    Issuance,
    Outcome,
    Reason,
    State,
)
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, Scene, a_claim, at_once


def found(status: str = "INACTIVE", digest: bytes | None = None) -> DescribedCertificate:
    digest = digest or os.urandom(32)
    return DescribedCertificate(digest, f"arn:cert/{digest.hex()}", status, 1.5, b"der", None, b"?" * 32)


def whose(issuance: Issuance, *, made_by_it: bool = True) -> Attribution:
    return Attribution(issuance.id if made_by_it else None, issuance.device_id, issuance.serial, "attempt", False)


def account(scene: Scene) -> Account:
    return scene.store.accounts()[0]


def retire(scene: Scene, orphan: DescribedCertificate, of: Attribution) -> bool:
    return scene.store.retire_orphan(account(scene), orphan, of)


def adopt(scene: Scene, certificate: DescribedCertificate, of: Attribution, rival: bytes | None = None) -> bool:
    return scene.store.adopt(account(scene), certificate, of, rival)


def events(scene: Scene, *kinds: str) -> list[tuple[str, str]]:
    """Of the trail, what happened to certificates that were found."""
    return [(it, detail) for it, detail in scene.sql("SELECT event, detail FROM audit ORDER BY id") if it in kinds]


def live(scene: Scene, serial: bytes) -> bytes | None:
    view = scene.store.view(serial)
    assert view is not None
    return view.active


def closed_intent(scene: Scene) -> Issuance:
    """Its attempt has ended unknown."""
    row = scene.intent()
    assert row.claim is not None
    assert scene.store.close_attempt(row, row.claim, Outcome.UNKNOWN, "", wait_s=0)
    return scene.now(row.serial)


# Orphans


@pytest.mark.parametrize("lost", [0, 1])
def test_inv5_an_orphan_s_row_retires_and_is_on_its_device_s_trail(scene: Scene, lost: int) -> None:
    row, orphan = closed_intent(scene), found()
    scene.database.lose_together = lost
    assert retire(scene, orphan, whose(row))
    (due,) = scene.store.retiring(9)
    assert (due.certificate_id, due.arn, due.reason) == (orphan.certificate_id, orphan.arn, Reason.ORPHAN)
    assert not due.in_grace
    assert events(scene, "retired") == [("retired", f"orphan {orphan.certificate_id.hex()}")]
    assert not retire(scene, orphan, whose(row)), "it has its row"


def test_inv5_an_orphan_of_no_device_has_a_row_too(scene: Scene) -> None:
    assert retire(scene, found(), Attribution(None, None, None, "subject", False))
    assert len(scene.store.retiring(9)) == 1


def test_inv5_while_an_attempt_is_open_it_is_its_worker_s(scene: Scene) -> None:
    row, made = scene.intent(), found()
    assert row.claim is not None
    assert not retire(scene, made, whose(row))
    created, claim = Created(made.certificate_id, made.arn, made.cert_der), replace(a_claim(), id=row.claim)
    assert scene.store.record_created(row, claim, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)
    assert not retire(scene, made, whose(row))
    assert scene.store.retiring(9) == []


def test_inv10_of_many_that_find_it_one_records_it(scene: Scene) -> None:
    row, orphan = closed_intent(scene), found()
    assert sorted(at_once(6, lambda _: retire(scene, orphan, whose(row)))) == [False] * 5 + [True]
    assert len(events(scene, "retired")) == 1


def test_inv5_its_worker_and_a_reconciliation_leave_one_row(scene: Scene) -> None:
    row, orphan = closed_intent(scene), found()
    created = Created(orphan.certificate_id, orphan.arn, orphan.cert_der)

    def record(number: int) -> None:
        if number:
            retire(scene, orphan, whose(row))
        else:
            scene.store.record_loser(row, created)

    at_once(2, record)
    assert len(scene.store.retiring(9)) == 1
    assert len(events(scene, "retired")) == 1


def test_inv1_an_older_active_one_retires_as_superseded(scene: Scene) -> None:
    row, older = scene.active(), found("ACTIVE")
    assert scene.store.supersede(account(scene), older, whose(row))
    (due,) = scene.store.retiring(9)
    assert (due.certificate_id, due.reason, due.in_grace) == (older.certificate_id, Reason.SUPERSEDED, False)
    assert live(scene, row.serial) == row.certificate_id


# rival


def test_the_rival_is_what_the_device_acknowledged_last(scene: Scene) -> None:
    former = scene.active()
    assert former.certificate_id is not None
    assert scene.store.rival(former.device_id) == (former.certificate_id, False)
    scene.offered(former.serial)
    assert scene.store.rival(former.device_id) == (former.certificate_id, False)
    scene.sql("UPDATE issuances SET state = 'acked', sealed_escrow = NULL WHERE state = 'offered'")
    row = scene.now(former.serial)
    assert scene.store.rival(former.device_id) == (row.certificate_id, True)
    scene.sql("UPDATE issuances SET state = 'failed', resume_state = 'acked' WHERE state = 'acked'")
    assert scene.store.rival(former.device_id) == (row.certificate_id, True)
    assert scene.store.rival(10**6) is None


# adopt


@pytest.mark.parametrize("lost", [0, 1])
def test_inv1_the_adopted_one_is_the_device_s_and_all_else_of_it_ends(scene: Scene, lost: int) -> None:
    former = scene.active()
    offered = scene.offered(former.serial)
    adopted = found("ACTIVE")
    scene.database.lose_together = lost
    assert adopt(scene, adopted, whose(former, made_by_it=False), former.certificate_id)
    assert live(scene, former.serial) == adopted.certificate_id
    row = scene.now(former.serial)
    assert (row.state, row.sealed_escrow) == (State.CLOSED, None)
    assert {it.certificate_id: it.reason for it in scene.store.retiring(9)} == {
        former.certificate_id: Reason.SUPERSEDED, offered.certificate_id: Reason.CANCELLED
    }  # fmt: skip
    record = scene.admin.show_device(former.serial)
    assert record.device.activations == 2
    assert former.certificate_id is not None
    assert offered.certificate_id is not None
    assert sorted(events(scene, "adopted", "retired")) == sorted([
        ("adopted", adopted.certificate_id.hex()),
        ("retired", f"superseded {former.certificate_id.hex()}"),
        ("retired", f"cancelled {offered.certificate_id.hex()}"),
    ])  # fmt: skip
    certificate = scene.store.certificate(former.device_id, adopted.certificate_id)
    assert certificate is not None
    assert (certificate.thing, certificate.policy, certificate.status) == ("thing", "policy", CertificateStatus.ACTIVE)


def test_inv6_the_issuance_that_made_it_is_active_and_its_key_wiped(scene: Scene) -> None:
    row, adopted = closed_intent(scene), found("ACTIVE")
    assert row.sealed_escrow is not None
    assert adopt(scene, adopted, whose(row))
    row = scene.now(row.serial)
    assert (row.state, row.certificate_id, row.sealed_escrow) == (State.ACTIVE, adopted.certificate_id, None)


def test_inv1_one_that_its_own_row_has_inactive_is_active_in_it(scene: Scene) -> None:
    row = scene.offered()
    assert adopt(scene, found("ACTIVE", row.certificate_id), whose(row))
    assert live(scene, row.serial) == row.certificate_id
    assert len(scene.sql("SELECT id FROM certificates")) == 1
    assert scene.store.retiring(9) == []


def test_an_attempt_whose_worker_is_gone_is_closed_with_its_issuance(scene: Scene) -> None:
    row = scene.intent(claim=a_claim(lease_s=-1))
    assert adopt(scene, found("ACTIVE"), whose(row, made_by_it=False))
    assert scene.outcomes(row.serial) == [Outcome.UNKNOWN]
    assert scene.now(row.serial).state is State.CLOSED
    created = Created(b"n" * 32, "arn", b"der")
    assert not scene.store.record_created(row, a_claim(), created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED, State.ACKED])
def test_inv1_nothing_is_adopted_while_a_worker_is_at_it(scene: Scene, state: State) -> None:
    row = scene.bring(state, a_claim())
    before = scene.sql("SELECT state, claim, attempt_open FROM issuances")
    rival = scene.store.rival(row.device_id)
    assert not adopt(scene, found("ACTIVE"), whose(row, made_by_it=False), rival and rival[0])
    assert scene.sql("SELECT state, claim, attempt_open FROM issuances") == before
    assert live(scene, row.serial) is None
    assert events(scene, "adopted", "retired") == []


def test_inv1_nothing_is_adopted_where_another_rival_has_come_up(scene: Scene) -> None:
    row = scene.active()
    for rival in (None, b"another"):
        assert not adopt(scene, found("ACTIVE"), whose(row, made_by_it=False), rival)
    assert live(scene, row.serial) == row.certificate_id
    assert scene.store.retiring(9) == []


def test_inv1_of_many_that_adopt_for_a_device_one_does(scene: Scene) -> None:
    row = scene.queued()
    many = [found("ACTIVE") for _ in range(4)]
    done = at_once(4, lambda number: adopt(scene, many[number], whose(row, made_by_it=False)))
    assert sorted(done) == [False] * 3 + [True]
    assert live(scene, row.serial) == many[done.index(True)].certificate_id
    assert len(events(scene, "adopted")) == 1


def test_inv1_a_worker_that_activates_and_an_adoption_leave_one(scene: Scene) -> None:
    claim = a_claim(lease_s=-1)
    row = scene.acked(claim=claim)
    adopted = found("ACTIVE")

    def settle(number: int) -> bool:
        if number:
            return adopt(scene, adopted, whose(row, made_by_it=False), row.certificate_id)
        return scene.store.record_active(row, claim)

    activated, taken = at_once(2, settle)
    assert activated or taken
    assert live(scene, row.serial) == (adopted.certificate_id if taken else row.certificate_id)
    assert [it.certificate_id for it in scene.store.retiring(9)] == ([row.certificate_id] if taken else [])
