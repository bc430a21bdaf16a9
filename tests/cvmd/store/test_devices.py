"""A device's events: what is known of it, and each compare-and-set with its one winner."""

import os
from typing import Any

import pytest

from cvmd.model import CertificateStatus, KeySource, Reason, State
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, Scene, a_certificate, at_once


def test_a_device_without_issuance(scene: Scene) -> None:
    scene.device(b"a")
    view = scene.store.view(b"a")
    assert view is not None
    assert (view.device.serial, view.device.thing, view.device.policy) == (b"a", "thing", "policy")
    assert (view.device.sealed_token, view.device.generation, view.device.disabled) == (b"sealed token", 0, False)
    assert (view.product.name, view.product.account.name) == ("sensor", "default")
    assert (view.issuance, view.active) == (None, None)
    assert view.now_us > 1_700_000_000_000_000


@pytest.mark.parametrize("other", [b"ABC1", b"abc1 ", b"abc1\x00", "àbc1".encode(), b"abc", b"", b"\xff\xfe", b"abc_"])
def test_serials_are_compared_byte_for_byte(scene: Scene, other: bytes) -> None:
    scene.device(b"abc1")
    assert scene.store.view(other) is None
    assert scene.store.view(b"abc1") is not None


@pytest.mark.parametrize(
    "serial", [b"' OR '1'='1", b"\\' OR 1=1 -- ", b'"; DROP TABLE devices; --', b"%s", b"%(serial)s", b":serial", b"?"]
)
def test_sql_in_a_serial_is_but_a_serial(scene: Scene, serial: bytes) -> None:
    scene.device(b"abc1")
    assert scene.store.view(serial) is None
    assert scene.store.view(b"abc1") is not None


def test_a_queued_issuance_has_what_its_product_says(scene: Scene) -> None:
    uid = os.urandom(16)
    issuance = scene.queued(uid=uid, sealed_csr=b"sealed csr", public_key_id=b"k" * 32)
    assert (issuance.uid, issuance.state, issuance.generation) == (uid, State.QUEUED, 1)
    assert (issuance.sealed_csr, issuance.public_key_id, issuance.key_source) == (b"sealed csr", b"k" * 32, "ec-p256")
    assert (issuance.attempts, issuance.claim, issuance.sealed_escrow) == (0, None, None)


def queue(scene: Scene, serial: bytes, generation: int, replaces: int | None = None) -> bool:
    view = scene.store.view(serial)
    assert view is not None
    return scene.store.queue(
        view.device.id, generation, uid=os.urandom(16), sealed_csr=None, public_key_id=None, replaces=replaces
    )


def test_a_generation_is_won_once(scene: Scene) -> None:
    issuance = scene.queued()
    assert not queue(scene, issuance.serial, 1)
    assert not queue(scene, issuance.serial, 3)
    assert scene.now(issuance.serial) == issuance


def test_of_many_who_queue_at_once_one_wins(scene: Scene) -> None:
    serial = scene.device()
    answers = at_once(6, lambda _: queue(scene, serial, 1))
    assert sorted(answers) == [False] * 5 + [True]
    assert len(scene.admin.show_device(serial).issuances) == 1


def test_a_generation_that_is_there_without_its_device_knowing_is_no_error(scene: Scene) -> None:
    issuance = scene.queued()
    scene.sql("UPDATE devices SET generation = 0")
    assert not queue(scene, issuance.serial, 1)
    view = scene.store.view(issuance.serial)
    assert view is not None
    assert view.device.generation == 0


def test_a_disabled_device_queues_nothing(scene: Scene) -> None:
    serial = scene.device()
    scene.admin.set_disabled(serial, True)
    assert not queue(scene, serial, 1)


def test_what_is_replaced_is_closed_and_its_certificate_retires(scene: Scene) -> None:
    old = scene.offered()
    assert queue(scene, old.serial, 2, replaces=old.id)
    record = scene.admin.show_device(old.serial)
    assert [it.state for it in record.issuances] == [State.CLOSED, State.QUEUED]
    assert record.issuances[0].sealed_escrow is None
    assert [(it.status, it.reason) for it in record.certificates] == [(CertificateStatus.RETIRING, Reason.REPLACED)]


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED, State.ACKED])
def test_what_a_worker_may_hold_is_not_replaced(scene: Scene, state: State) -> None:
    old = {State.INTENT: scene.intent, State.CREATED: scene.created, State.ACKED: scene.acked}[state]()
    assert not queue(scene, old.serial, 2, replaces=old.id)
    assert scene.now(old.serial).state is state


def test_another_devices_issuance_is_not_replaced(scene: Scene) -> None:
    mine, other = scene.offered(), scene.offered()
    assert not queue(scene, mine.serial, 2, replaces=other.id)
    assert scene.now(other.serial).state is State.OFFERED


def test_a_lost_generation_closes_nothing(scene: Scene) -> None:
    old = scene.offered()
    assert not queue(scene, old.serial, 5, replaces=old.id)
    assert scene.now(old.serial) == old


def test_the_offer_is_what_was_committed(scene: Scene) -> None:
    issuance = scene.offered()
    scene.sql("UPDATE devices SET thing = 'another'")
    offer = scene.store.offer(issuance.id)
    assert offer is not None
    assert (offer.cert_der, offer.endpoint, offer.root_ca_der) == (b"certificate", ENDPOINT, ROOT_CA)
    assert (offer.thing, offer.issuance.thing) == ("thing", "another")
    assert offer.issuance.sealed_escrow == b"sealed key"


def test_only_what_is_offered_is_an_offer(scene: Scene) -> None:
    assert scene.store.offer(scene.created().id) is None
    assert scene.store.offer(scene.acked().id) is None
    assert scene.store.offer(10**9) is None


def test_inv3_the_digest_of_the_offered_certificate_is_the_ack(scene: Scene) -> None:
    issuance = scene.offered()
    assert issuance.certificate_id is not None
    assert not scene.store.acknowledge(issuance.id, os.urandom(32))
    assert scene.store.acknowledge(issuance.id, issuance.certificate_id)
    assert scene.now(issuance.serial).state is State.ACKED
    assert not scene.store.acknowledge(issuance.id, issuance.certificate_id)


def test_inv6_the_ack_wipes_the_escrow(scene: Scene) -> None:
    issuance = scene.offered()
    assert issuance.sealed_escrow == b"sealed key"
    assert issuance.certificate_id is not None
    assert scene.store.acknowledge(issuance.id, issuance.certificate_id)
    assert scene.now(issuance.serial).sealed_escrow is None


def test_an_expired_offer_is_not_acknowledged_nor_extended(scene: Scene) -> None:
    issuance = scene.offered()
    assert issuance.certificate_id is not None
    scene.sql("UPDATE issuances SET expires_us = 1")
    assert not scene.store.acknowledge(issuance.id, issuance.certificate_id)
    scene.store.extend(issuance.id)
    assert scene.now(issuance.serial).expires_us == 1


def test_of_ack_and_replacement_one_wins(scene: Scene) -> None:
    for _ in range(10):
        issuance = scene.offered()
        certificate_id = issuance.certificate_id
        assert certificate_id is not None

        def race(number: int, it: Any = issuance, digest: bytes = certificate_id) -> bool:
            return scene.store.acknowledge(it.id, digest) if number else queue(scene, it.serial, 2, replaces=it.id)

        replaced, acknowledged = at_once(2, race)
        assert replaced != acknowledged
        assert scene.now(issuance.serial).state is (State.QUEUED if replaced else State.ACKED)


def test_an_offer_lives_on_with_each_contact(scene: Scene) -> None:
    issuance = scene.offered()
    scene.sql("UPDATE issuances SET expires_us = expires_us - 1000000000, not_before_us = 1")
    scene.store.extend(issuance.id)
    now = scene.now(issuance.serial)
    assert now.expires_us is not None
    assert issuance.expires_us is not None
    assert now.expires_us >= issuance.expires_us
    assert now.not_before_us == pytest.approx(now.expires_us, abs=1_000_000)  # when it is to be expired
    assert now.updated_us == issuance.updated_us  # nobody who waits is to be woken


def test_moved_names_the_rows_that_have_moved(scene: Scene) -> None:
    still, goes = scene.offered(), scene.offered()
    assert scene.store.moved({}) == []
    seen = {still.id: still.updated_us, goes.id: goes.updated_us, 10**9: 1}
    assert scene.store.moved(seen) == []
    assert goes.certificate_id is not None
    scene.store.acknowledge(goes.id, goes.certificate_id)
    assert scene.store.moved(seen) == [goes.id]


def test_the_queue_is_what_waits_to_be_created(scene: Scene) -> None:
    account = scene.queued().account.id
    scene.intent()
    scene.offered()
    assert scene.store.line(account).length == 2
    assert scene.store.line(account + 1).length == 0


def test_a_certificate_is_told_to_its_own_device_only(scene: Scene) -> None:
    mine, other = scene.active(), scene.active()
    assert mine.certificate_id is not None
    held = scene.store.certificate(mine.device_id, mine.certificate_id)
    assert held is not None
    assert (held.status, held.issuance_id) == (CertificateStatus.ACTIVE, mine.id)
    assert scene.store.certificate(other.device_id, mine.certificate_id) is None
    assert scene.store.certificate(mine.device_id, a_certificate().certificate_id) is None


def test_an_orphan_s_certificate_is_told_to_whoever_knows_it(scene: Scene) -> None:
    scene.sql(
        "INSERT INTO certificates (certificate_id, account_id, arn, cert_der, status, reason, created_us)"
        " VALUES (x'6f727068616e', 1, 'arn', 'der', 'deleted', 'orphan', 1)"
    )
    held = scene.store.certificate(scene.queued().device_id, b"orphan")
    assert held is not None
    assert held.status is CertificateStatus.DELETED


def test_the_view_names_the_active_certificate_beside_the_newest_issuance(scene: Scene) -> None:
    first = scene.active()
    second = scene.queued(first.serial)
    view = scene.store.view(first.serial)
    assert view is not None
    assert (view.active, view.device.activations, view.issuance) == (first.certificate_id, 1, second)


@pytest.mark.parametrize("replace", [False, True])
def test_a_lost_answer_to_queue_is_found_to_be_ours(scene: Scene, replace: bool) -> None:
    serial = scene.offered().serial if replace else scene.device()
    old = scene.now(serial).id if replace else None
    scene.database.lose = 2
    assert queue(scene, serial, 2 if replace else 1, replaces=old)
    assert scene.now(serial).state is State.QUEUED


def test_a_lost_answer_to_an_ack_is_found_to_be_ours(scene: Scene) -> None:
    issuance = scene.offered()
    assert issuance.certificate_id is not None
    scene.database.lose = 1
    assert scene.store.acknowledge(issuance.id, issuance.certificate_id)


def test_a_lost_answer_is_not_mistaken_for_anothers_win(scene: Scene) -> None:
    issuance = scene.queued()
    scene.database.lose = 1
    assert not queue(scene, issuance.serial, 1)
    scene.database.lose = 1
    assert not scene.store.acknowledge(issuance.id, os.urandom(32))


def test_the_key_source_is_that_of_the_moment_of_queueing(scene: Scene) -> None:
    issuance = scene.queued()
    scene.sql("UPDATE products SET key_source = 'rsa2048'")
    assert scene.now(issuance.serial).key_source == "ec-p256"


def test_products_are_told_apart(scene: Scene) -> None:
    scene.admin.add_product("pump", ProductRules(reissue_limit=None, share_things=True))
    scene.admin.add_device("pump", NewDevice(b"p", "t", "q", b"sealed"))
    view = scene.store.view(b"p")
    assert view is not None
    assert (view.product.name, view.product.reissue_limit, view.product.share_things) == ("pump", None, True)


def test_nothing_is_queued_without_the_csr_that_the_key_source_wants_by_now(scene: Scene) -> None:
    serial = scene.device()
    scene.admin.set_product("sensor", ProductRules(key_source=KeySource.DEVICE_CSR))
    assert not queue(scene, serial, 1)
    view = scene.store.view(serial)
    assert view is not None
    assert (view.issuance, view.device.generation) == (None, 0)
