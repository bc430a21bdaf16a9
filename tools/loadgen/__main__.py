"""`python -m tools.loadgen`: parse, run, print the summary as one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from protocol.constants import DEFAULT_MAX_FRAME, DEFAULT_PORT, TO_THE_END, Suite
from tools.client import OptionError, Options
from tools.loadgen.fleet import Device, read_fleet
from tools.loadgen.load import Job, Tally, run

_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every device is done and nothing is mixed up; 1: not so; 2: an option or the file cannot be used."""
    parsed = _parser().parse_args(arguments)
    try:
        fleet = read_fleet(parsed.devices)[: parsed.count]
        jobs = list(_jobs(fleet, parsed))
    except OptionError as error:
        print(f"loadgen: {error}", file=sys.stderr)
        return _USAGE
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("vends", total=len(jobs))

        def show(tally: Tally) -> None:
            bar.update(task, completed=tally.vends + len(tally.gave_up))

        summary = asyncio.run(run(jobs, parsed.at_once, show))
    print(json.dumps(summary))
    return 0 if summary["vends"] == len(jobs) and not summary["mixed"] else 1


def _jobs(fleet: Sequence[Device], parsed: argparse.Namespace) -> Iterator[Job]:
    """Suites, and key sources where the file names none, in turn."""
    for device, suite, key_source in zip(fleet, cycle(parsed.suite), cycle(parsed.key_source), strict=False):
        options = Options(
            host=parsed.host,
            port=parsed.port,
            serial=device.serial,
            token=device.token,
            suite=suite,
            key_source=device.key_source or key_source,
            max_frame=parsed.max_frame,
            limit=parsed.limit,
            max_wait_s=parsed.max_wait,
            attempts=parsed.attempts,
            backoff_s=parsed.backoff,
            timeout_s=parsed.timeout,
        )
        yield options, device.thing


def _suites(text: str) -> list[Suite]:
    try:
        return [Suite[name.upper()] for name in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"no suite is called {error}; there are mac and noise") from error


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loadgen", description="Many devices at once against one server.")
    add = parser.add_argument
    add("--host", required=True, help="where cvmd listens")
    add("--port", type=int, default=DEFAULT_PORT, help="(default %(default)s)")
    add(
        "--devices",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV or .jsonl: serial, token, thing, key_source",
    )
    add("--count", type=_positive, metavar="N", help="the first N of them (default: all)")
    add("--at-once", type=_positive, default=50, metavar="N", help="devices at a time (default %(default)s)")
    add("--suite", type=_suites, default=[Suite.MAC], metavar="LIST", help="suites in turn (default mac)")
    add(
        "--key-source",
        type=lambda text: text.split(","),
        default=["ec-p256"],
        metavar="LIST",
        help="in turn, where the file names none (default ec-p256)",
    )
    add("--max-frame", type=int, default=DEFAULT_MAX_FRAME, metavar="BYTES", help="(default %(default)s)")
    add(
        "--limit",
        type=int,
        default=TO_THE_END,
        metavar="BYTES",
        help="bytes asked for at a time (default: all)",
    )
    add("--max-wait", type=int, default=300, metavar="S", help="longest queue (default %(default)s)")
    add(
        "--attempts",
        type=_positive,
        default=5,
        metavar="N",
        help="connections a device at most (default %(default)s)",
    )
    add("--backoff", type=float, default=1.0, metavar="S", help="first pause of its own (default %(default)g)")
    add(
        "--timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="longest wait for an answer (default %(default)g)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
