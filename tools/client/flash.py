"""The device's flash: named files that survive a power cut at any byte.

    read(name) -> bytes or None · write(name, data), all or nothing · append(name, data) · remove(name)

DirectoryFlash keeps them in a directory, MemoryFlash in a dict (for thousands of devices in one process).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol, Self

from .options import OptionError

_PRIVATE = 0o600
_PUBLIC = 0o644


class Flash(Protocol):
    """Where a device keeps what must outlive the power."""

    def read(self, name: str) -> bytes | None:
        """The whole file, or None if there is none."""

    def write(self, name: str, data: bytes, private: bool = True) -> None:
        """Replace the file: after a power cut it holds either the old bytes or the new."""

    def append(self, name: str, data: bytes) -> None:
        """Add to the file: after a power cut it holds any part of `data`, from its start."""

    def remove(self, name: str) -> None:
        """Delete the file, if it is there."""


class MemoryFlash:
    """Flash without a disk."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self._files.get(name)

    def write(self, name: str, data: bytes, private: bool = True) -> None:
        self._files[name] = data

    def append(self, name: str, data: bytes) -> None:
        self._files[name] = self._files.get(name, b"") + data

    def remove(self, name: str) -> None:
        self._files.pop(name, None)


class DirectoryFlash:
    """Files of a directory, made if need be; everything is synced before a call returns.

    Holds a lock until it is closed: OptionError if another client works in it, or it cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise OptionError(f"cannot use {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise OptionError(f"another client works in {directory}: wait, or give another --out") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes, private: bool = True) -> None:
        path = self._directory / name
        fresh = path.with_name(name + ".new")
        fresh.unlink(missing_ok=True)  # left by a power cut; its mode could be another
        _add(fresh, data, os.O_EXCL, _PRIVATE if private else _PUBLIC)
        fresh.replace(path)
        os.fsync(self._handle)

    def append(self, name: str, data: bytes) -> None:
        _add(self._directory / name, data, os.O_APPEND, _PRIVATE)

    def remove(self, name: str) -> None:
        (self._directory / name).unlink(missing_ok=True)
        os.fsync(self._handle)


def _add(path: Path, data: bytes, how: int, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
