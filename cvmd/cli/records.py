"""The CSVs that an import writes: the tokens that it mints, and the lines that failed."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from cvmd.cli.files import sync_directory
from cvmd.errors import ConfigError
from cvmd.intake import COLUMNS, REASON, Accept, Line, Unfit, token_of
from cvmd.model import Secret

_HEADER: Final = (",".join(COLUMNS) + "\n").encode()


class Minted:
    """The tokens that imports have made, in a CSV that can be imported. Each is on the disk before the database has it.

    What a killed import has half written is taken away; what it had written, the next one uses.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._tokens: dict[bytes, Secret] = {}

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Minted]:
        """The file, new or of an import before this one; no other import writes it meanwhile. Raises ConfigError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            _check_own(path, os.fstat(descriptor))
        except ConfigError:
            os.close(descriptor)
            raise
        file = os.fdopen(descriptor, "r+b")
        try:
            minted = cls(path, file)
            minted._begin()
            yield minted
        finally:
            with suppress(OSError):  # what could not be written was said, and would be tried again
                file.close()

    def token(self, serial: bytes) -> Secret | None:
        """The one that was made for this serial."""
        return self._tokens.get(serial)

    def add(self, rows: Sequence[tuple[bytes, Secret, str, str, str]]) -> None:
        """(serial, token, product, thing, policy) of each; on the disk when this returns. Raises OSError."""
        if not rows:
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            (serial.decode(), token.reveal().hex(), *rest) for serial, token, *rest in rows
        )
        self._file.write(text.getvalue().encode())
        self._sync()
        self._tokens.update((serial, token) for serial, token, *_ in rows)

    def _begin(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            raise ConfigError(f"{self._path}: another import writes it now") from None
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror}") from None

    def _read(self) -> None:
        first = self._file.readline()
        if first != _HEADER:
            if not _HEADER.startswith(first):
                raise ConfigError(f"{self._path}: is not what an import has written; name another file")
            self._start()
            return
        for number, raw in enumerate(self._file, 2):
            if not raw.endswith(b"\n"):
                self._file.seek(-len(raw), os.SEEK_CUR)
                self._file.truncate()
                break
            self._take(raw, number)

    def _start(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(_HEADER)
        self._sync()
        sync_directory(self._path.absolute().parent)

    def _take(self, raw: bytes, number: int) -> None:
        try:
            serial, text, *_ = next(csv.reader([raw.decode("ascii").rstrip("\n")]))
            token = token_of(text, frozenset(Accept))
            if token is None:  # it would be one that everybody knows
                raise Unfit("it has no token")
            self._tokens[serial.encode()] = token
        except (ValueError, StopIteration, csv.Error, Unfit):
            raise ConfigError(f"{self._path}, line {number}: is not what an import has written") from None

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def _check_own(path: Path, found: os.stat_result) -> None:
    """Raises ConfigError where somebody else has made it, and so reads the tokens or gives them."""
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"{path}: is no file of your own, and it is to hold tokens; name another one")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: others may read or write it, and it holds tokens; do `chmod 0600 {path}`")


def _is_locked(path: Path) -> bool:
    """Whether another process has locked this file, if there is one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # none, or none that an import has made
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Failures:
    """The lines that were not imported, each with the reason, in a CSV that can be mended and imported.

    There once all is done, in the place of the one of a former run, which is kept as FILE~.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._part, self._former = self.files(path)
        self.count = 0
        if _is_locked(self._part):
            raise ConfigError(f"{self._part}: another import writes it now; name another file by --failed")
        try:
            # They may hold tokens: a new file, not one that a killed import, or somebody else, has put or linked there.
            self._part.unlink(missing_ok=True)
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # nobody else has it yet
        except OSError as error:
            raise ConfigError(f"{self._part}: cannot be written: {error.strerror}") from None
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*COLUMNS, REASON])

    @staticmethod
    def files(path: Path) -> tuple[Path, Path, Path]:
        """All that are written, moved or taken away where `path` is named: itself, the one on the way, the former."""
        return path, path.with_name(path.name + ".part"), path.with_name(path.name + "~")

    def add(self, line: Line, reason: str) -> None:
        """A line as it was, and why it failed. Raises OSError."""
        self._writer.writerow([*line.cells, f"line {line.number}: {reason}"])
        self.count += 1

    def finish(self) -> None:
        """All lines were looked at: the file is in its place, if there is a line in it. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        with suppress(FileNotFoundError):
            self._path.rename(self._former)
        if self.count:
            self._part.rename(self._path)
        self.close()

    def close(self) -> None:
        """What is not finished is not there."""
        with suppress(OSError):  # what could not be written was said, and would be tried again
            self._file.close()
        self._part.unlink(missing_ok=True)
