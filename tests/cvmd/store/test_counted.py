"""Steps that took effect are told; those that did not are not."""

import os
from dataclasses import replace

import pytest

from cvmd.model import Attribution, DescribedCertificate, Fault, Reason, State
from cvmd.store.counted import CountedStore
from tests.cvmd.events import Heard
from tests.cvmd.store.conftest import TRAIL, Scene, a_claim


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def counted(scene: Scene, heard: Heard) -> Scene:
    """The scene on a store that counts."""
    return replace(scene, store=CountedStore(scene.database, TRAIL, heard))


def test_an_issuance_is_counted_in_each_state_that_it_comes_into(counted: Scene, heard: Heard) -> None:
    issuance = counted.active()
    states = [State.QUEUED, State.OFFERED, State.ACKED, State.ACTIVE]
    assert heard.of("issuance_became") == [(state, None) for state in states]
    assert not counted.store.record_active(issuance, a_claim())
    assert not counted.store.acknowledge(issuance.id, b"x" * 32)
    assert len(heard.of("issuance_became")) == len(states)


def test_one_that_failed_or_expired_is_counted(counted: Scene, heard: Heard) -> None:
    failed = counted.created(claim=(claim := a_claim()))
    assert counted.store.fail(failed, claim.id, Fault.THING_MISSING, "")
    assert heard.events[-1] == ("issuance_became", State.FAILED, Fault.THING_MISSING)
    offered = counted.offered()
    counted.sql(f"UPDATE issuances SET expires_us = 1 WHERE id = {offered.id}")
    assert counted.store.expire(offered)
    assert heard.events[-1] == ("issuance_became", State.CLOSED, None)


def test_deleted_certificates_are_counted_by_reason(counted: Scene, heard: Heard) -> None:
    offered = counted.offered()
    counted.sql(f"UPDATE issuances SET expires_us = 1 WHERE id = {offered.id}")
    counted.store.expire(offered)
    (retiring,) = counted.store.retiring(1)
    claim = a_claim()
    assert counted.store.take_retiring(retiring, claim)
    counted.store.record_deleted(retiring, claim)
    assert heard.of("certificate_deleted") == [(Reason.EXPIRED,)]


def test_an_orphan_is_counted_once(counted: Scene, heard: Heard) -> None:
    row = counted.active()
    digest = os.urandom(32)
    orphan = DescribedCertificate(digest, f"arn:cert/{digest.hex()}", "INACTIVE", 1.5, b"der", None, b"?" * 32)
    whose = Attribution(row.id, row.device_id, row.serial, "attempt", False)
    (account,) = counted.store.accounts()
    assert counted.store.retire_orphan(account, orphan, whose)
    assert not counted.store.retire_orphan(account, orphan, whose)
    assert heard.of("orphan_found") == [()]
