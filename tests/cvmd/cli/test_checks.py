"""Checks as they are printed, and what they come to."""

import json

import pytest

from cvmd.checks import Check
from cvmd.cli.checks import print_checks
from cvmd.cli.common import Exit

WELL = ("account one", [Check("clock", True, "within a minute"), Check("quotas", True, "15 a second", "raise them")])
BROKEN = ("account two", [Check("clock", False, "an hour behind", "set it"), Check("endpoint", None, "no identity")])


def test_one_that_has_failed_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_checks([WELL], as_json=False) is Exit.DONE
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 warning, 0 failed, 0 not checked"
    assert print_checks([WELL, BROKEN], as_json=False) is Exit.REFUSED
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "1 passed, 1 warning, 1 failed, 1 not checked"
    assert all(it in printed for it in ("account two", "an hour behind", "set it"))


def test_programs_get_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_checks([WELL, BROKEN], as_json=True) is Exit.REFUSED
    document = json.loads(capsys.readouterr().out)
    assert document[0] == {
        "of": "account one", "check": "clock", "result": "passed", "detail": "within a minute", "to_do": None,
    }  # fmt: skip
    assert [it["result"] for it in document] == ["passed", "warning", "failed", "not checked"]
