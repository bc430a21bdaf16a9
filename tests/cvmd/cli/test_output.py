"""What is printed for people, with what rows may hold."""

from io import StringIO

import pytest
from rich.console import Console

from cvmd.cli import output


def test_a_table_cuts_nothing_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["serial", "thing"], [["s" * 64, "t" * 128]], title="devices")

    printed = capsys.readouterr().out
    assert "s" * 64 in printed
    assert "t" * 128 in printed
    assert printed.startswith("devices")


def test_a_table_cuts_nothing_on_a_narrow_terminal() -> None:
    console = Console(width=80, file=StringIO())
    console.print(output.table(["certificate_id", "to do"], [["0123456789abcdef" * 4, "look " * 20]]))
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue()
    assert "…" not in printed
    assert sum(map(printed.count, "0123456789")) == 40


def test_a_cell_is_neither_markup_nor_terminal_control(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["detail"], [["[red]x[/red] \x1b[31m"], [None], [True]])
    output.print_fields({"thing": "a\nb", "since": None})

    printed = capsys.readouterr().out
    assert "[red]x[/red] \\x1b[31m" in printed
    assert "\x1b" not in printed
    assert printed.endswith("thing: a\\nb\nsince: -\n")
    assert "yes" in printed


def test_a_time_is_utc_to_the_second() -> None:
    assert output.time(1_700_000_000_999_999) == "2023-11-14T22:13:20Z"
    assert output.time(None) is None
