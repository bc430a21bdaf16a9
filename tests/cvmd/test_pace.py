"""The rate of calls: what is granted, never more than the quota, and all of it."""

import math

from hypothesis import given
from hypothesis import strategies as st

from cvmd.model import US
from cvmd.pace import Reservation, reserve, slots


def granted(tat_us: int, now_us: int, rate_per_s: float, burst: float) -> tuple[int, int]:
    """How many calls one moment grants, and the tat after them."""
    count = 0
    while (slot := reserve(tat_us, now_us, rate_per_s, burst)).ok:
        tat_us, count = slot.tat_us, count + 1
    return count, tat_us


def test_after_a_rest_the_burst_is_granted_and_no_more() -> None:
    assert granted(0, 50 * US, 10, 10)[0] == 10


def test_then_one_call_an_interval() -> None:
    _, tat_us = granted(0, 50 * US, 10, 10)
    assert reserve(tat_us, 50 * US, 10, 10) == Reservation(False, tat_us, 100_000)
    assert not reserve(tat_us, 50 * US + 99_999, 10, 10).ok
    assert reserve(tat_us, 50 * US + 100_000, 10, 10).ok


def test_a_burst_below_one_still_grants_one() -> None:
    assert granted(0, US, 10, 0)[0] == 1


def test_a_clock_set_back_stops_nothing_for_longer_than_an_interval() -> None:
    _, tat_us = granted(0, 5_000 * US, 10, 10)
    assert reserve(tat_us, 1_000 * US, 10, 10).wait_us == 100_000


rates = st.floats(0.1, 10_000)
bursts = st.floats(1, 100)


@given(rates, bursts, st.lists(st.integers(0, 3 * US), max_size=30))
def test_no_window_grants_more_than_its_share_and_the_burst(rate: float, burst: float, pauses: list[int]) -> None:
    now_us, tat_us, calls = 1_000 * US, 0, 0
    begin_us = now_us
    for pause in pauses:
        now_us += pause
        slot = reserve(tat_us, now_us, rate, burst)
        tat_us, calls = slot.tat_us, calls + slot.ok
    assert calls <= (now_us - begin_us) * rate / US + burst + 1e-6


@given(rates, bursts, st.integers(-2 * US, 2 * US))
def test_slots_counts_what_reserve_would_grant(rate: float, burst: float, ahead_us: int) -> None:
    now_us = 1_000 * US
    assert slots(now_us + ahead_us, now_us, rate, burst) == granted(now_us + ahead_us, now_us, rate, burst)[0]


@given(rates, bursts, st.integers(0, 2 * US))
def test_after_the_wait_there_is_a_slot(rate: float, burst: float, rest_us: int) -> None:
    now_us = 1_000 * US
    _, tat_us = granted(0, now_us - rest_us, rate, burst)
    slot = reserve(tat_us, now_us, rate, burst)
    assert slot.wait_us <= math.ceil(US / rate)
    assert slot.ok or reserve(tat_us, now_us + slot.wait_us, rate, burst).ok
