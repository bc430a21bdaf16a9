"""`cvmd devices import`: a CSV of devices, a batch a transaction; run again, it goes on where it stopped.

A token that is minted is on the disk, in the CSV of `--out`, before its batch is committed: whatever is killed, there
is no device whose token nobody has.
"""

from __future__ import annotations

import argparse
import os
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from rich.console import Console
from rich.progress import Progress

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit
from cvmd.cli.database import checked_sealer, deciding_store
from cvmd.cli.records import Failures, Minted
from cvmd.errors import ConfigError
from cvmd.intake import MAX_LINE, MEANT, Accept, Candidate, Checks, Line, Unfit, fold, read
from cvmd.model import Auth, Secret
from cvmd.ports import StoreDown
from cvmd.sealing import Sealer
from cvmd.seals import seal_token, unseal_token
from cvmd.store import AdminStore
from cvmd.store.intake import Known, NewDevice

_BATCH: Final = 500
_PAGE: Final = 10_000
_TOKEN_SIZE: Final = 32
_TRIES: Final = 3


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Of `import`."""
    verb.add_argument(
        "file", type=argument.file, metavar="FILE.csv", help="its first line: serial,token,product,thing,policy"
    )
    verb.add_argument("--out", type=argument.file, metavar="OUT.csv", help="where the tokens go that are minted")
    verb.add_argument(
        "--failed", type=argument.file, metavar="FAILED.csv", help="the lines that failed (FILE.failed.csv)"
    )
    verb.add_argument("--product", type=argument.name, help="of lines that name none")
    verb.add_argument("--policy", type=argument.policy, help="of lines that name none")
    verb.add_argument(
        "--accept", type=_accept, default=frozenset(), metavar="WHAT,…",
        help=f"what is refused unless it is meant: {', '.join(Accept)}",
    )  # fmt: skip
    verb.add_argument("--dry-run", action="store_true", help="look at all lines, write those that fail, import none")


def _accept(text: str) -> frozenset[Accept]:
    return frozenset(argument.one_of(Accept)(it) for it in text.split(","))


def run(arguments: argparse.Namespace) -> Exit:
    """`cvmd devices import`. Raises ConfigError where the files will not do."""
    settings = config.load(arguments.config)
    path: Path = arguments.file
    failed: Path = arguments.failed or path.with_suffix(f".failed{path.suffix or '.csv'}")
    _check_apart(path, *Failures.files(failed), arguments.out)
    defaults = {name: value for name in ("product", "policy") if (value := getattr(arguments, name))}
    with ExitStack() as stack:
        file = stack.enter_context(_opened(path))
        lines = _table(path, file, defaults)
        minted = stack.enter_context(Minted.open(arguments.out)) if arguments.out else None
        failures = Failures(failed)
        stack.callback(failures.close)
        store = stack.enter_context(deciding_store(settings))
        sealer = checked_sealer(settings, store)
        products = {it.product.name: it.product for it in store.list_products()}
        checks = Checks(products, _folded(store), arguments.accept)
        intake = Intake(store, sealer, checks, minted, failures, dry=arguments.dry_run)
        try:
            with _progress() as progress:
                task = progress.add_task("import", total=path.stat().st_size or None)
                while read_lines := list(islice(lines, _BATCH)):
                    intake.take(read_lines)
                    if file.seekable():  # a pipe has neither size nor place
                        progress.update(task, completed=file.tell())
            failures.finish()
        except StoreDown as error:
            return _stopped(intake, str(error))
        except OSError as error:
            return _stopped(intake, f"a file cannot be written: {error.strerror}")
        except KeyboardInterrupt:
            _stopped(intake, "interrupted")
            raise
    verb = "would be imported" if arguments.dry_run else "imported"
    seen = f": see {failed}" if failures.count else ""
    print(f"import: {intake.added} {verb}, {intake.there} were there already, {failures.count} failed{seen}")
    return Exit.REFUSED if failures.count else Exit.DONE


@dataclass(slots=True)
class Intake:
    """What is done with the batches of one run. `added` and `there` count devices."""

    store: AdminStore
    sealer: Sealer
    checks: Checks
    minted: Minted | None
    failures: Failures
    dry: bool
    added: int = 0
    there: int = 0

    def take(self, lines: Sequence[Line]) -> None:
        """Import what is new in them. Raises StoreDown, OSError."""
        batch, failed = [], []
        for line in lines:
            try:
                batch.append(self.checks.candidate(line))
            except Unfit as reason:
                failed.append((line, str(reason)))
        failed += self._import(batch)
        for line, why in sorted(failed, key=lambda it: it[0].number):
            self.failures.add(line, why)

    def _import(self, batch: Sequence[Candidate]) -> list[tuple[Line, str]]:
        """Those that failed, and why."""
        for _ in range(_TRIES):
            judged = [(it, reason, token) for it, (reason, token) in zip(batch, self._judge(batch), strict=True)]
            new = [(it, token) for it, reason, token in judged if reason is None]
            try:
                if not self.dry:
                    self._add(new)
            except ConfigError:  # somebody else adds devices, or changes products, at the same time: look again
                continue
            failed = [(it.line, reason) for it, reason, _ in judged if reason]
            self.added += len(new)
            self.there += len(batch) - len(new) - len(failed)
            return failed
        return [(it.line, "somebody else changes devices or products now: import it again") for it in batch]

    def _judge(self, batch: Sequence[Candidate]) -> Iterator[tuple[str | None, Secret | None]]:
        """For each why it is not imported (empty: it is there already), or None and its token."""
        known = self.store.there([it.serial for it in batch])
        mapped = self.store.mapped([it.thing for it in batch])
        for it in batch:
            try:
                if it.serial in known:
                    self._compare(it, known[it.serial])
                    yield "", None
                    continue
                self._check_beside(it, mapped)
                yield None, self._token(it)
            except Unfit as reason:
                yield str(reason), None

    def _compare(self, it: Candidate, known: Known) -> None:
        """Raises Unfit where the device that is there is another one than the line's."""
        pairs = (("product", it.product.name), ("thing", it.thing), ("policy", it.policy))
        for what, wanted in pairs:
            if getattr(known, what) != wanted:
                raise Unfit(f"it is there already, with {what} {getattr(known, what)}: see `cvmd devices set`")
        if it.product.auth is not Auth.TOKEN:
            return
        token = it.token or self._minted(it.serial)
        if token is None:
            raise Unfit(
                "it is there already, and neither this line nor the file of --out has its token: give the --out of the "
                "run that made it, or take the line away"
            )
        if token != unseal_token(known.sealed_token, it.serial, self.sealer):
            raise Unfit("it is there already, with another token")

    def _check_beside(self, it: Candidate, mapped: Mapping[tuple[int, str], bytes]) -> None:
        if self.checks.resembles(it.serial):
            raise Unfit(f"a device is there whose serial differs in upper or lower case alone ({MEANT})")
        if it.product.share_things or self.checks.accepts(Accept.SHARED_THINGS):
            return
        other = mapped.get((it.product.account.id, it.thing))
        if other is not None:
            raise Unfit(f"thing {it.thing} is that of device {other.decode()} (--accept shared-things takes it)")

    def _token(self, it: Candidate) -> Secret | None:
        if it.product.auth is not Auth.TOKEN:
            return None
        minted = self._minted(it.serial)
        if it.token is not None:
            if minted not in (None, it.token):
                raise Unfit("the file of --out has another token for it: take one of the two away")
            return it.token
        if self.minted is None:
            raise Unfit("it has no token: --out OUT.csv makes one and keeps it there")
        return minted or Secret(os.urandom(_TOKEN_SIZE))

    def _minted(self, serial: bytes) -> Secret | None:
        return None if self.minted is None else self.minted.token(serial)

    def _add(self, new: Sequence[tuple[Candidate, Secret | None]]) -> None:
        """Tokens that are new to the disk first. Raises ConfigError where a device or product is not as it was."""
        if self.minted is not None:
            self.minted.add(
                [
                    (it.serial, token, it.product.name, it.thing, it.policy)
                    for it, token in new
                    if token is not None and it.token is None and self.minted.token(it.serial) is None
                ]
            )
        by_product: dict[str, list[NewDevice]] = {}
        for it, token in new:
            sealed = b"" if token is None else seal_token(token, it.serial, self.sealer)
            device = NewDevice(it.serial, it.thing, it.policy, sealed)
            by_product.setdefault(it.product.name, []).append(device)
        for product, devices in by_product.items():
            self.store.add_devices(product, devices)


def _folded(store: AdminStore) -> array[int]:
    """fold() of all serials that are there, ascending: 8 bytes each."""
    found = array("q")
    after = b""
    while page := store.serials(after=after, page=_PAGE):
        found.extend(map(fold, page))
        after = page[-1]
    return array("q", sorted(found))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _table(path: Path, file: BinaryIO, defaults: Mapping[str, str]) -> Iterator[Line]:
    try:
        return read(_lines(file), defaults)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Each with its end; of one that is too long no more than shows that it is."""
    most = MAX_LINE + 1
    while raw := file.readline(most):
        yield raw
        while len(raw) == most and not raw.endswith(b"\n"):
            raw = file.readline(most)


def _check_apart(*paths: Path | None) -> None:
    there = [os.path.realpath(it) for it in paths if it is not None]  # as Path.resolve, which a loop of links ends
    if len(set(there)) != len(there):
        raise ConfigError(
            "FILE.csv, --out and --failed (with its .part and ~) are to be three files: each is kept as it is"
        )


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _stopped(intake: Intake, why: str) -> Exit:
    print(f"cvmd: {why}; {intake.added} devices are imported: run the same command again", file=sys.stderr)
    return Exit.DOWN
