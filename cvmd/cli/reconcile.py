"""`cvmd reconcile`: what AWS has, held against the rows; a look, unless it is told to mend."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit, Refused, Subparsers, add_json, add_verb
from cvmd.cli.database import deciding_database
from cvmd.cli.output import print_json, print_table
from cvmd.config import Config
from cvmd.disposal import DisposalSettings, Disposer
from cvmd.errors import IssuerError
from cvmd.model import Account, CertificateStatus
from cvmd.ports import Issuer
from cvmd.reconcile import Finding, Reconciliation, Remedies, Report, pacer
from cvmd.store import Store

_DISPOSE_WITHIN_S: Final = 120.0
_LOOK_S: Final = 0.2
_AT_ONCE: Final = 200
"""Certificates in one question."""


def add_to(nouns: Subparsers) -> None:
    """No verb: there is one thing to do."""
    verb = add_verb(
        nouns, "reconcile", _reconcile,
        "compare AWS's certificates with the rows, and print what does not fit; exit code 1 if something remains",
    )  # fmt: skip
    verb.add_argument("--account", metavar="NAME", help="only this one (all)")
    verb.add_argument("--apply", action="store_true", help="delete what is provably ours and in no row")
    verb.add_argument(
        "--adopt", nargs="*", type=argument.serial, metavar="ID",
        help="take up the ACTIVE certificates that no row has so, as after a restore: all, or these ids or serials",
    )  # fmt: skip
    verb.add_argument("--deep", action="store_true", help="also look for things with more than one ACTIVE certificate")
    verb.add_argument(
        "--rate", type=_rate, metavar="CALLS", help="calls to AWS a second (reconcile.calls_per_s); AWS's quota is 10"
    )
    add_json(verb)


def _rate(text: str) -> float:
    calls = argument.number(text)
    if not 0 < calls <= 100:  # as reconcile.calls_per_s
        raise argparse.ArgumentTypeError(f"{text!r}: must be above 0 and at most 100")
    return calls


def _reconcile(arguments: argparse.Namespace) -> Exit:
    # Only here: boto3 would double the time of every other command.
    from cvmd.aws import aws_iot

    settings = config.load(arguments.config)
    issuer = aws_iot(settings)
    with deciding_database(settings, pool=1 + settings.disposal.concurrency) as (database, sealer, trail):
        store = Store(database, trail)
        run = Reconciliation(
            store, issuer, sealer.owns_subject, _remedies(store, arguments),
            pause=pacer(arguments.rate or settings.reconcile.calls_per_s, threading.Event()), progress=_progress,
        )  # fmt: skip
        accounts = _accounts(store, arguments.account)
        reports = [it for it in (_one(run, each, deep=arguments.deep) for each in accounts) if it is not None]
        mended = [bytes.fromhex(it.name) for report in reports for it in report.findings if it.mended]
        left = _dispose(store, issuer, settings, mended)
    _print(reports, as_json=arguments.json)
    if left:
        print(f"cvmd: {left} certificates are still on their way out; the daemon goes on", file=sys.stderr)
    missed = _missed(arguments.adopt or (), reports)
    if missed:
        print(f"cvmd: --adopt {' '.join(missed)}: no finding has that certificate id or serial", file=sys.stderr)
    well = not left and not missed and len(reports) == len(accounts) and not any(it.remain for it in reports)
    return Exit.DONE if well else Exit.REFUSED


def _missed(named: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """Of what was named, what nothing was found of: a slip of the pen is no success."""
    found = {name for it in reports for finding in it.findings for name in (finding.name, _serial(finding))}
    return [name for name in named if name not in found]


def _remedies(store: Store, arguments: argparse.Namespace) -> Remedies:
    may = Remedies()
    if arguments.apply:
        may = replace(may, retire_orphan=store.retire_orphan, dispose_of=store.dispose_of)
    if arguments.adopt is not None:
        may = replace(may, adopt=store.adopt, supersede=store.supersede, chosen=frozenset(arguments.adopt))
    return may


def _accounts(store: Store, name: str | None) -> Sequence[Account]:
    known = store.accounts()
    chosen = [it for it in known if name in (None, it.name)]
    if not chosen:
        raise Refused(f"there is no account {name!r}; known: {', '.join(it.name for it in known)}")
    return chosen


def _one(run: Reconciliation, account: Account, *, deep: bool) -> Report | None:
    """None: its AWS failed, which was said, and keeps no other account from its turn."""
    try:
        return run.run(account, deep=deep)
    except IssuerError as error:
        print(f"cvmd: account {account.name}: AWS IoT: {error}; what was mended so far stays so", file=sys.stderr)
        return None
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def _progress(report: Report) -> None:
    if sys.stderr.isatty():
        text = f"\r{report.account}: {report.listed} certificates, {len(report.findings)} findings"
        print(text, end="", file=sys.stderr, flush=True)


def _dispose(store: Store, issuer: Issuer, settings: Config, mended: Sequence[bytes]) -> int:
    """See what was mended through, also what an adopted one has replaced; how many of `mended` are left in the end."""
    disposer = Disposer(
        store,
        issuer,
        DisposalSettings(settings.disposal.concurrency, settings.worker.lease_s, settings.disposal.poll_s),
        node=os.urandom(16),
    )
    until_s = time.monotonic() + _DISPOSE_WITHIN_S
    left = list(mended)
    try:
        while left and time.monotonic() < until_s:
            if asyncio.run(disposer.round()):
                continue
            left = _on_their_way(store, left)
            if left:
                time.sleep(_LOOK_S)
    finally:
        disposer.close()
    return len(left)


def _on_their_way(store: Store, certificate_ids: Sequence[bytes]) -> list[bytes]:
    """Those that are not deleted yet, nor inert in their grace, nor ACTIVE."""
    left: list[bytes] = []
    for start in range(0, len(certificate_ids), _AT_ONCE):
        known = store.known(certificate_ids[start : start + _AT_ONCE]).values()
        left += [it.certificate_id for it in known if it.status is CertificateStatus.RETIRING and not it.at_rest]
    return left


def _print(reports: Sequence[Report], *, as_json: bool) -> None:
    if as_json:
        print_json([_document(it) for it in reports])
    if as_json or not reports:
        return
    print_table(
        ("account", "certificates", "foreign", "in flight", "findings", "remain"),
        ([it.account, it.listed, it.foreign, it.in_flight, len(it.findings), it.remain] for it in reports),
    )
    if any(it.findings for it in reports):
        print_table(
            ("account", "finding", "certificate or thing", "serial", "detail", "to do"),
            (
                [it.account, each.kind, each.name, _serial(each), each.detail, _to_do(each)]
                for it in reports
                for each in it.findings
            ),
        )


def _document(report: Report) -> dict[str, object]:
    return {
        "account": report.account, "certificates": report.listed, "foreign": report.foreign,
        "in_flight": report.in_flight,
        "findings": [
            {
                "kind": it.kind, "name": it.name, "serial": _serial(it), "detail": it.detail, "mended": it.mended,
                "to_do": None if it.mended else it.to_do,
            }
            for it in report.findings
        ],
    }  # fmt: skip


def _serial(finding: Finding) -> str | None:
    return None if finding.serial is None else finding.serial.decode("ascii", "backslashreplace")


def _to_do(finding: Finding) -> str:
    return "mended" if finding.mended else finding.to_do
