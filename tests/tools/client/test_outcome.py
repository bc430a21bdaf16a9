from dataclasses import replace

import pytest

from protocol.constants import Stage, Status
from tools.client import Cut, Done, Exit, Failed, Options, Outcome, Refused, pause_before_next

ONCE = Options(host="127.0.0.1", serial="A1", backoff_s=2)
THRICE = replace(ONCE, attempts=3)
FOR_EVER = replace(ONCE, retry=True)


def refused(status: int, retry_s: int = 0, tagged: bool = True) -> Refused:
    return Refused(status, Stage.PROOF, retry_s, 0, tagged)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Done(already=False), Exit.DONE),
        (Done(already=True), Exit.DONE),
        (refused(Status.BUSY), Exit.TEMPORARY),
        (refused(0x1F), Exit.TEMPORARY),
        (refused(Status.STALE), Exit.TEMPORARY),
        (refused(Status.AUTH), Exit.REFUSED),
        (refused(Status.WANT), Exit.REFUSED),
        (refused(0x7F), Exit.REFUSED),
        (Failed("x"), Exit.FAILED),
        (Cut(1), Exit.CUT),
    ],
)
def test_exit_codes(outcome: Outcome, code: Exit) -> None:
    assert outcome.exit_code is code


@pytest.mark.parametrize("options", [ONCE, THRICE, FOR_EVER])
@pytest.mark.parametrize("outcome", [Done(already=False), Cut(1)])
def test_what_is_over_is_over(outcome: Outcome, options: Options) -> None:
    assert pause_before_next(outcome, 1, options) is None


@pytest.mark.parametrize("outcome", [Failed("x"), refused(Status.BUSY), refused(Status.STALE)])
def test_what_may_pass_is_tried_as_often_as_asked(outcome: Outcome) -> None:
    assert pause_before_next(outcome, 1, ONCE) is None
    assert pause_before_next(outcome, 2, THRICE) is not None
    assert pause_before_next(outcome, 3, THRICE) is None
    assert pause_before_next(outcome, 99, FOR_EVER) is not None


@pytest.mark.parametrize("status", [Status.AUTH, Status.WANT, 0x7F])
def test_what_needs_a_person_is_tried_again_by_retry_alone(status: int) -> None:
    assert pause_before_next(refused(status), 1, THRICE) is None
    assert pause_before_next(refused(status), 1, FOR_EVER) is not None


def test_the_pause_is_the_longer_one_and_jitter() -> None:
    for connections, own in ((1, 2), (2, 4), (3, 8), (99, 300)):
        pauses = [pause_before_next(Failed("x"), connections, FOR_EVER) or 0 for _ in range(50)]
        assert own <= min(pauses) < max(pauses) <= 2 * own
    asked = pause_before_next(refused(Status.AUTH, 1000), 1, FOR_EVER)
    assert asked is not None
    assert 1000 <= asked <= 1002


def test_nothing_is_erased_on_a_word_that_anybody_could_have_said() -> None:
    assert refused(Status.STALE).drops_bundle
    assert refused(0x2F).drops_bundle
    assert not refused(Status.STALE, tagged=False).drops_bundle
    assert not refused(Status.BUSY).drops_bundle
    assert not refused(Status.AUTH).drops_bundle
