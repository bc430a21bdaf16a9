"""What is printed: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cvmd.model import US

_PIPE_WIDTH: Final = 400
"""Columns where nobody watches: nothing is cut."""


def print_json(value: Any) -> None:  # noqa: ANN401  # any JSON document
    """One document."""
    json.dump(value, sys.stdout, indent=2)
    print()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """For people; None is a dash."""
    made = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")  # a name or an id that is cut is of no use
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table for people; None is a dash."""
    console().print(table(heads, rows, title))


def console() -> Console:
    """What tables are printed on."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def print_fields(fields: dict[str, object]) -> None:
    """A name and a value a line."""
    width = max(map(len, fields)) + 1
    for name, value in fields.items():
        print(f"{name + ':':{width}} {_cell(value).plain}")


def time(us: int | None) -> str | None:
    """A time of the database as ISO 8601 UTC, to the second; as it is where somebody has made it none."""
    if us is None:
        return None
    try:
        return datetime.fromtimestamp(us // US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError, OverflowError, OSError):
        return f"no time: {us!r}"


def _cell(value: object) -> Text:
    """Without markup and control characters: not everything in a row was written by a friend."""
    if value is None:
        return Text("-")
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return Text(text if text.isprintable() else text.encode("unicode_escape").decode())
