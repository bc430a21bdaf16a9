"""Checks as a person, or a program, reads them; and the exit code that they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from cvmd.checks import Check
from cvmd.cli.common import Exit
from cvmd.cli.output import print_json, print_table


def print_checks(sections: Iterable[tuple[str, Sequence[Check]]], *, as_json: bool) -> Exit:
    """A table a section, as soon as it is there, and the count; or all as one JSON list. REFUSED if one has failed."""
    words: Counter[str] = Counter()
    document = []
    for title, checks in sections:
        words.update(it.word for it in checks)
        if as_json:
            document += [
                {"of": title, "check": it.name, "result": it.word, "detail": it.detail, "to_do": it.to_do or None}
                for it in checks
            ]
        else:
            rows = ([it.name, it.word, it.detail, it.to_do or None] for it in checks)
            print_table(("check", "result", "detail", "to do"), rows, title=title)
    if as_json:
        print_json(document)
    else:
        print(", ".join(f"{words[word]} {word}" for word in ("passed", "warning", "failed", "not checked")))
    return Exit.REFUSED if words["failed"] else Exit.DONE
