"""The daemon's metrics for Prometheus: what was told (meter.py), counted. docs/metrics.md says what each is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cvmd import __version__
from cvmd.meter import Meter, Workload
from cvmd.model import Fault, State
from protocol.constants import Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OUTCOMES: Final = ("DONE", "OFFERED", "WAIT", "LOST", "SILENCE", *(status.name for status in Status))
_STATES: Final = (State.QUEUED, State.OFFERED, State.ACKED, State.ACTIVE, State.CLOSED)
_SESSION_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_CALL_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_QUERY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 10)
_LATE_S: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10)

# Else every counter has a second series, which says when the process started.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library says no type here


class Metrics(Meter):
    """Counters of this node since it started, and the workload of all nodes as its heartbeat saw it last."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        build = Gauge("cvmd_build_info", "1, of the version that runs", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self._open = Gauge("cvmd_connections_open", "Connections that are open", registry=registry)
        self._turned_away = Counter(
            "cvmd_connections_turned_away", "Connections that were not let in", ["why"], registry=registry
        )
        self._ended = Counter("cvmd_connections", "Connections that ended", ["outcome"], registry=registry)
        self._duration = Histogram(
            "cvmd_connection_seconds", "How long a connection was open", buckets=_SESSION_S, registry=registry
        )
        self._issuances = Counter(
            "cvmd_issuances", "Issuances that came into a state", ["state", "fault"], registry=registry
        )
        self._deleted = Counter(
            "cvmd_certificates_deleted", "Certificates deleted at AWS", ["reason"], registry=registry
        )
        self._orphans = Counter("cvmd_orphans", "Orphans found at AWS", registry=registry)
        self._aws = Counter("cvmd_aws_calls", "Requests to AWS", ["account", "operation", "outcome"], registry=registry)
        self._aws_s = Histogram(
            "cvmd_aws_call_seconds", "How long a request took", ["operation"], buckets=_CALL_S, registry=registry
        )
        self._database_s = Histogram(
            "cvmd_database_seconds", "How long a transaction took", buckets=_QUERY_S, registry=registry
        )
        self._database = Counter("cvmd_database_errors", "Transactions that failed", ["kind"], registry=registry)
        self._late = Histogram(
            "cvmd_loop_late_seconds", "How late the event loop was", buckets=_LATE_S, registry=registry
        )
        self._workload = _LastWorkload()
        registry.register(self._workload)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A rate needs the series before the first event."""
        for outcome in _OUTCOMES:
            self._ended.labels(outcome)
        for state in _STATES:
            self._issuances.labels(state, "")
        for fault in Fault:
            self._issuances.labels(State.FAILED, fault)

    def page(self) -> bytes:
        """All of it in Prometheus's text format, of CONTENT_TYPE."""
        return generate_latest(self._registry)

    def connections_open(self, count: int) -> None:
        self._open.set(count)

    def turned_away(self, why: str) -> None:
        self._turned_away.labels(why.lower()).inc()

    def connection_ended(self, outcome: str | None, duration_s: float) -> None:
        self._ended.labels(outcome or "LOST").inc()
        self._duration.observe(duration_s)

    def issuance_became(self, state: State, fault: Fault | None = None) -> None:
        self._issuances.labels(state, fault or "").inc()

    def certificate_deleted(self, reason: str) -> None:
        self._deleted.labels(reason).inc()

    def orphan_found(self) -> None:
        self._orphans.inc()

    def aws_called(self, account: str, operation: str, outcome: str, took_s: float) -> None:
        self._aws.labels(account, operation, outcome).inc()
        self._aws_s.labels(operation).observe(took_s)

    def database_worked(self, took_s: float) -> None:
        self._database_s.observe(took_s)

    def database_failed(self, kind: str) -> None:
        self._database.labels(kind.lower()).inc()

    def loop_was_late(self, late_s: float) -> None:
        self._late.observe(late_s)

    def workload_seen(self, workload: Workload, at_s: float) -> None:
        self._workload.last = (workload, at_s)


class _LastWorkload(Collector):
    """Gauges out of one look at the database: whoever scrapes gets all of one look, never half of two."""

    def __init__(self) -> None:
        self.last: tuple[Workload, float] | None = None

    def collect(self) -> Iterator[Metric]:
        seen = GaugeMetricFamily("cvmd_heartbeat_timestamp_seconds", "When the database was last seen")
        waiting = GaugeMetricFamily("cvmd_issuances_waiting", "Issuances", labels=["account", "state"])
        oldest = GaugeMetricFamily(
            "cvmd_issuances_oldest_seconds", "Since the oldest of them was queued", labels=["account", "state"]
        )
        breakers = GaugeMetricFamily("cvmd_breakers_open", "Breakers not closed", labels=["account", "fault"])
        retiring = GaugeMetricFamily("cvmd_certificates_retiring", "Certificates that ended and are at AWS still")
        nodes = GaugeMetricFamily("cvmd_nodes", "Nodes alive", labels=["version"])
        if self.last is not None:
            workload, at_s = self.last
            seen.add_metric([], at_s)
            for it in workload.waiting:
                waiting.add_metric([it.account, it.state], it.count)
                oldest.add_metric([it.account, it.state], it.oldest_s)
            for each in workload.breakers:
                breakers.add_metric([each.account, each.fault], each.count)
            retiring.add_metric([], workload.retiring)
            for version, count in workload.nodes.items():
                nodes.add_metric([version], count)
        yield from (seen, waiting, oldest, breakers, retiring, nodes)
