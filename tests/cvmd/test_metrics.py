"""The page for Prometheus, as its own parser reads it. That docs/metrics.md lists the same: tests/test_docs.py."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cvmd.meter import Meter
from cvmd.metrics import Metrics
from cvmd.model import Fault, State
from protocol.constants import Status
from tests.cvmd.events import EVENTS, families, tell_all


def value(metrics: Metrics, series: str, **labels: str) -> float:
    """Of the one sample of that name that has these labels."""
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
        if sample.name == series and labels.items() <= sample.labels.items()
    ]
    return float(found)


@pytest.fixture
def metrics() -> Metrics:
    """Which has been told every event once."""
    made = Metrics()
    tell_all(made)
    return made


def test_every_event_is_counted() -> None:
    assert set(EVENTS) <= set(vars(Metrics))
    for name, arguments in EVENTS.items():
        made = Metrics()
        before = made.page()
        getattr(made, name)(*arguments)
        assert made.page() != before, name
        assert getattr(Meter, name) is not getattr(Metrics, name)


def test_inv6_no_label_is_for_what_names_a_device(metrics: Metrics) -> None:
    labels = set().union(*(labels for _, labels in families(metrics).values()))
    assert labels == {"version", "why", "outcome", "state", "fault", "reason", "account", "operation", "kind"}


def test_every_outcome_and_fault_has_its_series_before_it_happens() -> None:
    metrics = Metrics()
    for status in Status:
        assert value(metrics, "cvmd_connections_total", outcome=status.name) == 0
    for fault in Fault:
        assert value(metrics, "cvmd_issuances_total", state=State.FAILED, fault=fault) == 0


def test_what_was_told_is_on_the_page(metrics: Metrics) -> None:
    assert value(metrics, "cvmd_connections_open") == 5
    assert value(metrics, "cvmd_connections_turned_away_total", why="source_full") == 1
    assert value(metrics, "cvmd_connections_total", outcome="DONE") == 1
    assert value(metrics, "cvmd_issuances_total", state="failed", fault="thing-missing") == 1
    assert value(metrics, "cvmd_aws_calls_total", operation="AttachPolicy", outcome="throttled") == 1
    assert value(metrics, "cvmd_database_errors_total", kind="reconnect") == 1
    assert value(metrics, "cvmd_issuances_waiting", account="default", state="queued") == 7
    assert value(metrics, "cvmd_issuances_oldest_seconds", account="default") == 12.5
    assert value(metrics, "cvmd_breakers_open", account="default", fault="policy-missing") == 2
    assert value(metrics, "cvmd_nodes", version="1.0") == 2
    metrics.connection_ended(None, 1)
    assert value(metrics, "cvmd_connections_total", outcome="LOST") == 1
