"""One device or many for a verb: named, read from a file, or found by product and by what became of them.

Each device is a transaction of its own, and a verb done twice does nothing the second time: after a break it is
simply run again.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit, Refused
from cvmd.cli.database import deciding_store
from cvmd.errors import ConfigError, NothingToDo
from cvmd.model import Fault, State
from cvmd.ports import StoreDown
from cvmd.store import AdminStore
from cvmd.store.admin import DeviceFilter

_PAGE: Final = 500
_NAMED: Final = 10
"""Failures that are said one by one; `--failed` has all."""

Act = Callable[[AdminStore, bytes], None]


@dataclass(slots=True)
class Tally:
    """How it went."""

    done: int = 0
    nothing: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(serial, why)"""


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """What names the devices, and what goes with many."""
    verb.add_argument("serial", type=argument.serial, nargs="?")
    many = verb.add_argument_group("more than one device")
    many.add_argument("--file", type=Path, metavar="FILE", help="a serial a line, - for standard input")
    many.add_argument("--product", type=argument.name, help="the devices of this product")
    many.add_argument("--fault", choices=[it.value for it in Fault], help="those whose newest issuance failed so")
    many.add_argument("--state", choices=[it.value for it in State], help="those whose newest issuance is there")
    many.add_argument("--dry-run", action="store_true", help="print which devices, and do nothing")
    many.add_argument("--yes", action="store_true", help="do not ask")
    many.add_argument("--failed", type=Path, metavar="FILE", help="write the serials that were not done, and why")


def run(arguments: argparse.Namespace, verb: str, act: Act, *, state: State | None = None) -> Exit:
    """`act` for each device that the arguments name. `state`: where selected devices are, if not said otherwise."""
    chosen = [bool(arguments.serial), arguments.file is not None, _selects(arguments)]
    if sum(chosen) != 1:
        raise ConfigError("name the devices in one way: SERIAL, or --file, or any of --product, --fault and --state")
    with deciding_store(config.load(arguments.config)) as store:
        if arguments.serial and not arguments.dry_run:
            act(store, arguments.serial.encode())
            return Exit.DONE
        serials = list(_serials(store, arguments, state))
        if arguments.dry_run:
            print("".join(f"{it}\n" for it in serials), end="")
            print(f"{verb}: {len(serials)} devices; nothing was done", file=sys.stderr)
            return Exit.DONE
        _confirm(verb, len(serials), yes=arguments.yes)
        tally = _each(store, serials, act, found=_selects(arguments))
    return _report(tally, verb, arguments.failed)


def _selects(arguments: argparse.Namespace) -> bool:
    return any((arguments.product, arguments.fault, arguments.state))


def _serials(store: AdminStore, arguments: argparse.Namespace, state: State | None) -> Iterator[str]:
    if arguments.serial:
        yield arguments.serial
    elif arguments.file is not None:
        yield from _read(arguments.file)
    else:
        if arguments.product:
            store.show_product(arguments.product)  # says so where there is none
        which = DeviceFilter(
            product=arguments.product,
            state=State(arguments.state) if arguments.state else state,
            fault=Fault(arguments.fault) if arguments.fault else None,
        )
        after = b""
        while page := store.list_devices(which, after=after, page=_PAGE):
            after = page[-1].serial
            yield from (it.serial.decode() for it in page)


def _read(path: Path) -> Iterator[str]:
    """The first word of each line that is not empty and no #comment: what `--failed` has written is read too."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8: save it as a text file of UTF-8, a serial a line") from None
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):  # some editors begin a file with a mark
        words = re.split(r"[\s,;]+", line.strip())
        if not words[0] or words[0].startswith("#"):
            continue
        try:
            yield argument.serial(words[0])
        except argparse.ArgumentTypeError as error:
            raise ConfigError(f"{path}, line {number}: {error}; nothing was done") from None


def _confirm(verb: str, count: int, *, yes: bool) -> None:
    if yes or count <= 1:
        return
    if not sys.stdin.isatty():
        raise Refused(f"{verb} of {count} devices: say --yes, or look first with --dry-run")
    try:
        answer = input(f"{verb} {count} devices? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Refused(f"{verb}: nothing was done")


def _each(store: AdminStore, serials: Sequence[str], act: Act, *, found: bool) -> Tally:
    """`found`: by what they are, and not by name; then to find nothing to do is no failure."""
    tally = Tally()
    for serial in serials:
        try:
            act(store, serial.encode())
        except NothingToDo as error:
            if found:
                tally.nothing += 1
            else:
                tally.failed.append((serial, str(error)))
        except ConfigError as error:
            tally.failed.append((serial, str(error)))
        except StoreDown as error:
            raise StoreDown(f"{error}; {tally.done} of {len(serials)} devices are done: run it again") from None
        else:
            tally.done += 1
    return tally


def _report(tally: Tally, verb: str, path: Path | None) -> Exit:
    if path is not None:
        try:
            path.write_text("".join(f"{serial}\t{why}\n" for serial, why in tally.failed), encoding="ascii")
        except OSError as error:
            print(f"cvmd: {path}: cannot be written: {error.strerror}", file=sys.stderr)
    for _, why in tally.failed[:_NAMED]:
        print(f"cvmd: {why}", file=sys.stderr)
    if len(tally.failed) > _NAMED:
        print(f"cvmd: and {len(tally.failed) - _NAMED} more{'' if path else ': --failed FILE'}", file=sys.stderr)
    nothing = f", {tally.nothing} had nothing to do" if tally.nothing else ""
    print(f"{verb}: {tally.done} done{nothing}, {len(tally.failed)} failed")
    return Exit.REFUSED if tally.failed else Exit.DONE
