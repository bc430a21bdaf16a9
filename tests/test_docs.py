"""The runbook has an entry for everything that cvmd says: a status, a fault, a finding, a line of the log."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvmd.authentication import Denial
from cvmd.breakers import RESTS
from cvmd.model import Fault
from cvmd.reconcile import Kind
from protocol.constants import Status

ROOT = Path(__file__).resolve().parent.parent
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
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
