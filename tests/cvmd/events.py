"""Each event of a meter, told once; who hears them; what a page then has."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from cvmd.admission import Admission
from cvmd.errors import IssuerFault
from cvmd.meter import Meter, OpenBreakers, Waiting, Workload
from cvmd.metrics import Metrics
from cvmd.model import Fault, Reason, State

WORKLOAD = Workload(
    waiting=[Waiting("default", State.QUEUED, 7, 12.5)],
    breakers=[OpenBreakers("default", IssuerFault.POLICY_MISSING, 2)],
    retiring=3,
    nodes={"1.0": 2},
)

EVENTS: dict[str, tuple[Any, ...]] = {
    "connections_open": (5,),
    "turned_away": (Admission.SOURCE_FULL.name,),
    "connection_ended": ("DONE", 0.2),
    "issuance_became": (State.FAILED, Fault.THING_MISSING),
    "certificate_deleted": (Reason.SUPERSEDED,),
    "orphan_found": (),
    "aws_called": ("default", "AttachPolicy", IssuerFault.THROTTLED, 0.3),
    "database_worked": (0.002,),
    "database_failed": ("RECONNECT",),
    "loop_was_late": (0.01,),
    "workload_seen": (WORKLOAD, 1_700_000_000.0),
}


def tell_all(meter: Meter) -> None:
    """Every event, with arguments as the daemon gives them."""
    for name, arguments in EVENTS.items():
        getattr(meter, name)(*arguments)


class Heard(Meter):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in EVENTS:
            return lambda *told: self.events.append((name, *told))
        return super().__getattribute__(name)

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """What was told in events of this name."""
        return [event[1:] for event in self.events if event[0] == name]


def families(metrics: Metrics) -> dict[str, tuple[str, set[str]]]:
    """Of each family: its type, and the labels of its series."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in text_string_to_metric_families(metrics.page().decode())
    }
