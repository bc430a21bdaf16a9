"""The command line of cvm-client: parse, vend, say what came of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from .arguments import options_of, parser
from .explain import explain, stage_name, status_name
from .flash import DirectoryFlash
from .options import OptionError, Options
from .outcome import Cut, Done, Exit, Failed, Outcome, Refused
from .storage import DeviceStorage
from .vend import Result, Watcher, vend


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cvm-client; returns the exit code."""
    parsed = parser().parse_args(arguments)
    shown = _Shown(sys.stderr if parsed.json else sys.stdout)
    try:
        options = options_of(parsed)
        if not options.token:
            shown.say("No --token-file: nothing will prove who asks, and nothing who answers.")
        with DirectoryFlash(parsed.out) as flash, shown:
            result = vend(options, flash, shown)
            if parsed.pem and isinstance(result.outcome, Done):
                DeviceStorage(flash, options.serial).write_pem(options.key_format)
    except OptionError as error:
        print(f"cvm-client: {error}", file=sys.stderr)
        return Exit.USAGE
    except OSError as error:  # sockets have their own error: this is the directory
        print(f"cvm-client: cannot write in {parsed.out}: {error.strerror or error}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        shown.say("Interrupted. Run the same command again to go on.")
        return Exit.INTERRUPTED
    _report(result, options, parsed, shown)
    return result.exit_code


class _Shown(Watcher):
    """Lines for people, and a bar where there is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = console = Console(file=stream)
        columns = TextColumn("bundle"), BarColumn(), DownloadColumn()
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> _Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self, received: int, total: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task("bundle")
        self._progress.update(self._task, completed=received, total=total)


def _report(result: Result, options: Options, parsed: argparse.Namespace, shown: _Shown) -> None:
    outcome, meta = result.outcome, result.meta
    shown.say(explain(outcome))
    if isinstance(outcome, Done) and meta:
        shown.say(f"  certificate {meta.certificate_id}\n  thing {meta.thing_name or '-'}, in {parsed.out}")
        if not outcome.already and meta.connect_after_s:
            shown.say(f"  connect to AWS IoT in {meta.connect_after_s} s, not before")
    if outcome == Done(already=True) and options.renew:
        shown.say("  not renewed: the product's re-issue limit or the operator allows no other certificate now")
    if parsed.json:
        print(json.dumps(_summary(result, options, parsed.out)))


def _summary(result: Result, options: Options, out: Path) -> dict[str, Any]:
    """The JSON object: documented in README.md."""
    outcome, meta = result.outcome, result.meta
    return {
        "serial": options.serial,
        "status": _status(outcome),
        "message": explain(outcome),
        "refusal": _refusal(outcome),
        "certificate_id": meta.certificate_id if meta else None,
        "thing_name": meta.thing_name if meta else None,
        "endpoint": meta.endpoint if meta else None,
        "key_source": options.key_source,
        "suite": options.suite_name,
        "out_dir": str(out),
        **vars(result.traffic),
    }


def _status(outcome: Outcome) -> str:
    match outcome:
        case Done(already=already):
            return "already-done" if already else "done"
        case Refused(for_a_person=for_a_person):
            return "refused" if for_a_person else "temporary"
        case Failed():
            return "failed"
        case Cut():
            return "cut"


def _refusal(outcome: Outcome) -> dict[str, Any] | None:
    if not isinstance(outcome, Refused):
        return None
    return {
        "status": status_name(outcome.status),
        "stage": stage_name(outcome.stage),
        "retry_s": outcome.retry_s,
        "detail": outcome.detail,
        "tagged": outcome.tagged,
    }
