"""A worker on a real database: what it asks of AWS and in which order, and what each failure leaves in the row."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from cvmd.errors import IssuerFault
from cvmd.issuance import BACKOFF_S, MAX_UNKNOWN_ATTEMPTS
from cvmd.model import (
    US,
    Account,
    CertificateStatus,
    Created,
    Fault,
    Issuance,
    KeySource,
    Outcome,
    Reason,
    Secret,
    State,
)
from cvmd.ports import StoreDown
from cvmd.seals import unseal_csr, unseal_key
from cvmd.store.products import ProductRules
from tests.cvmd.conftest import Bench, an_error
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, a_certificate, a_claim, a_key, arn_of

ATTACH = {"attach_thing", "attach_policy", "thing_principals"}
"""What goes on side by side."""
FOREIGN = a_certificate()

# queued → offered


def test_a_queued_row_is_carried_to_offered(bench: Bench) -> None:
    row = bench.carry(bench.scene.queued())
    assert bench.log[:7] == ["describe_endpoint", "remember_endpoint", "policy_exists", "open_attempt", "create",
                             "record_created", "certificate_of"]  # fmt: skip
    assert set(bench.log[7:-1]) == ATTACH
    assert bench.log[-1] == "record_offered"
    assert (row.state, row.claim, row.attempt_open) == (State.OFFERED, None, False)
    assert bench.scene.outcomes(row.serial) == [Outcome.DONE]


@pytest.mark.parametrize(("key_source", "bits"), [(KeySource.EC_P256, 256), (KeySource.RSA2048, 2048)])
def test_what_is_offered_is_the_certificate_and_the_key_that_was_asked_for(
    bench: Bench, key_source: KeySource, bits: int
) -> None:
    bench.scene.admin.set_product("sensor", ProductRules(key_source=key_source))
    row = bench.carry(bench.scene.queued())
    offer = bench.scene.store.offer(row.id)
    assert offer is not None
    assert (offer.cert_der, offer.endpoint, offer.root_ca_der) == (b"certificate", ENDPOINT, ROOT_CA)
    csr = x509.load_der_x509_csr(unseal_csr(row, bench.sealer))
    assert [bench.sealer.owns_subject(str(name.value)) for name in csr.subject] == [row.uid]
    key = load_der_private_key(escrowed(bench, row).reveal(), None)
    assert isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey)
    assert key.key_size == bits
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key.public_key().public_bytes(*spki) == csr.public_key().public_bytes(*spki)


def test_inv2_the_intent_is_committed_before_create_is_called(bench: Bench) -> None:
    queued = bench.scene.queued()
    seen: list[tuple[Issuance, bytes]] = []
    bench.issuer.first["create"] = lambda _account, csr: seen.append((bench.scene.now(queued.serial), csr))
    bench.carry(queued)
    ((row, csr_der),) = seen
    assert (row.state, row.attempt_open, row.attempts) == (State.INTENT, True, 1)
    assert unseal_csr(row, bench.sealer) == csr_der
    assert None not in (row.claim, row.sealed_escrow, row.public_key_id)


def test_inv2_nobody_is_told_before_it_is_committed(bench: Bench) -> None:
    row = bench.carry(bench.scene.queued())
    assert bench.moved == [(row.id, State.OFFERED)]


def test_a_device_s_own_csr_is_sent_as_it_is_and_nothing_is_escrowed(bench: Bench) -> None:
    asked: list[bytes] = []
    bench.issuer.first["create"] = lambda _account, csr: asked.append(csr)
    row = bench.carry(bench.queued_by_csr(b"its csr"))
    assert asked == [b"its csr"]
    assert (row.state, row.sealed_escrow) == (State.OFFERED, None)


@pytest.mark.parametrize(
    "change",
    ["sealed_csr = NULL", "sealed_csr = X'00'", "sealed_csr = (SELECT sealed_csr FROM issuances WHERE id = 1)"],
    ids=["taken away", "another", "of another device"],
)
def test_inv6_a_csr_that_was_put_into_the_row_is_not_sent(bench: Bench, change: str) -> None:
    bench.queued_by_csr(b"csr of the writer's own device")
    victim = bench.queued_by_csr(b"its csr")
    bench.scene.sql(f"UPDATE issuances SET {change} WHERE id = {victim.id}")
    row = bench.carry(bench.scene.now(victim.serial))
    assert (row.state, row.fault, row.attempts) == (State.FAILED, Fault.CSR_UNSEALED, 0)
    assert "create" not in bench.log
    assert "create_with_key" not in bench.log


def test_inv6_an_issuance_does_not_move_to_another_device(bench: Bench) -> None:
    queued = bench.queued_by_csr(b"its csr")
    other = bench.scene.device()
    (device,) = bench.scene.sql("SELECT MAX(id) FROM devices")
    bench.scene.sql(f"UPDATE devices SET generation = 1 WHERE id = {device[0]}")
    bench.scene.sql(f"UPDATE issuances SET device_id = {device[0]} WHERE id = {queued.id}")
    row = bench.carry(bench.scene.now(other))
    assert (row.state, row.fault) == (State.FAILED, Fault.CSR_UNSEALED)


def test_inv6_a_csr_that_was_changed_after_the_intent_is_not_sent_again(bench: Bench) -> None:
    bench.issuer.raises("create", an_error(IssuerFault.THROTTLED))
    waiting = bench.carry(bench.scene.queued())
    bench.scene.sql("UPDATE issuances SET sealed_csr = X'00'")
    row = bench.carry_later(bench.scene.now(waiting.serial))
    assert (row.state, row.fault) == (State.FAILED, Fault.CSR_UNSEALED)
    assert "create" not in bench.log


@pytest.fixture
def by_aws(bench: Bench) -> list[Created]:
    """The product's keys are AWS's; what was created."""
    bench.scene.admin.set_product("sensor", ProductRules(key_source=KeySource.AWS_RSA2048))
    made: list[Created] = []
    create = bench.plain.create_with_key

    def noted(account: Account) -> Created:
        made.append(create(account))
        return made[-1]

    bench.plain.create_with_key = noted
    return made


def escrowed(bench: Bench, row: Issuance) -> Secret:
    key = unseal_key(row, bench.sealer)
    assert key is not None
    return key


def test_inv4_a_key_that_aws_made_is_escrowed_with_the_certificate(bench: Bench, by_aws: list[Created]) -> None:
    queued = bench.scene.queued()
    before: list[Issuance] = []
    bench.issuer.first["create_with_key"] = lambda _account: before.append(bench.scene.now(queued.serial))
    row = bench.carry(queued)
    (asked,) = before
    assert (asked.state, asked.attempt_open, asked.sealed_csr, asked.sealed_escrow) == (State.INTENT, True, None, None)
    assert (row.state, row.sealed_csr, row.public_key_id) == (State.OFFERED, None, None)
    assert (row.certificate_id, escrowed(bench, row)) == (by_aws[0].certificate_id, by_aws[0].key_der)
    assert "create" not in bench.log


def test_inv5_of_a_lost_answer_nothing_is_kept_and_the_next_one_is_whole(bench: Bench, by_aws: list[Created]) -> None:
    bench.issuer.raises("create_with_key", an_error(IssuerFault.UNKNOWN))
    waiting = bench.carry(bench.scene.queued())
    assert (waiting.state, waiting.sealed_escrow, waiting.unknown_attempts) == (State.INTENT, None, 1)
    row = bench.carry_later(waiting)
    assert (row.state, escrowed(bench, row)) == (State.OFFERED, by_aws[0].key_der)
    assert bench.scene.outcomes(row.serial) == [Outcome.UNKNOWN, Outcome.DONE]


def test_inv5_a_certificate_of_aws_s_key_whose_claim_was_lost_is_disposed_of(
    bench: Bench, by_aws: list[Created]
) -> None:
    queued = bench.scene.queued()
    bench.issuer.first["create_with_key"] = lambda *_: bench.scene.sql("UPDATE issuances SET claim = x'00'")
    row = bench.carry(queued)
    assert (row.state, row.sealed_escrow) == (State.INTENT, None)
    assert [it.certificate_id for it in bench.scene.store.retiring(9)] == [by_aws[0].certificate_id]


def test_the_endpoint_is_asked_once_for_all_workers(bench: Bench) -> None:
    first, second = bench.scene.queued(), bench.scene.queued()
    worker = bench.worker()
    worker.carry(first)
    worker.carry(second)
    bench.worker().carry(bench.scene.queued())
    assert bench.log.count("create") == 3
    assert bench.log.count("describe_endpoint") == 1


def test_inv2_nothing_is_begun_whose_bundle_could_not_be_built(bench: Bench) -> None:
    queued = bench.scene.queued()
    bench.issuer.raises("describe_endpoint", an_error(IssuerFault.ACCOUNT))
    row = bench.carry(queued)
    assert (row.state, row.attempts, bench.log) == (State.QUEUED, 0, ["describe_endpoint", "trip"])


def test_inv10_a_row_that_another_took_first_is_left(bench: Bench) -> None:
    queued = bench.scene.queued()
    assert bench.scene.store.open_attempt(queued, a_claim(), key=a_key())
    assert bench.carry(queued).attempts == 1
    assert "create" not in bench.log
    acked = bench.scene.acked()
    assert bench.scene.store.take(acked, a_claim())
    bench.carry(acked)
    assert bench.log == ["take"]


# Create, and how it fails


def test_unknown_outcomes_back_off_and_end(bench: Bench) -> None:
    row = bench.scene.queued()
    bench.issuer.raises("create", *[an_error(IssuerFault.UNKNOWN)] * MAX_UNKNOWN_ATTEMPTS)
    for wait_s in BACKOFF_S:
        before_us = bench.now_us(row)
        row = bench.carry_later(row)
        assert (row.state, row.claim, row.attempt_open) == (State.INTENT, None, False)
        assert before_us <= row.not_before_us - wait_s * US <= bench.now_us(row)
    assert bench.scene.outcomes(row.serial) == [Outcome.UNKNOWN] * MAX_UNKNOWN_ATTEMPTS
    row = bench.carry_later(row)
    assert (row.state, row.fault) == (State.FAILED, Fault.ATTEMPTS_EXHAUSTED)
    assert "create" not in bench.log
    assert bench.moved == [(row.id, State.FAILED)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (IssuerFault.REJECTED, Fault.CSR_REFUSED),
        (IssuerFault.KEY_MISMATCH, Fault.KEY_MISMATCH),
    ],
)
def test_a_create_that_will_never_do_fails_the_issuance(bench: Bench, fault: IssuerFault, expected: Fault) -> None:
    bench.issuer.raises("create", an_error(fault))
    row = bench.carry(bench.scene.queued())
    assert (row.state, row.fault, row.resume_state, row.claim) == (State.FAILED, expected, State.INTENT, None)
    assert bench.scene.outcomes(row.serial) == [Outcome.REFUSED]
    assert bench.moved == [(row.id, State.FAILED)]


@pytest.mark.parametrize(
    "fault", [IssuerFault.THROTTLED, IssuerFault.ACCOUNT, IssuerFault.QUOTA, IssuerFault.UNREACHABLE]
)
def test_a_create_that_had_no_effect_is_sent_again_with_the_same_key(bench: Bench, fault: IssuerFault) -> None:
    bench.issuer.raises("create", an_error(fault))
    waiting = bench.carry(bench.scene.queued())
    assert (waiting.state, waiting.claim, waiting.unknown_attempts) == (State.INTENT, None, 0)
    assert bench.scene.store.due(9) == []
    row = bench.carry_later(waiting)
    assert row.state is State.OFFERED
    assert (row.sealed_csr, row.sealed_escrow) == (waiting.sealed_csr, waiting.sealed_escrow)
    assert bench.scene.outcomes(row.serial) == [Outcome.REFUSED, Outcome.DONE]


def test_inv10_an_expired_lease_is_taken_over_and_its_attempt_closed_as_unknown(bench: Bench) -> None:
    left = bench.scene.intent(claim=a_claim(lease_s=-1))
    row = bench.carry(left)
    assert bench.log == ["close_attempt"]
    assert (row.state, row.claim, row.unknown_attempts) == (State.INTENT, None, 1)
    row = bench.carry_later(row)
    assert row.state is State.OFFERED
    assert bench.scene.outcomes(row.serial) == [Outcome.UNKNOWN, Outcome.DONE]


def test_a_certificate_is_held_on_to_while_the_database_is_down(bench: Bench) -> None:
    bench.store.raises("record_created", StoreDown("gone"))
    row = bench.carry(bench.scene.queued())
    assert row.state is State.OFFERED
    assert (bench.log.count("create"), bench.log.count("record_created")) == (1, 2)


@pytest.mark.parametrize("source", [KeySource.EC_P256, KeySource.AWS_RSA2048])
def test_inv5_what_a_trial_has_created_is_recorded_before_its_breaker_is_closed(
    bench: Bench, source: KeySource
) -> None:
    bench.scene.admin.set_product("sensor", ProductRules(key_source=source))
    queued = bench.scene.queued()
    bench.scene.store.trip(1, "", "unreachable", "", lambda _: -1.0, trial=False)
    (trial,) = bench.scene.store.due(9)
    for call in ("create", "create_with_key"):
        bench.issuer.first[call] = lambda *_: bench.store.raises("close_breaker", StoreDown("gone"))
    with pytest.raises(StoreDown):
        bench.carry(trial)
    assert bench.scene.now(queued.serial).state is State.CREATED


def test_it_is_given_up_with_the_lease_and_not_asked_in_a_hot_loop(bench: Bench) -> None:
    queued = bench.scene.queued()
    bench.store.raises("record_created", *[StoreDown("gone")] * 10_000)
    with pytest.raises(StoreDown):
        bench.carry(queued, lease_s=0.3, call_s=0)
    assert 2 <= bench.log.count("record_created") < 100
    assert bench.scene.now(queued.serial).attempt_open
    assert bench.carry_later(queued).unknown_attempts == 1


def test_inv5_a_certificate_whose_claim_was_lost_is_disposed_of(bench: Bench) -> None:
    queued = bench.scene.queued()
    bench.issuer.first["create"] = lambda *_: bench.scene.sql("UPDATE issuances SET claim = x'00'")
    bench.store.raises("record_loser", StoreDown("gone"))
    row = bench.carry(queued)
    assert (row.state, row.claim, bench.log[-2:]) == (State.INTENT, b"\0", ["record_loser"] * 2)
    (loser,) = bench.scene.admin.show_device(row.serial).certificates
    assert (loser.status, loser.reason) == (CertificateStatus.RETIRING, Reason.LOSER)
    assert [it.certificate_id for it in bench.scene.store.retiring(9)] == [loser.certificate_id]


def test_inv5_a_loser_that_cannot_be_recorded_is_named_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    queued, created = bench.scene.queued(), a_certificate()
    bench.issuer.first["create"] = lambda *_: bench.scene.sql("UPDATE issuances SET claim = x'00'")
    bench.plain.create = lambda *_: created
    bench.store.raises("record_loser", *[StoreDown("gone")] * 10_000)
    with pytest.raises(StoreDown):
        bench.carry(queued, lease_s=0.3, call_s=0)
    assert f"certificate {created.certificate_id.hex()} was created and cannot be recorded" in caplog.text


def test_no_call_is_begun_that_the_lease_may_not_outlast(bench: Bench) -> None:
    row = bench.carry(bench.scene.queued(), lease_s=1, call_s=2)
    assert bench.log[-1] == "open_attempt"
    assert (row.state, row.attempt_open) == (State.INTENT, True)
    assert row.claim is not None


# created → offered


@pytest.mark.parametrize(
    ("call", "fault", "expected"),
    [
        ("attach_thing", IssuerFault.THING_MISSING, Fault.THING_MISSING),
        ("thing_principals", IssuerFault.THING_MISSING, Fault.THING_MISSING),
        ("attach_policy", IssuerFault.REJECTED, Fault.REFUSED),
    ],
)
def test_what_cannot_be_attached_fails_the_issuance(
    bench: Bench, call: str, fault: IssuerFault, expected: Fault
) -> None:
    bench.issuer.raises(call, an_error(fault))
    row = bench.carry(bench.scene.queued())
    assert (row.state, row.fault, row.resume_state, row.claim) == (State.FAILED, expected, State.CREATED, None)
    assert bench.scene.outcomes(row.serial) == [Outcome.DONE]
    assert bench.moved == [(row.id, State.FAILED)]


@pytest.mark.parametrize("call", sorted(ATTACH))
@pytest.mark.parametrize("fault", [IssuerFault.THROTTLED, IssuerFault.UNKNOWN, IssuerFault.ACCOUNT])
def test_attaching_is_repeated_without_another_create(bench: Bench, call: str, fault: IssuerFault) -> None:
    bench.issuer.raises(call, an_error(fault))
    waiting = bench.carry(bench.scene.queued())
    assert (waiting.state, waiting.claim) == (State.CREATED, None)
    assert bench.scene.store.due(9) == []
    row = bench.carry_later(waiting)
    assert (row.state, row.certificate_id) == (State.OFFERED, waiting.certificate_id)
    assert bench.log[0] == "take"
    assert "create" not in bench.log


def occupy(bench: Bench) -> None:
    bench.plain.principals.append(FOREIGN.arn)
    bench.plain.active.add(FOREIGN.certificate_id)


def test_a_thing_with_a_foreign_active_certificate_is_occupied(bench: Bench) -> None:
    occupy(bench)
    row = bench.carry(bench.scene.queued())
    assert (row.state, row.fault, row.resume_state) == (State.FAILED, Fault.THING_OCCUPIED, State.CREATED)


@pytest.mark.parametrize(
    "principal",
    [
        FOREIGN.arn,
        "arn:aws:cognito-identity:eu-west-1:123456789012:identitypool/p",
        "arn:aws:iot:eu-west-1:123456789012:cert/" + 64 * "x",
    ],
)
def test_a_principal_that_is_no_active_certificate_occupies_nothing(bench: Bench, principal: str) -> None:
    bench.plain.principals.append(principal)
    assert bench.carry(bench.scene.queued()).state is State.OFFERED
    assert ("certificate_is_active" in bench.log) == (principal == FOREIGN.arn)


def test_a_product_that_shares_things_does_not_look(bench: Bench) -> None:
    bench.scene.admin.set_product("sensor", ProductRules(share_things=True))
    occupy(bench)
    assert bench.carry(bench.scene.queued()).state is State.OFFERED
    assert "thing_principals" not in bench.log


def test_the_device_s_own_active_certificate_does_not_occupy_its_thing(bench: Bench) -> None:
    former = bench.scene.active()
    assert former.certificate_id is not None
    bench.plain.principals.append(arn_of(former.certificate_id))
    bench.plain.active.add(former.certificate_id)
    assert bench.carry(bench.scene.queued(former.serial)).state is State.OFFERED


# acked → active


def test_inv3_what_was_acknowledged_is_activated(bench: Bench) -> None:
    acked = bench.scene.acked()
    row = bench.carry(acked)
    assert bench.log == ["take", "activate", "record_active"]
    assert bench.plain.active == {acked.certificate_id}
    assert (row.state, row.claim) == (State.ACTIVE, None)
    assert bench.moved == [(row.id, State.ACTIVE)]


def test_inv1_the_former_certificate_retires_with_the_activation(bench: Bench) -> None:
    former = bench.scene.active()
    row = bench.carry(bench.scene.acked(former.serial))
    found = {it.certificate_id: (it.status, it.reason) for it in bench.scene.admin.show_device(row.serial).certificates}
    assert found[former.certificate_id] == (CertificateStatus.RETIRING, Reason.SUPERSEDED)
    assert found[row.certificate_id] == (CertificateStatus.ACTIVE, None)


@pytest.mark.parametrize("fault", [IssuerFault.THROTTLED, IssuerFault.UNKNOWN, IssuerFault.CONFLICT])
def test_an_activation_that_failed_is_repeated(bench: Bench, fault: IssuerFault) -> None:
    bench.issuer.raises("activate", an_error(fault))
    waiting = bench.carry(bench.scene.acked())
    assert (waiting.state, waiting.claim) == (State.ACKED, None)
    assert bench.scene.store.due(9) == []
    assert bench.moved == []
    assert bench.carry_later(waiting).state is State.ACTIVE


@pytest.mark.parametrize("answered", [True, False])
def test_inv1_a_late_activation_of_what_was_ended_meanwhile_is_undone(bench: Bench, answered: bool) -> None:
    acked = bench.scene.acked()

    def ended_meanwhile(*_: object) -> None:
        bench.scene.sql("UPDATE issuances SET state = 'closed', claim = NULL")
        bench.scene.sql(f"UPDATE certificates SET status = 'retiring', reason = 'revoked', not_before_us = {2**60}")
        if not answered:
            raise an_error(IssuerFault.UNKNOWN)

    bench.issuer.first["activate"] = ended_meanwhile
    assert bench.carry(acked).state is State.CLOSED
    assert [it.certificate_id for it in bench.scene.store.retiring(9)] == [acked.certificate_id]


# offered → closed


def expired(bench: Bench) -> Issuance:
    """An offer whose time is over."""
    offered = bench.scene.offered()
    bench.scene.sql("UPDATE issuances SET expires_us = 1, not_before_us = 1")
    return bench.scene.now(offered.serial)


def test_inv5_an_offer_that_nobody_acknowledged_expires(bench: Bench) -> None:
    row = bench.carry(expired(bench))
    assert bench.log == ["certificate_is_active", "expire"]
    assert (row.state, row.sealed_escrow) == (State.CLOSED, None)
    assert bench.moved == [(row.id, State.CLOSED)]
    assert [it.certificate_id for it in bench.scene.store.retiring(9)] == [row.certificate_id]


def test_inv1_an_offer_whose_certificate_is_in_use_does_not_expire(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a restore: the acknowledgement is younger than the rows."""
    row = expired(bench)
    assert row.certificate_id is not None
    bench.plain.active.add(row.certificate_id)
    assert bench.worker().carry(row) > 0
    assert bench.scene.now(row.serial) == row
    assert "cvmd reconcile" in caplog.text


def test_an_offer_that_was_acknowledged_in_the_last_moment_does_not_expire(bench: Bench) -> None:
    offered = bench.scene.offered()
    assert offered.certificate_id is not None
    bench.store.first["expire"] = lambda *_: bench.scene.store.acknowledge(offered.id, offered.certificate_id)
    assert bench.carry(offered).state is State.ACKED
    assert bench.moved == []
