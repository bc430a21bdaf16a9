"""A check says how it went."""

import pytest

from cvmd import checks
from cvmd.checks import Verdict


@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (checks.passed, Verdict.PASSED),
        (checks.warning, Verdict.WARNING),
        (checks.failed, Verdict.FAILED),
        (checks.unchecked, Verdict.UNCHECKED),
    ],
)
def test_each_verdict_has_its_word(make: object, verdict: Verdict) -> None:
    assert callable(make)
    check = make("clock", "it is right")
    assert (check.name, check.verdict, check.says) == ("clock", verdict, "it is right")
