"""The port of events, and its twin that does nothing."""

from cvmd.meter import NO_METER, Meter
from tests.cvmd.events import EVENTS, tell_all


def test_the_twin_takes_every_event() -> None:
    assert {name for name in vars(Meter) if not name.startswith("_")} == set(EVENTS)
    tell_all(NO_METER)
