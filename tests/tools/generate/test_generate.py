"""The command, and that what is committed is what it computes."""

from pathlib import Path

import pytest

from tools.generate import __main__ as command
from tools.generate import spec


def test_everything_computed_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_what_is_out_of_date_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_ROOT", tmp_path)
    assert command.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "protocol/SPEC.md: is missing" in told
    assert "protocol/vectors/mac.json: out of date" in told
    assert "run: python -m tools.generate" in told
    assert list(tmp_path.iterdir()) == []


def test_a_run_writes_what_check_then_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_ROOT", tmp_path)
    markers = "".join(f"<!-- generated:{name} -->\n<!-- end generated -->\n" for name in spec.REGIONS)
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "SPEC.md").write_text("# Prose\n" + markers)
    assert command.main(["--check"]) == 1
    assert command.main([]) == 0
    assert command.main(["--check"]) == 0
    text = (tmp_path / "protocol" / "SPEC.md").read_text()
    assert text.startswith("# Prose\n")
    assert "| 81 | PROOF | device | tagged |" in text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("generated:kinds", "generated:sorts"), "kinds|sorts"),
        (lambda text: text + "<!-- generated:kinds -->\n<!-- end generated -->\n", "twice"),
        (lambda text: "", "lacks the marker"),
    ],
)
def test_markers_that_do_not_fit_are_named(change: object, problem: str) -> None:
    markers = "".join(f"<!-- generated:{name} -->\n<!-- end generated -->\n" for name in spec.REGIONS)
    assert callable(change)
    with pytest.raises(spec.SpecError, match=problem):
        spec.fill(change(markers))
