"""A check has one of four words."""

import pytest

from cvmd.checks import Check


@pytest.mark.parametrize(
    ("passed", "to_do", "word"),
    [
        (True, "", "passed"),
        (True, "mend it", "warning"),
        (False, "mend it", "failed"),
        (None, "", "not checked"),
        (None, "ask again", "not checked"),
    ],
)
def test_a_check_says_how_it_ended(passed: bool | None, to_do: str, word: str) -> None:
    assert Check("clock", passed, "detail", to_do).word == word
