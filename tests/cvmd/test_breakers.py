"""A worker and the breakers: which fault opens whose, and what its trial makes of it."""

import time

import pytest

from cvmd.breakers import RESTS, UNKNOWN_IN_A_ROW, Rest
from cvmd.errors import IssuerFault
from cvmd.model import State
from tests.cvmd.conftest import Bench, an_error
from tests.cvmd.store.conftest import a_claim

OF_THE_ACCOUNT = [IssuerFault.THROTTLED, IssuerFault.UNREACHABLE, IssuerFault.ACCOUNT, IssuerFault.QUOTA]


def opened(bench: Bench) -> list[tuple[str, str, int]]:
    return [
        (policy, fault, failures)
        for policy, fault, failures in bench.scene.sql(
            "SELECT policy, fault, failures FROM breakers WHERE failures > 0"
        )
    ]


def rested(bench: Bench) -> None:
    """The rests of the breakers and of the rows are over."""
    bench.scene.sql("UPDATE breakers SET until_us = 1")
    bench.scene.sql("UPDATE issuances SET not_before_us = 1 WHERE not_before_us IS NOT NULL AND claim IS NULL")


def test_the_rest_doubles_up_to_the_longest() -> None:
    rest = Rest(1, 30)
    for failures, seconds in ((1, 1), (2, 2), (3, 4), (6, 30), (10_000, 30)):
        assert 0.75 * seconds <= rest.after_s(failures) <= 1.25 * seconds


def test_a_row_whose_certificate_is_gone_costs_ever_fewer_calls(bench: Bench) -> None:
    created = bench.scene.created(claim=(claim := a_claim()))
    assert bench.scene.store.release(created, claim, wait_s=0)
    bench.issuer.raises("attach_thing", *[an_error(IssuerFault.CERTIFICATE_MISSING)] * 3)
    for age_s, least_s, most_s in ((0, 1, 3), (100, 24, 27), (36_000, 299, 301)):
        bench.scene.sql(f"UPDATE issuances SET not_before_us = 1, updated_us = updated_us - {age_s} * 1000000")
        (row,) = bench.scene.store.due(9)
        began_s = time.time()
        bench.carry(row)
        after = bench.scene.now(created.serial)
        assert after.state is State.CREATED
        assert least_s < after.not_before_us / 1e6 - began_s
        assert after.not_before_us / 1e6 - time.time() < most_s
    assert opened(bench) == []


@pytest.mark.parametrize("fault", OF_THE_ACCOUNT)
@pytest.mark.parametrize("call", ["describe_endpoint", "policy_exists", "create", "attach_thing"])
def test_a_fault_of_the_account_holds_up_all_its_rows(bench: Bench, fault: IssuerFault, call: str) -> None:
    first, _ = bench.scene.queued(), bench.scene.queued()
    bench.issuer.raises(call, an_error(fault))
    bench.carry(first)
    assert opened(bench) == [("", str(fault), 1)]
    assert bench.scene.store.due(9) == []


def test_the_trial_that_is_answered_closes_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.scene.queued()
    second = bench.scene.queued()
    bench.issuer.raises("create", an_error(IssuerFault.ACCOUNT))
    bench.carry(second)
    rested(bench)
    (trial,) = bench.scene.store.due(9)
    bench.carry(trial)
    assert bench.scene.now(trial.serial).state is State.OFFERED
    assert opened(bench) == []
    assert len(bench.scene.store.due(9)) == 1
    assert caplog.text.count("its issuances wait (account)") == 1
    assert caplog.text.count("well again") == 1


def test_the_trial_that_fails_rests_longer_and_says_nothing_new(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    row = bench.scene.queued()
    bench.issuer.raises("create", *[an_error(IssuerFault.THROTTLED)] * 4)
    bench.carry(row)
    for failures in (2, 3, 4):
        rested(bench)
        (trial,) = bench.scene.store.due(9)
        bench.carry(trial)
        assert opened(bench) == [("", "throttled", failures)]
    assert caplog.text.count("its issuances wait") == 1


def test_a_trial_that_another_node_has_is_left(bench: Bench) -> None:
    row = bench.scene.queued()
    bench.issuer.raises("create", an_error(IssuerFault.ACCOUNT))
    bench.carry(row)
    rested(bench)
    (trial,) = bench.scene.store.due(9)
    assert bench.scene.store.half_open(trial.account.id, trial.policy)
    before = bench.log.count("create")
    bench.worker().carry(trial)
    assert bench.log.count("create") == before


def test_an_attempt_that_a_dead_worker_left_takes_nobody_s_trial(bench: Bench) -> None:
    left = bench.scene.intent(claim=a_claim(lease_s=-1))
    bench.scene.store.trip(1, "", IssuerFault.UNREACHABLE, "away", lambda _: -1.0, trial=False)
    bench.scene.sql("UPDATE issuances SET not_before_us = 1")
    (found,) = bench.scene.store.due(9)
    assert found.trial
    bench.carry(found)
    assert not bench.scene.now(left.serial).attempt_open
    assert bench.scene.store.half_open(1, ""), "it is still to be had"


def test_a_judged_call_is_an_answer_also_where_it_fails_its_row(bench: Bench) -> None:
    row = bench.scene.queued()
    bench.issuer.raises("create", an_error(IssuerFault.UNREACHABLE), an_error(IssuerFault.REJECTED))
    bench.carry(row)
    rested(bench)
    (trial,) = bench.scene.store.due(9)
    bench.carry(trial)
    assert (bench.scene.now(row.serial).state, opened(bench)) == (State.FAILED, [])


def test_calls_without_an_outcome_are_the_account_s_fault_when_they_come_in_a_row(bench: Bench) -> None:
    worker = bench.worker()
    for number in range(1, UNKNOWN_IN_A_ROW + 1):
        bench.issuer.raises("create", an_error(IssuerFault.UNKNOWN))
        worker.carry(bench.scene.queued())
        assert len(opened(bench)) == (number == UNKNOWN_IN_A_ROW)


def test_an_answer_between_them_begins_the_row_anew(bench: Bench) -> None:
    worker = bench.worker()
    for _ in range(UNKNOWN_IN_A_ROW):
        bench.issuer.raises("create", an_error(IssuerFault.UNKNOWN))
        worker.carry(bench.scene.queued())
        bench.issuer.first.clear()
        worker.carry(bench.scene.queued())
    assert opened(bench) == []


def test_a_policy_that_is_missing_costs_no_certificate_and_holds_up_its_devices_only(bench: Bench) -> None:
    here, elsewhere = bench.scene.queued(), bench.scene.queued()
    bench.scene.sql(f"UPDATE devices SET policy = 'other' WHERE id = {elsewhere.device_id}")
    bench.plain.policy_exists = lambda _account, policy: policy == "other"
    bench.carry(here)
    assert (bench.scene.now(here.serial).state, bench.log.count("create")) == (State.QUEUED, 0)
    assert opened(bench) == [(here.policy, "policy-missing", 1)]
    assert [it.id for it in bench.scene.store.due(9)] == [elsewhere.id]


def test_a_policy_that_is_there_again_lets_its_devices_go_on_by_themselves(bench: Bench) -> None:
    row = bench.scene.queued()
    bench.plain.policy_exists = lambda *_: False
    bench.carry(row)
    rested(bench)
    del bench.plain.policy_exists
    (trial,) = bench.scene.store.due(9)
    bench.carry(trial)
    assert (bench.scene.now(row.serial).state, opened(bench)) == (State.OFFERED, [])


def test_the_operator_s_retry_ends_the_rest(bench: Bench) -> None:
    row = bench.scene.queued()
    bench.plain.policy_exists = lambda *_: False
    bench.carry(row)
    assert bench.scene.store.due(9) == []
    bench.scene.admin.retry(row.serial)
    (trial,) = bench.scene.store.due(9)
    assert (trial.id, trial.trial) == (row.id, True)


def test_a_policy_that_vanished_before_attaching_is_asked_for_again(bench: Bench) -> None:
    worker = bench.worker()
    bench.issuer.raises("attach_policy", an_error(IssuerFault.POLICY_MISSING))
    row = bench.scene.queued()
    worker.carry(row)
    assert bench.scene.now(row.serial).state is State.CREATED
    assert opened(bench) == [(row.policy, "policy-missing", 1)]
    rested(bench)
    (trial,) = bench.scene.store.due(9)
    worker.carry(trial)
    assert (bench.scene.now(row.serial).state, opened(bench)) == (State.OFFERED, [])
    worker.carry(bench.scene.queued())
    assert bench.log.count("policy_exists") == 2


def test_every_fault_either_waits_or_ends_the_issuance() -> None:
    assert set(IssuerFault) - set(RESTS) == {
        IssuerFault.THING_MISSING, IssuerFault.REJECTED, IssuerFault.KEY_MISMATCH
    }  # fmt: skip
