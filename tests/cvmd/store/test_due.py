"""What a worker is given next: the oldest, what nobody holds, and no more than the quota has room for."""

from cvmd.model import Outcome, State
from cvmd.store.accounts import AccountRules
from cvmd.store.due import _whole
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene, a_claim, a_key


def due(scene: Scene, limit: int = 16) -> list[int]:
    return [issuance.id for issuance in scene.store.due(limit)]


def test_nothing_is_due_of_nothing(scene: Scene) -> None:
    assert due(scene) == []


def test_a_due_row_is_whole(scene: Scene) -> None:
    issuance = scene.queued(sealed_csr=b"sealed csr", public_key_id=b"k" * 32)
    assert scene.store.due(16) == [issuance]


def test_the_oldest_come_first_up_to_the_limit(scene: Scene) -> None:
    queued = [scene.queued().id for _ in range(5)]
    assert due(scene) == queued
    assert due(scene, 3) == queued[:3]


def test_inv7_rows_that_rest_at_a_worker_make_no_statement_for_each_number_of_them(scene: Scene) -> None:
    _whole.cache_clear()
    queued = [scene.queued().id for _ in range(9)]
    for limit in range(1, 10):
        assert due(scene, limit) == queued[:limit]
    assert _whole.cache_info().currsize == len((1, 2, 4, 8, 16))


def test_what_is_to_be_settled_comes_before_what_is_to_be_created(scene: Scene) -> None:
    queued = scene.queued()
    acked = scene.acked()
    claim = a_claim()
    created = scene.created(claim=claim)
    assert scene.store.release(created, claim, wait_s=0)
    assert due(scene) == [acked.id, created.id, queued.id]
    assert due(scene, 2) == [acked.id, created.id]


def test_inv5_an_offer_is_due_once_its_time_is_over_and_after_all_else(scene: Scene) -> None:
    offered = scene.offered()
    assert due(scene) == []
    scene.sql("UPDATE issuances SET expires_us = 1, not_before_us = 1")
    queued = scene.queued()
    assert due(scene) == [queued.id, offered.id]
    scene.sql(f"UPDATE pace SET tat_us = {2**62}")
    assert due(scene) == [offered.id]


def test_what_is_held_or_rests_is_not_due(scene: Scene) -> None:
    scene.intent(claim=a_claim())
    scene.created(claim=a_claim())
    scene.offered()
    scene.acked(claim=a_claim())
    scene.active()
    assert due(scene) == []


def test_a_lease_that_is_over_makes_the_row_due(scene: Scene) -> None:
    rows = [
        scene.acked(claim=a_claim(lease_s=-1)),
        scene.created(claim=a_claim(lease_s=-1)),
        scene.intent(claim=a_claim(lease_s=-1)),
    ]
    assert due(scene) == [row.id for row in rows]


def test_a_not_before_that_has_not_come_is_waited_for(scene: Scene) -> None:
    claim = a_claim()
    issuance = scene.intent(claim=claim)
    assert scene.store.close_attempt(issuance, claim.id, Outcome.UNKNOWN, "", wait_s=600)
    assert due(scene) == []
    scene.sql("UPDATE issuances SET not_before_us = 1")
    assert due(scene) == [issuance.id]


def test_creates_are_given_out_as_far_as_the_quota_has_room(scene: Scene) -> None:
    scene.admin.set_account("default", AccountRules(creates_per_s=2))
    scene.sql("UPDATE pace SET tat_us = 0")
    queued = [scene.queued() for _ in range(5)]
    acked = scene.acked()
    scene.sql("UPDATE pace SET tat_us = 0")
    assert due(scene) == [acked.id, queued[0].id, queued[1].id]


def test_an_account_without_room_does_not_hide_another_accounts_rows(scene: Scene) -> None:
    scene.admin.add_account("second", AccountRules(creates_per_s=5))
    scene.admin.add_account("third", AccountRules(creates_per_s=5))
    scene.admin.add_product("pump", ProductRules(), account="second")
    scene.admin.set_account("default", AccountRules(creates_per_s=1))
    for _ in range(6):
        scene.queued()
    scene.admin.add_device("pump", NewDevice(b"pump", "thing", "policy", b"sealed"))
    pump = scene.queued(b"pump")
    assert pump.account.name == "second"
    first = scene.store.due(4)[0]
    assert scene.store.open_attempt(first, a_claim(), key=a_key())
    far_us = pump.updated_us + 3_600_000_000
    scene.sql(f"UPDATE pace SET tat_us = {far_us} WHERE account_id = 1")
    scene.sql("UPDATE accounts SET creates_per_s = 1 WHERE id = 1")
    assert due(scene, 4) == [pump.id]


def test_a_full_quota_gives_out_nothing_to_create(scene: Scene) -> None:
    scene.admin.set_account("default", AccountRules(creates_per_s=1))
    scene.queued()
    scene.sql(f"UPDATE pace SET tat_us = {2**62}")
    assert scene.store.due(16) == []
    assert scene.now(b"dev-0").state is State.QUEUED
