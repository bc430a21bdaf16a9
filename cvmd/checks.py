"""What a look at the set-up came to, a line each: for `cvmd doctor`, `cvmd accounts test`, and the log at start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How it went."""

    PASSED = "passed"
    WARNING = "warning"
    """It works, and is not as it should be."""
    FAILED = "failed"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One look. `says`: what is so; of a warning or a failure also what to do; where nobody looked, why."""

    name: str
    verdict: Verdict
    says: str


def passed(name: str, says: str) -> Check:
    """All is well."""
    return Check(name, Verdict.PASSED, says)


def warning(name: str, says: str) -> Check:
    """It works, and is not as it should be; `says` what to do."""
    return Check(name, Verdict.WARNING, says)


def failed(name: str, says: str) -> Check:
    """It does not work; `says` what to do."""
    return Check(name, Verdict.FAILED, says)


def unchecked(name: str, says: str) -> Check:
    """Nobody could look, and why."""
    return Check(name, Verdict.UNCHECKED, says)
