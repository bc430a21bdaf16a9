"""SIZES.md is what this code takes, and the bounds that hold are kept."""

from pathlib import Path

import pytest

from tools import sizes


def test_the_page_is_of_this_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Where only the compiler is another one than the page names, run `python -m tools.sizes` and commit the page."""
    assert sizes.main(["--check"]) == 0, capsys.readouterr().err


def test_ram_and_stack_of_suite_mac_are_within_their_goals(tmp_path: Path) -> None:
    size = sizes.measure(sizes.ROWS[0], tmp_path / "m0")
    assert size.session <= 256
    assert size.stack <= 448
    assert size.text == sum(size.parts.values()) > 0


def test_an_option_that_is_off_costs_nothing(tmp_path: Path) -> None:
    plain = sizes.measure(sizes.ROWS[0], tmp_path / "plain")
    assert "noise" not in plain.parts
    assert "csr" not in plain.parts
    assert "units" not in plain.parts


def test_more_code_makes_the_page_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "SIZES.md"
    monkeypatch.setattr(sizes, "ROOT", tmp_path)
    monkeypatch.setattr(sizes, "PAGE", page)
    monkeypatch.setattr(sizes, "render", lambda: "more\n")
    page.write_text("less\n")
    assert sizes.main(["--check"]) == 1
    assert page.read_text() == "less\n"
    assert sizes.main([]) == 0
    assert page.read_text() == "more\n"
