"""The runbook has an entry for each status, fault, finding and line of the log; docs/metrics.md for each metric."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvmd.authentication import Denial
from cvmd.breakers import RESTS
from cvmd.metrics import Metrics
from cvmd.model import Fault
from cvmd.reconcile import Kind
from protocol.constants import Status
from tests.cvmd.events import families, tell_all

ROOT = Path(__file__).resolve().parent.parent
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
FIRST_CELLS = {
    "".join(cell) for cell in re.findall(r"^\| (?:`` (.+?) ``|`([^`]+)`)(?: 0x\d\d)? \|", RUNBOOK, re.MULTILINE)
}
LOUD = {"warning", "error", "exception", "critical"}


def loud_lines() -> Iterator[str]:
    """What the daemon says at warning or above, `…` for what changes."""
    for path in sorted((ROOT / "cvmd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Attribute(ast.Name("log"), level), [ast.Constant(str(line)), *_]) if level in LOUD:
                    yield re.sub(r"%[sdr]", "…", line)
                case ast.Call(ast.Attribute(ast.Name("log"), level), _) if level in LOUD:
                    pytest.fail(f"{path}:{node.lineno}: a line of the log whose text is not written there")


SAID = {
    "statuses": {it.name for it in Status},
    "denials": set(Denial),
    "breakers": {it for it, rest in RESTS.items() if rest.shared},
    "faults": set(Fault),
    "findings": set(Kind),
    "log": set(loud_lines()),
}


@pytest.mark.parametrize("kind", SAID)
def test_the_runbook_says_what_to_do(kind: str) -> None:
    missing = sorted(set(map(str, SAID[kind])) - FIRST_CELLS)
    assert missing == [], f"docs/operations.md has no entry for these {kind}"


def test_the_runbook_has_nothing_that_is_never_said() -> None:
    others = {"[listen]", "[database]", "[aws]"}  # the table of what to configure
    assert sorted(FIRST_CELLS - set().union(*(map(str, it) for it in SAID.values())) - others) == []


@pytest.mark.parametrize("status", Status, ids=lambda it: it.name)
def test_the_runbook_has_its_number(status: Status) -> None:
    assert f"| `{status.name}` {status:#04x} |" in RUNBOOK


def told() -> Metrics:
    """A page with each series."""
    metrics = Metrics()
    tell_all(metrics)
    return metrics


def test_the_docs_list_every_metric_with_its_labels_and_an_alert() -> None:
    listed = {}
    for line in METRICS.splitlines():
        if line.startswith("| `cvmd_"):
            name, labels, what, alert = (cell.strip() for cell in line.strip("|").split("|"))
            assert what
            assert alert
            listed[name.strip("`")] = set(re.findall(r"`(\w+)`", labels))
    assert listed == {name: labels for name, (_, labels) in families(told()).items()}


def test_the_docs_rules_name_metrics_that_there_are() -> None:
    used = set(re.findall(r"\bcvmd_\w+", METRICS.partition("## Rules")[2]))
    assert used
    assert used <= set(families(told()))
