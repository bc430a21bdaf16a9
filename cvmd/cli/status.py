"""`cvmd status`: what is being made, what waits and for what, what a person has to do."""

from __future__ import annotations

import argparse
import sys
import time as clock

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit, Refused, Subparsers, add_verb
from cvmd.cli.database import open_database
from cvmd.cli.output import console, print_json, time
from cvmd.cli.status_page import TO_DO_FOR_BREAKER, page
from cvmd.errors import IssuerFault
from cvmd.ports import StoreDown
from cvmd.store import Database
from cvmd.store.nodes import SILENT_US
from cvmd.store.overview import WINDOWS_S, Status, read_status

_EVERY_S = 5.0
_REST = 4
"""Times as long as a look has taken: a large database has other things to do as well."""


def add_to(nouns: Subparsers) -> None:
    """No verb: there is one thing to ask."""
    noun = add_verb(nouns, "status", _status, "say what is being made, what waits, and what a person has to do")
    how = noun.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print JSON")
    how.add_argument(
        "--watch", type=_seconds, nargs="?", const=_EVERY_S, metavar="SECONDS",
        help=f"stay, and look again every so often, until Ctrl-C (default: {_EVERY_S:g})",
    )  # fmt: skip


def _seconds(text: str) -> float:
    seconds = argument.number(text)
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be 1 to 3600 seconds")
    return seconds


def _status(arguments: argparse.Namespace) -> Exit:
    if arguments.watch is not None and not sys.stdout.isatty():
        raise Refused("--watch is for a terminal; for programs there are --json, and metrics (docs/metrics.md)")
    with open_database(config.load(arguments.config)) as database:
        if arguments.json:
            print_json(_document(read_status(database)))
        elif arguments.watch is None:
            console().print(page(read_status(database)))
        else:
            _watch(database, arguments.watch)
    return Exit.DONE


def _watch(database: Database, every_s: float) -> None:
    """Until Ctrl-C. A database that goes away is waited for."""
    with Live(console=console(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                began_s = clock.monotonic()
                live.update(_look(database), refresh=True)
                clock.sleep(max(every_s, _REST * (clock.monotonic() - began_s)))
        except KeyboardInterrupt:
            return


def _look(database: Database) -> RenderableType:
    try:
        return page(read_status(database))
    except StoreDown as error:
        return Text(f"the database does not answer: {error}")


def _document(status: Status) -> dict[str, object]:
    return {
        "now": time(status.now_us),
        "products": [
            {
                "product": it.product,
                "devices": it.devices,
                "with_certificate": it.certified,
                "disabled": it.disabled,
                "newest_issuance": {state or "none": count for state, count in it.newest.items()},
            }
            for it in status.products
        ],
        "issuances": [
            {"state": it.state, "fault": it.fault, "count": it.count, "oldest": time(it.oldest_us)}
            for it in status.issuances
        ],
        "certificates": [
            {"status": it.status, "reason": it.reason, "count": it.count, "stuck": it.stuck}
            for it in status.certificates
        ],
        "rates": {
            it.what: {f"last_{window_s}_s": count for window_s, count in zip(WINDOWS_S, it.counts, strict=True)}
            for it in status.rates
        },
        "queues": [
            {
                "account": it.account,
                "length": it.length,
                "oldest": time(it.oldest_us),
                "creates_per_s": it.creates_per_s,
            }
            for it in status.queues
        ],
        "breakers": [
            {
                "account": it.account,
                "policy": it.breaker.policy or None,
                "fault": it.breaker.fault,
                "failures": it.breaker.failures,
                "opened": time(it.opened_us),
                "until": time(it.breaker.until_us),
                "detail": it.breaker.detail,
                "to_do": TO_DO_FOR_BREAKER[IssuerFault(it.breaker.fault)],
            }
            for it in status.breakers
        ],
        "nodes": [
            {
                "node": it.id.hex(),
                "host": it.host,
                "pid": it.pid,
                "version": it.version,
                "started": time(it.started_us),
                "seen": time(it.seen_us),
                "stopped": time(it.stopped_us),
                "alive": it.stopped_us is None and status.now_us - it.seen_us <= SILENT_US,
            }
            for it in status.nodes
        ],
    }  # fmt: skip
