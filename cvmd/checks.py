"""A set-up looked at: one line a question, answered or not. For `cvmd doctor`, `accounts test`, the log at start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. `passed` None: not checked, and `detail` says why; `to_do` is for a person.

    What has passed and leaves something to do works, and is not as it should be: a warning.
    """

    name: str
    passed: bool | None
    detail: str
    to_do: str = ""

    @property
    def word(self) -> str:
        """passed, warning, failed or not checked."""
        if self.passed is None:
            return "not checked"
        if not self.passed:
            return "failed"
        return "warning" if self.to_do else "passed"
