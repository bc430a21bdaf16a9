"""The decisions, row by row: what a worker does next, what a device is told."""

from dataclasses import replace

import pytest

from cvmd.breakers import RESTS
from cvmd.errors import IssuerFault, Kind
from cvmd.issuance import (
    BACKOFF_S,
    MAX_UNKNOWN_ATTEMPTS,
    REPLACE_AFTER_S,
    Acknowledge,
    Done,
    Offer,
    Queue,
    Refuse,
    Request,
    Step,
    Wait,
    answer,
    answer_ack,
    backoff_s,
    behind,
    check_request,
    fault_of,
    next_step,
)
from cvmd.model import (
    US,
    Account,
    Auth,
    Breaker,
    Certificate,
    CertificateStatus,
    Device,
    Fault,
    Issuance,
    KeySource,
    Line,
    Product,
    Reason,
    State,
    View,
)
from protocol.constants import Kind as ObjectKind
from protocol.objects import want_of

NOW = 1_000_000 * US
NEW, OLD, STRANGE = b"n" * 32, b"o" * 32, b"s" * 32
ACCOUNT = Account(1, "default", None, None, None, None, 10)
PRODUCT = Product(1, "p", ACCOUNT, Auth.TOKEN, KeySource.EC_P256, 0, 600, 60, 5, False)
BY_CSR = replace(PRODUCT, key_source=KeySource.DEVICE_CSR)
DEVICE = Device(7, b"SN1", "thing", "policy", False, 1, 0, None, b"")
WITH_KEY = want_of([ObjectKind.CERTIFICATE, ObjectKind.KEY_SEC1_PKCS1])
WITHOUT_KEY = want_of([ObjectKind.CERTIFICATE])
ASK = Request(WITH_KEY, None, False, None, None)


def issuance(state: State, product: Product = PRODUCT, **fields: object) -> Issuance:
    row = Issuance(
        id=3, uid=b"u" * 16, device_id=7, serial=b"SN1", generation=1, state=state, claim=None,
        lease_until_us=None, not_before_us=0, attempts=0, unknown_attempts=0, attempt_open=False,
        resume_state=None, fault=None, key_source=product.key_source, public_key_id=None, sealed_csr=None,
        certificate_id=None, thing="thing", policy="policy", expires_us=NOW + US, updated_us=0,
        account=ACCOUNT, product=product, sealed_escrow=None,
    )  # fmt: skip
    return replace(row, **fields)  # type: ignore[arg-type]  # fields by name, checked by replace itself


def view(row: Issuance | None, *, active: bytes | None = None, **device: object) -> View:
    product = row.product if row else PRODUCT
    return View(replace(DEVICE, **device), product, row, active, NOW)  # type: ignore[arg-type]  # as above


def certificate(digest: bytes, status: CertificateStatus, reason: Reason | None = None) -> Certificate:
    return Certificate(digest, 3, 7, "arn", b"der", "thing", "policy", status, reason)


@pytest.mark.parametrize(
    ("row", "held", "step"),
    [
        (issuance(State.QUEUED), False, Step.OPEN_ATTEMPT),
        (issuance(State.INTENT, attempt_open=True), True, Step.CREATE),
        (issuance(State.INTENT, attempt_open=True), False, Step.CLOSE_ATTEMPT),
        (issuance(State.INTENT, unknown_attempts=1), False, Step.OPEN_ATTEMPT),
        (issuance(State.INTENT, unknown_attempts=MAX_UNKNOWN_ATTEMPTS), False, Step.EXHAUSTED),
        # The last attempt's own outcome is recorded before the issuance is given up.
        (issuance(State.INTENT, unknown_attempts=5, attempt_open=True), False, Step.CLOSE_ATTEMPT),
        (issuance(State.CREATED), False, Step.TAKE),
        (issuance(State.CREATED), True, Step.ATTACH),
        (issuance(State.OFFERED), False, Step.EXPIRE),
        (issuance(State.ACKED), False, Step.TAKE),
        (issuance(State.ACKED), True, Step.ACTIVATE),
        (issuance(State.ACTIVE), False, Step.REST),
        (issuance(State.CLOSED), False, Step.REST),
        (issuance(State.FAILED), False, Step.REST),
    ],
)
def test_next_step(row: Issuance, held: bool, step: Step) -> None:
    assert next_step(row, held=held) is step


def test_backoff_grows_and_ends() -> None:
    assert [backoff_s(n) for n in range(1, 7)] == [0, 5, 30, 300, 0, 0]
    assert len(BACKOFF_S) == MAX_UNKNOWN_ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "state", "expected"),
    [
        (IssuerFault.REJECTED, State.INTENT, Fault.CSR_REFUSED),
        (IssuerFault.REJECTED, State.CREATED, Fault.REFUSED),
        (IssuerFault.THING_MISSING, State.CREATED, Fault.THING_MISSING),
        (IssuerFault.POLICY_MISSING, State.CREATED, None),
        (IssuerFault.KEY_MISMATCH, State.INTENT, Fault.KEY_MISMATCH),
        (IssuerFault.THROTTLED, State.INTENT, None),
        (IssuerFault.ACCOUNT, State.CREATED, None),
        (IssuerFault.QUOTA, State.INTENT, None),
        (IssuerFault.UNKNOWN, State.ACKED, None),
    ],
)
def test_only_an_issuances_own_faults_fail_it(fault: IssuerFault, state: State, expected: Fault | None) -> None:
    assert fault_of(fault, state) is expected


OFFERED = issuance(State.OFFERED, certificate_id=NEW)
ACTIVE = issuance(State.ACTIVE, certificate_id=NEW)


@pytest.mark.parametrize(
    ("seen", "decision"),
    [
        (view(None, generation=0), Queue(1)),
        (view(issuance(State.CLOSED)), Queue(2)),
        (view(issuance(State.QUEUED)), Wait(issuance(State.QUEUED))),
        (view(issuance(State.INTENT)), Wait(issuance(State.INTENT))),
        (view(issuance(State.CREATED)), Wait(issuance(State.CREATED))),
        (view(OFFERED), Offer(OFFERED)),
        (view(replace(OFFERED, expires_us=NOW)), Wait(replace(OFFERED, expires_us=NOW))),
        (view(issuance(State.ACKED)), Wait(issuance(State.ACKED))),
        (view(ACTIVE, active=NEW, activations=1), Refuse(Kind.ISSUED)),
        (view(ACTIVE, active=NEW, activations=1, reissue_until_us=NOW + 1), Queue(2)),
        (view(ACTIVE, active=NEW, activations=1, reissue_until_us=NOW), Refuse(Kind.ISSUED)),
        (view(issuance(State.FAILED, fault=Fault.THING_OCCUPIED)), Refuse(Kind.THING_OCCUPIED)),
        (view(issuance(State.FAILED, fault=Fault.REFUSED, resume_state=State.CREATED)), Refuse(Kind.ATTACH_REFUSED)),
        (view(issuance(State.FAILED, fault=Fault.CSR_REFUSED)), Refuse(Kind.ATTEMPTS)),  # the CSR was made here
        (view(issuance(State.FAILED, BY_CSR, fault=Fault.CSR_REFUSED)), Refuse(Kind.CSR_REFUSED)),
        (view(issuance(State.FAILED, fault=Fault.CSR_UNSEALED)), Queue(2, replaces=3)),  # begun anew by its device
    ],
)
def test_a_device_that_holds_nothing(seen: View, decision: object) -> None:
    assert answer(seen, ASK, None) == decision


@pytest.mark.parametrize(
    ("limit", "activations", "more"), [(0, 1, False), (2, 2, True), (2, 3, False), (None, 99, True)]
)
def test_reissue_limit_counts_after_the_first_active_one(limit: int | None, activations: int, more: bool) -> None:
    row = replace(ACTIVE, product=replace(PRODUCT, reissue_limit=limit))
    decision = answer(view(row, active=NEW, activations=activations), ASK, None)
    assert decision == (Queue(2) if more else Refuse(Kind.ISSUED))


@pytest.mark.parametrize(
    ("seen", "held", "decision"),
    [
        (view(OFFERED), certificate(NEW, CertificateStatus.INACTIVE), Acknowledge(OFFERED)),
        (
            view(replace(OFFERED, state=State.ACKED)),
            certificate(NEW, CertificateStatus.INACTIVE),
            Wait(replace(OFFERED, state=State.ACKED)),
        ),
        # Of a database from before the offer: what the device holds is ACTIVE at AWS, and is not to be dropped.
        (
            view(replace(OFFERED, state=State.CREATED)),
            certificate(NEW, CertificateStatus.INACTIVE),
            Wait(replace(OFFERED, state=State.CREATED)),
        ),
        (view(ACTIVE, active=NEW, activations=1), certificate(NEW, CertificateStatus.ACTIVE), Done(NEW)),
        # Failed after the ACK: the device holds the only copy of its key, and must not be told to drop it.
        (
            view(replace(OFFERED, state=State.FAILED, fault=Fault.REFUSED, resume_state=State.ACKED)),
            certificate(NEW, CertificateStatus.INACTIVE),
            Refuse(Kind.REFUSED),
        ),
        # A rotation is open: the next bundle, not "all is well".
        (
            view(OFFERED, active=OLD, activations=1),
            certificate(OLD, CertificateStatus.ACTIVE),
            Offer(OFFERED),
        ),
        (view(ACTIVE, active=NEW), certificate(OLD, CertificateStatus.RETIRING), Refuse(Kind.STALE)),
        (view(ACTIVE, active=NEW), certificate(OLD, CertificateStatus.DELETED), Refuse(Kind.STALE)),
        (view(ACTIVE, active=NEW), None, Refuse(Kind.UNKNOWN_CERTIFICATE)),
        (view(None), None, Refuse(Kind.UNKNOWN_CERTIFICATE)),
    ],
)
def test_inv4_the_digest_of_what_the_device_holds(seen: View, held: Certificate | None, decision: object) -> None:
    request = replace(ASK, have=held.certificate_id if held else STRANGE)
    assert answer(seen, request, held) == decision


def test_a_digest_that_nobody_knows_is_let_go_by_the_window_alone() -> None:
    asks = replace(ASK, have=STRANGE)
    window = {"reissue_until_us": NOW + 1}
    assert answer(view(None, **window), asks, None) == Refuse(Kind.STALE)
    assert answer(view(ACTIVE, active=NEW, activations=1, **window), asks, None) == Refuse(Kind.UNKNOWN_CERTIFICATE)
    assert answer(view(None, reissue_until_us=NOW), asks, None) == Refuse(Kind.UNKNOWN_CERTIFICATE)


def test_inv1_an_expired_offer_is_neither_acknowledged_nor_dropped_until_aws_was_asked() -> None:
    expired, inactive = replace(OFFERED, expires_us=NOW), certificate(NEW, CertificateStatus.INACTIVE)
    assert answer_ack(view(expired), NEW, inactive) == Wait(expired)
    assert answer(view(expired), replace(ASK, have=NEW), inactive) == Wait(expired)
    held = certificate(OLD, CertificateStatus.ACTIVE)
    assert answer(view(expired, active=OLD, activations=1), replace(ASK, have=OLD), held) == Done(OLD)


def test_an_expired_offer_is_waited_for_by_who_has_another_key_too() -> None:
    expired = issuance(State.OFFERED, BY_CSR, public_key_id=b"1" * 32, certificate_id=NEW, expires_us=NOW)
    asks = Request(WITHOUT_KEY, OLD, True, b"csr", b"2" * 32)
    window = view(expired, active=OLD, activations=1, reissue_until_us=NOW + US)
    assert answer(window, asks, certificate(OLD, CertificateStatus.ACTIVE)) == Wait(expired)
    assert answer(window, replace(asks, have=None), None) == Wait(expired)


def test_renew_is_granted_by_the_reissue_limit_alone() -> None:
    held, request = certificate(NEW, CertificateStatus.ACTIVE), replace(ASK, have=NEW, renew=True)
    assert answer(view(ACTIVE, active=NEW, activations=1), request, held) == Done(NEW)
    free = replace(ACTIVE, product=replace(PRODUCT, reissue_limit=None))
    assert answer(view(free, active=NEW, activations=1), request, held) == Queue(2)


KEY_1, KEY_2 = b"1" * 32, b"2" * 32
WITH_KEY_2 = Request(WITHOUT_KEY, None, False, b"csr", KEY_2)
HOLDS_OLD = certificate(OLD, CertificateStatus.ACTIVE)


def of_key_1(state: State, **fields: object) -> Issuance:
    return issuance(state, BY_CSR, public_key_id=KEY_1, certificate_id=NEW, **fields)


@pytest.mark.parametrize("state", [State.QUEUED, State.OFFERED, State.FAILED])
def test_another_csr_key_supersedes_what_nobody_claims(state: State) -> None:
    row = of_key_1(state)
    assert answer(view(row), WITH_KEY_2, None) == Queue(2, replaces=3)
    for same in (replace(WITH_KEY_2, public_key_id=KEY_1), Request(WITHOUT_KEY, None, False, None, None)):
        assert not isinstance(answer(view(row), same, None), Queue)


@pytest.mark.parametrize("state", [State.OFFERED, State.FAILED])
@pytest.mark.parametrize(("in_vain", "wait_s"), [(-3, 0), (0, 0), (1, 0), (2, 3_600), (3, 86_400), (99, 86_400)])
def test_each_key_that_came_to_nothing_makes_the_next_one_wait(state: State, in_vain: int, wait_s: int) -> None:
    assert wait_s in REPLACE_AFTER_S
    lost = {"generation": 5 + in_vain, "activations": 5}
    for age_s, replaced in ((wait_s - 1, False), (wait_s, True)):
        if age_s >= 0:
            row = of_key_1(state, updated_us=NOW - age_s * US, expires_us=NOW + US)
            row = replace(row, product=replace(BY_CSR, reissue_limit=None))
            expected = Queue(6 + in_vain, replaces=3) if replaced else Refuse(Kind.KEY_AGAIN)
            assert answer(view(row, **lost), WITH_KEY_2, None) == expected
            window = view(row, **lost, reissue_until_us=NOW + 1)
            assert answer(window, WITH_KEY_2, None) == Queue(6 + in_vain, replaces=3)


def test_a_key_changed_while_nothing_was_made_does_not_wait() -> None:
    row = of_key_1(State.QUEUED, updated_us=NOW)
    assert answer(view(row, generation=9), WITH_KEY_2, None) == Queue(10, replaces=3)


def test_another_key_for_a_successor_is_under_the_limit_like_any_new_one() -> None:
    rotating = {"active": OLD, "generation": 2, "activations": 1}
    row = of_key_1(State.OFFERED)
    assert answer(view(row, **rotating), WITH_KEY_2, None) == Refuse(Kind.ISSUED)
    assert answer(view(row, **rotating, reissue_until_us=NOW + 1), WITH_KEY_2, None) == Queue(3, replaces=3)


@pytest.mark.parametrize("window_us", [None, NOW + US])
@pytest.mark.parametrize("state", [State.QUEUED, State.INTENT, State.CREATED, State.OFFERED])
def test_without_renew_nothing_is_begun_for_who_holds_the_active_one(state: State, window_us: int | None) -> None:
    """The CSR of a device that only asks is of the key in use: not the one that the successor is for."""
    seen = view(of_key_1(state), active=OLD, generation=2, activations=1, reissue_until_us=window_us)
    asks = replace(WITH_KEY_2, have=OLD)
    assert answer(seen, asks, HOLDS_OLD) == Done(OLD)
    renews = answer(seen, replace(asks, renew=True), HOLDS_OLD)
    if window_us is None:
        assert renews == Done(OLD)
    else:
        assert renews == (Wait(of_key_1(state)) if state in {State.INTENT, State.CREATED} else Queue(3, replaces=3))


def test_what_failed_after_its_ack_is_not_replaced() -> None:
    acked = of_key_1(State.FAILED, fault=Fault.REFUSED, resume_state=State.ACKED)
    assert answer(view(acked), WITH_KEY_2, None) == Refuse(Kind.REFUSED)


@pytest.mark.parametrize(("made_as", "product"), [(PRODUCT, BY_CSR), (BY_CSR, PRODUCT)])
@pytest.mark.parametrize("state", [State.QUEUED, State.OFFERED, State.FAILED])
def test_an_issuance_whose_key_is_at_the_wrong_end_is_replaced(
    made_as: Product, product: Product, state: State
) -> None:
    """The product's key source was changed while it was open: its bundle would lack the key, or the device's."""
    row = replace(issuance(state, made_as, public_key_id=KEY_1), product=product)
    assert answer(view(row), ASK if product is PRODUCT else WITH_KEY_2, None) == Queue(2, replaces=3)
    rsa = replace(issuance(State.OFFERED), product=replace(PRODUCT, key_source=KeySource.RSA2048))
    assert answer(view(rsa), ASK, None) == Offer(rsa)


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (State.QUEUED, Wait),
        (State.INTENT, Wait),
        (State.CREATED, Wait),
        (State.OFFERED, Offer),
        (State.ACKED, Wait),
    ],
)
def test_inv4_without_csr_a_device_is_given_what_there_is(state: State, decision: type[Wait | Offer]) -> None:
    asks = Request(WITHOUT_KEY, None, False, None, None)
    assert check_request(BY_CSR, asks) is None
    assert answer(view(of_key_1(state)), asks, None) == decision(of_key_1(state))


def test_a_new_issuance_of_a_devices_own_key_needs_its_csr() -> None:
    asks = Request(WITHOUT_KEY, None, False, None, None)
    assert answer(replace(view(None, generation=0), product=BY_CSR), asks, None) == Refuse(Kind.CSR_NEEDED)
    assert answer(view(of_key_1(State.CLOSED)), asks, None) == Refuse(Kind.CSR_NEEDED)
    issued = view(of_key_1(State.ACTIVE), active=NEW, activations=1)
    assert answer(issued, asks, None) == Refuse(Kind.ISSUED)


def test_a_devices_own_key_is_not_queued_where_keys_are_made_here_by_now() -> None:
    asks = Request(WITHOUT_KEY, None, False, b"csr", b"1" * 32)
    waits = replace(of_key_1(State.QUEUED), product=PRODUCT)
    assert answer(view(waits), asks, None) == Refuse(Kind.CSR_UNWANTED)


def test_a_revoked_certificate_was_one_too() -> None:
    assert answer(view(ACTIVE, active=None, activations=1), ASK, None) == Refuse(Kind.ISSUED)


@pytest.mark.parametrize("state", [State.QUEUED, State.INTENT, State.CREATED, State.OFFERED, State.ACKED])
def test_an_ack_of_the_active_certificate_is_done_though_a_successor_is_open(state: State) -> None:
    row = issuance(state, certificate_id=NEW if state in {State.OFFERED, State.ACKED} else None)
    assert answer_ack(view(row, active=OLD, generation=2, activations=1), OLD, HOLDS_OLD) == Done(OLD)


def test_an_ack_of_a_retired_certificate_is_stale() -> None:
    retired = certificate(OLD, CertificateStatus.RETIRING)
    assert answer_ack(view(OFFERED, active=NEW, activations=2), OLD, retired) == Refuse(Kind.STALE)


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED, State.ACKED])
def test_another_csr_key_waits_for_what_is_under_way(state: State) -> None:
    row = issuance(state, BY_CSR, public_key_id=b"1" * 32, certificate_id=NEW)
    assert answer(view(row), Request(WITHOUT_KEY, None, False, b"csr", b"2" * 32), None) == Wait(row)


@pytest.mark.parametrize(
    ("product", "request_", "refused"),
    [
        (PRODUCT, ASK, None),
        (PRODUCT, replace(ASK, want=WITHOUT_KEY), Refuse(Kind.WANT, 1 << 2)),
        (PRODUCT, replace(ASK, csr_der=b"csr"), Refuse(Kind.CSR_UNWANTED)),
        (BY_CSR, replace(ASK, csr_der=b"csr"), Refuse(Kind.WANT, 1 << 2)),
        (BY_CSR, Request(WITHOUT_KEY, None, False, None, None), None),
        (BY_CSR, Request(WITHOUT_KEY, NEW, False, None, None), None),
        (BY_CSR, Request(WITHOUT_KEY, None, False, b"csr", b"1" * 32), None),
    ],
)
def test_what_fits_the_key_source(product: Product, request_: Request, refused: Refuse | None) -> None:
    assert check_request(product, request_) == refused


def test_an_ack_of_what_was_never_offered_starts_over() -> None:
    assert answer_ack(view(OFFERED), STRANGE, None) == Refuse(Kind.STALE)
    assert answer_ack(view(OFFERED), NEW, certificate(NEW, CertificateStatus.INACTIVE)) == Acknowledge(OFFERED)
    assert answer_ack(view(ACTIVE, active=NEW), NEW, certificate(NEW, CertificateStatus.ACTIVE)) == Done(NEW)


@pytest.mark.parametrize(
    ("length", "creates_per_s", "turn_s"), [(0, 10, 0), (10, 10, 0), (101, 10, 10), (5, 0, 4), (1, 1, 0)]
)
def test_a_turn_is_what_the_quota_takes(length: int, creates_per_s: int, turn_s: int) -> None:
    queued = issuance(State.QUEUED)
    queued = replace(queued, account=replace(queued.account, creates_per_s=creates_per_s))
    assert behind(Line(length, (), 0), queued) == (Kind.TURN, turn_s)
    assert behind(Line(length, (), 0), replace(queued, state=State.CREATED)) == (Kind.TURN, 0)


def test_a_policy_s_breaker_holds_up_what_needs_the_policy() -> None:
    queued = issuance(State.QUEUED)
    line = Line(0, (Breaker(1, queued.policy, 1, 90_000_001, "policy-missing", ""),), 0)
    assert behind(line, queued) == (Kind.POLICY_MISSING, 91)
    assert behind(line, replace(queued, policy="other")) == (Kind.TURN, 0)
    assert behind(line, replace(queued, state=State.ACKED)) == (Kind.TURN, 0)


@pytest.mark.parametrize("fault", sorted(fault for fault, rest in RESTS.items() if rest.shared))
def test_every_fault_that_opens_a_breaker_has_its_answer(fault: IssuerFault) -> None:
    kind, wait_s = behind(Line(0, (Breaker(1, "", 1, 1, str(fault), ""),), 0), issuance(State.QUEUED))
    assert wait_s == 1
    assert (kind is Kind.AWS_DOWN) == (
        fault not in (IssuerFault.THROTTLED, IssuerFault.QUOTA, IssuerFault.POLICY_MISSING)
    )
