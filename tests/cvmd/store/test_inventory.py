"""The rows as a reconciliation asks for them: what is said of a certificate that has one, and whose another is."""

import os
from dataclasses import replace

import pytest

from cvmd.model import (
    US,
    Attribution,
    CertificateStatus,
    DescribedCertificate,
    Issuance,
    KnownCertificate,
    Reason,
    State,
)
from cvmd.store.accounts import AccountRules
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene, a_claim, at_once

LONG_AGO = 1


def described(key: bytes = b"?" * 32, made_us: int = LONG_AGO) -> DescribedCertificate:
    """A certificate that AWS has."""
    digest = os.urandom(32)
    return DescribedCertificate(digest, "arn", "INACTIVE", made_us / US, b"der", None, key)


def known(scene: Scene, issuance: Issuance) -> KnownCertificate:
    assert issuance.certificate_id is not None
    return scene.store.known([issuance.certificate_id])[issuance.certificate_id]


def settle(scene: Scene) -> None:
    """All that has happened is long ago."""
    scene.sql(f"UPDATE issuances SET updated_us = {LONG_AGO}")
    for column in ("created_us", "activated_us", "retired_us", "deleted_us"):
        scene.sql(f"UPDATE certificates SET {column} = {LONG_AGO} WHERE {column} IS NOT NULL")


def retired(scene: Scene) -> list[str]:
    """What the trail says of certificates that retired."""
    return [detail for (detail,) in scene.sql("SELECT detail FROM audit WHERE event = 'retired' ORDER BY id")]


# known


def test_a_row_is_given_with_its_device_and_its_issuance(scene: Scene) -> None:
    row = scene.offered()
    assert row.certificate_id is not None
    assert known(scene, row) == KnownCertificate(
        row.certificate_id, CertificateStatus.INACTIVE, row.id, row.device_id, row.serial, State.OFFERED,
        settled=False, overdue=False, at_rest=False,
    )  # fmt: skip


def test_one_query_answers_for_a_page_and_leaves_out_what_has_no_row(scene: Scene) -> None:
    rows = [scene.offered() for _ in range(3)]
    ids = [it.certificate_id for it in rows if it.certificate_id is not None]
    assert set(scene.store.known([*ids, os.urandom(32)])) == set(ids)
    assert scene.store.known([]) == {}


def test_an_orphan_s_row_has_neither_device_nor_issuance(scene: Scene) -> None:
    scene.sql(
        "INSERT INTO certificates"
        " (certificate_id, account_id, arn, cert_der, status, reason, not_before_us, created_us, retired_us)"
        " VALUES (x'6f727068616e', 1, 'arn', 'der', 'retiring', 'orphan', 1, 1, 1)"
    )
    found = scene.store.known([b"orphan"])[b"orphan"]
    assert (found.serial, found.issuance_state, found.settled, found.overdue) == (None, None, True, False)


@pytest.mark.parametrize("column", ["certificates SET created_us", "issuances SET updated_us"])
def test_what_has_just_changed_is_not_settled(scene: Scene, column: str) -> None:
    row = scene.offered()
    settle(scene)
    assert known(scene, row).settled
    scene.sql(f"UPDATE {column} = {row.updated_us}")
    assert not known(scene, row).settled


@pytest.mark.parametrize(
    ("change", "overdue"),
    [
        ("state = 'offered'", False),
        ("expires_us = 1", True),
        ("state = 'closed', sealed_escrow = NULL", True),
        ("certificate_id = NULL", True),
        ("state = 'acked', sealed_escrow = NULL, expires_us = 1", False),
        ("state = 'failed', resume_state = 'created', expires_us = 1", False),
    ],
)
def test_what_no_issuance_waits_for_is_overdue(scene: Scene, change: str, overdue: bool) -> None:
    row = scene.offered()
    scene.sql(f"UPDATE issuances SET {change}")
    assert known(scene, row).overdue is overdue


def test_what_is_retiring_rests_only_after_a_pass_that_has_made_it_inert(scene: Scene) -> None:
    former = scene.active()
    scene.active(former.serial)
    assert not known(scene, former).at_rest
    (retiring,) = scene.store.retiring(9)
    claim = a_claim()
    assert scene.store.take_retiring(retiring, claim)
    assert not known(scene, former).at_rest
    scene.sql(f"UPDATE certificates SET keep_until_us = {former.updated_us + 600 * US} WHERE status = 'retiring'")
    scene.store.record_inert(retiring, claim)
    assert known(scene, former).at_rest


def test_what_a_failed_pass_put_off_does_not_rest(scene: Scene) -> None:
    former = scene.active()
    scene.active(former.serial)
    (retiring,) = scene.store.retiring(9)
    claim = a_claim()
    assert scene.store.take_retiring(retiring, claim)
    scene.store.postpone(retiring, claim, wait_s=600)
    assert not known(scene, former).at_rest


# attribute, device_of_thing


def test_inv5_the_key_of_an_issuance_is_proof(scene: Scene) -> None:
    row = scene.intent()
    assert row.public_key_id is not None
    expected = Attribution(row.id, row.device_id, row.serial, "attempt", in_flight=True)
    assert scene.store.attribute(described(row.public_key_id), None) == expected
    scene.sql("UPDATE issuances SET attempt_open = 0")
    assert scene.store.attribute(described(row.public_key_id), None) == replace(expected, in_flight=False)


def test_inv5_so_is_the_issuance_that_the_subject_names(scene: Scene) -> None:
    row = scene.queued()
    found = scene.store.attribute(described(), row.uid)
    assert found == Attribution(row.id, row.device_id, row.serial, "attempt", in_flight=False)


def test_inv5_a_subject_of_ours_is_proof_without_a_row(scene: Scene) -> None:
    scene.queued()
    assert scene.store.attribute(described(), b"u" * 16) == Attribution(None, None, None, "subject", in_flight=False)
    assert scene.store.attribute(described(), None) is None


@pytest.mark.parametrize(("off_s", "ours"), [(-200, True), (-400, False), (200, True), (400, False)])
def test_a_device_s_own_key_is_proof_about_the_time_of_an_attempt(scene: Scene, off_s: int, ours: bool) -> None:
    scene.admin.set_product("sensor", ProductRules())
    key = b"k" * 32
    row = scene.queued(sealed_csr=b"sealed csr", public_key_id=key)
    assert scene.store.open_attempt(row, a_claim(), key=None)
    scene.sql("UPDATE issuances SET key_source = 'device-csr', attempt_open = 0")
    scene.sql("UPDATE attempts SET closed_us = opened_us, outcome = 'unknown'")
    ((opened_us,),) = scene.sql("SELECT opened_us FROM attempts")
    found = scene.store.attribute(described(key, opened_us + off_s * US), None)
    assert (found is not None) is ours


@pytest.mark.parametrize("outcome", ["refused", "unknown"])
def test_inv5_so_is_the_attempt_whose_answer_named_it(scene: Scene, outcome: str) -> None:
    row = scene.intent()
    found = described()
    detail = f"CreateKeysAndCertificate: UnbelievableAnswer: certificate {found.certificate_id.hex()}: no key"
    scene.sql(f"UPDATE attempts SET closed_us = opened_us, outcome = '{outcome}', detail = '{detail}'")
    scene.sql("UPDATE issuances SET attempt_open = 0")
    ((opened_us,),) = scene.sql("SELECT opened_us FROM attempts")
    expected = Attribution(row.id, row.device_id, row.serial, "attempt", in_flight=False)
    assert scene.store.attribute(replace(found, created_s=opened_us / US), None) == expected
    assert scene.store.attribute(described(made_us=opened_us), None) is None
    assert scene.store.attribute(found, None) is None, "made at another time"


@pytest.mark.parametrize(("exclusive", "proof"), [(0, "time"), (1, "account")])
def test_inv5_what_an_attempt_of_aws_s_key_may_have_left(scene: Scene, exclusive: int, proof: str) -> None:
    scene.intent()
    scene.sql(f"UPDATE accounts SET exclusive = {exclusive}")
    scene.sql("UPDATE issuances SET key_source = 'aws-rsa2048'")
    ((opened_us,),) = scene.sql("SELECT opened_us FROM attempts")
    created_s = opened_us / US
    expected = Attribution(None, None, None, proof, in_flight=True)
    assert scene.store.attempted(1, created_s) == expected
    scene.sql("UPDATE attempts SET closed_us = opened_us, outcome = 'unknown'")
    assert scene.store.attempted(1, created_s) == replace(expected, in_flight=False)
    for off_s, found in ((-200, True), (-400, False), (200, True), (400, False)):
        assert (scene.store.attempted(1, created_s + off_s) is not None) is found
    assert scene.store.attempted(2, created_s) is None, "another account's"
    # One that no attempt can have made, since it took so long that its lease was over.
    scene.sql(f"UPDATE attempts SET closed_us = opened_us + {7200 * US}")
    assert scene.store.attempted(1, created_s + 3600) is not None
    assert scene.store.attempted(1, created_s + 4000) is None


@pytest.mark.parametrize("outcome", ["done", "refused"])
def test_an_attempt_whose_end_is_known_has_left_nothing(scene: Scene, outcome: str) -> None:
    scene.intent()
    scene.sql("UPDATE issuances SET key_source = 'aws-rsa2048'")
    scene.sql(f"UPDATE attempts SET closed_us = opened_us, outcome = '{outcome}'")
    ((opened_us,),) = scene.sql("SELECT opened_us FROM attempts")
    assert scene.store.attempted(1, opened_us / US) is None


@pytest.mark.parametrize("key_source", ["ec-p256", "rsa2048", "device-csr"])
def test_a_key_that_is_known_leaves_nothing_to_guess(scene: Scene, key_source: str) -> None:
    scene.intent()
    scene.sql(f"UPDATE issuances SET key_source = '{key_source}'")
    scene.sql("UPDATE attempts SET closed_us = opened_us, outcome = 'unknown'")
    ((opened_us,),) = scene.sql("SELECT opened_us FROM attempts")
    assert scene.store.attempted(1, opened_us / US) is None


def test_the_device_of_a_thing(scene: Scene) -> None:
    scene.device(b"only")
    found = scene.store.device_of_thing(1, ["elsewhere", "thing"])
    assert found is not None
    assert (found.serial, found.proof) == (b"only", "thing")
    assert scene.store.device_of_thing(1, ["elsewhere"]) is None
    assert scene.store.device_of_thing(2, ["thing"]) is None, "another account's thing of that name"
    scene.device()
    found = scene.store.device_of_thing(1, ["thing"])
    assert found is not None
    assert (found.device_id, found.serial) == (None, None), "of two nobody knows which"


def test_a_thing_that_is_shared_says_nothing(scene: Scene) -> None:
    scene.device()
    scene.sql("UPDATE products SET share_things = 1")
    assert scene.store.device_of_thing(1, ["thing"]) is None
    assert scene.store.mapped_things(1, "", 9) == []


# expected, mapped_things, accounts


def test_what_aws_must_have_is_given_page_by_page(scene: Scene) -> None:
    rows = [scene.offered(), scene.active(), scene.acked(), scene.offered()]
    scene.sql(
        f"UPDATE certificates SET status = 'retiring', reason = 'expired', not_before_us = 1"
        f" WHERE issuance_id = {rows[3].id}"
    )
    found: list[bytes] = []
    after: int | None = 0
    for count in (2, 1, 0):
        assert after is not None
        page, after = scene.store.expected(1, after, 2)
        assert len(page) == count, "the last one is on its way out"
        found += page
    assert (found, after) == ([it.certificate_id for it in rows[:3]], None)
    assert scene.store.expected(2, 0, 9) == ([], None)


def test_the_things_of_an_account_are_given_once_and_page_by_page(scene: Scene) -> None:
    for thing in ("b", "a", "b", "c"):
        scene.admin.add_device("sensor", NewDevice(os.urandom(4).hex().encode(), thing, "policy", b"sealed token"))
    assert scene.store.mapped_things(1, "", 2) == ["a", "b"]
    assert scene.store.mapped_things(1, "b", 2) == ["c"]
    assert scene.store.mapped_things(2, "", 2) == []


def test_all_accounts_are_given(scene: Scene) -> None:
    scene.admin.add_account("another", AccountRules(region="eu-west-1"))
    assert [(it.name, it.region) for it in scene.store.accounts()] == [("another", "eu-west-1"), ("default", None)]


# dispose_of


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("status", ["retiring", "deleted"])
def test_inv1_what_is_there_again_is_disposed_of_again(scene: Scene, status: str, lost: int) -> None:
    former = scene.active()
    scene.active(former.serial)
    scene.sql(
        f"UPDATE certificates SET status = '{status}', not_before_us = {2**60}, disposal_attempts = 3"
        f" WHERE issuance_id = {former.id}"
    )
    assert former.certificate_id is not None
    assert scene.store.retiring(9) == []
    scene.database.lose = lost
    assert scene.store.dispose_of(former.certificate_id)
    (found,) = scene.store.retiring(9)
    assert (found.certificate_id, found.reason, found.attempts) == (former.certificate_id, Reason.SUPERSEDED, 0)


@pytest.mark.parametrize("change", ["state = 'closed', sealed_escrow = NULL", "expires_us = 1"])
def test_inv5_what_is_overdue_expires_once_and_its_key_with_it(scene: Scene, change: str) -> None:
    row = scene.offered()
    scene.sql(f"UPDATE issuances SET {change}")
    digest = row.certificate_id
    assert digest is not None
    assert sorted(at_once(4, lambda _: scene.store.dispose_of(digest)))[-1]
    (found,) = scene.store.retiring(9)
    assert (found.certificate_id, found.reason) == (digest, Reason.EXPIRED)
    ended = scene.now(row.serial)
    assert (ended.state, ended.sealed_escrow) == (State.CLOSED, None)
    assert retired(scene) == [f"expired {digest.hex()}"]


@pytest.mark.parametrize("bring", ["created", "offered", "acked", "active"])
def test_inv1_what_is_needed_is_not_disposed_of(scene: Scene, bring: str) -> None:
    row: Issuance = getattr(scene, bring)()
    assert row.certificate_id is not None
    assert not scene.store.dispose_of(row.certificate_id)
    assert not scene.store.dispose_of(b"unknown")
    assert scene.store.retiring(9) == []
    assert retired(scene) == []
