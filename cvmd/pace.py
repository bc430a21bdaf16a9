"""Outbound pace: how fast AWS may be called. Pure; the rows that nodes share are the store's.

The generic cell rate algorithm: one number, the theoretical arrival time (`tat_us`), says how far into the future
the calls granted so far reach. A call is granted while that is no further than the burst allows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cvmd.model import US


class Reservation(NamedTuple):
    """The answer to one call: go, and keep `tat_us`; or come back in `wait_us`."""

    ok: bool
    tat_us: int
    wait_us: int


def reserve(tat_us: int, now_us: int, rate_per_s: float, burst: float) -> Reservation:
    """Ask for one call at `rate_per_s`, up to `burst` of them (at least 1) at once after a rest."""
    interval_us, reach_us, base_us = _cell(tat_us, now_us, rate_per_s, burst)
    wait_us = base_us + interval_us - reach_us
    if wait_us > 0:
        return Reservation(False, tat_us, wait_us)
    return Reservation(True, base_us + interval_us, 0)


def slots(tat_us: int, now_us: int, rate_per_s: float, burst: float) -> int:
    """How many calls `reserve` would grant now, one after another."""
    interval_us, reach_us, base_us = _cell(tat_us, now_us, rate_per_s, burst)
    return (reach_us - base_us) // interval_us


def _cell(tat_us: int, now_us: int, rate_per_s: float, burst: float) -> tuple[int, int, int]:
    interval_us = math.ceil(US / rate_per_s)
    reach_us = now_us + math.floor(interval_us * max(burst, 1.0))
    # Nothing ever granted lies beyond the reach: a tat that does was written before the clock was set back, and
    # would stop all calls for as long.
    return interval_us, reach_us, min(max(tat_us, now_us), reach_us)
