"""`cvmd audit`: who decided what on a device's credentials, and whether anybody meddled with the record of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit, Refused, Subparsers, add_json, add_noun, add_verb
from cvmd.cli.database import checked_sealer, open_database
from cvmd.cli.output import print_json, print_table, time
from cvmd.store import AdminStore, check_schema
from cvmd.store.audit import Mac
from cvmd.store.chains import AuditRows, Chain


def add_to(nouns: Subparsers) -> None:
    """The verbs `show` and `verify`."""
    verbs = add_noun(nouns, "audit", "read and check the record of every decision on a credential")
    show = add_verb(verbs, "show", _show, "print what was decided on a device's credentials, and by whom; unchecked")
    show.add_argument("serial", type=argument.serial)
    add_json(show)
    verify = add_verb(verbs, "verify", _verify, "check that no line was removed, changed or put in; exit code 1 if so")
    verify.add_argument("serial", type=argument.serial, nargs="*", help="only of these devices (all)")
    add_json(verify)


def _show(arguments: argparse.Namespace) -> Exit:
    with open_database(config.load(arguments.config)) as database:
        check_schema(database)
        found = AuditRows(database).lines(arguments.serial.encode())
    if found is None:
        raise Refused(_no_such(arguments.serial))
    columns = ["seq", "at", "actor", "event", "detail"]
    lines = [[it.seq, time(it.at_us), it.actor, it.event, it.detail] for it in found]
    if arguments.json:
        print_json([dict(zip(columns, line, strict=True)) for line in lines])
    else:
        print_table(columns, lines)
    return Exit.DONE


def _verify(arguments: argparse.Namespace) -> Exit:
    settings = config.load(arguments.config)
    devices, lines, broken = 0, 0, []
    with open_database(settings) as database:
        check_schema(database)
        mac = checked_sealer(settings, AdminStore(database)).audit_mac
        for chain in _chains(AuditRows(database), arguments.serial, mac):
            devices += 1
            lines += chain.lines
            if chain.broken_at is not None:
                broken.append((chain.serial.decode("ascii", "backslashreplace"), chain.broken_at, chain.problem))
    if arguments.json:
        named = [{"serial": serial, "line": line, "problem": problem} for serial, line, problem in broken]
        print_json({"devices": devices, "lines": lines, "broken": named})
    else:
        if broken:
            print_table(["serial", "line", "problem"], broken)
        print(f"{devices} devices, {lines} lines, {len(broken)} broken chains")
    if broken:
        raise Refused(
            f"{len(broken)} of {devices} audit chains are broken: the database was changed past cvmd; "
            "compare it with a backup, and ask who can write to it"
        )
    return Exit.DONE


def _chains(rows: AuditRows, serials: Sequence[str], mac: Mac) -> Iterator[Chain]:
    if not serials:
        yield from rows.verify(mac)
    for serial in serials:
        chain = rows.verify_one(serial.encode(), mac)
        if chain is None:
            raise Refused(_no_such(serial))
        yield chain


def _no_such(serial: str) -> str:
    return f"there is no device {serial!r}; see `cvmd devices list`"
