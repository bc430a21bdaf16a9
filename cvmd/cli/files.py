"""Secrets in files: a new one for a new secret, and a device's token out of one."""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cvmd.cli.common import Refused
from cvmd.config import read_secret
from cvmd.errors import ConfigError
from cvmd.model import Secret
from cvmd.ports import StoreDown
from protocol.constants import MAX_TOKEN, MIN_TOKEN


def write_new_secret(path: Path, secret: Secret) -> None:
    """`secret` as hex in a new file that its owner alone may read, on the disk when this returns.

    Raises Refused if there is a file already, ConfigError if there cannot be one.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Refused(f"{path}: exists and is not overwritten; name another file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret.reveal().hex() + "\n")
            file.flush()
            os.fsync(descriptor)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(FileNotFoundError):
            path.unlink()
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def written_first(path: Path | None, secret: Secret, see: str) -> Iterator[None]:
    """`secret` is in a new file before what is done inside puts it into the database; None: it is in one already.

    A crash in between leaves a secret that nothing uses, not one that nobody has. What is refused leaves no file.
    `see`: the command that tells whether the database has it.
    """
    if path is not None:
        write_new_secret(path, secret)
    try:
        yield
    except ConfigError:
        if path is not None:
            path.unlink()
        raise
    except StoreDown as error:
        raise StoreDown(f"{error}; keep {path} if `{see}` knows it by then" if path else str(error)) from None


def read_token(path: Path, what: str = "token") -> Secret:
    """A token, or a product key, from its file: hex of 16 to 64 bytes. Raises ConfigError, which does not repeat it."""
    text = read_secret(str(path))
    try:
        token = binascii.unhexlify(text.reveal())
    except binascii.Error:
        raise ConfigError(f"{path}: a {what} is written as hex digits, two a byte, and nothing else") from None
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise ConfigError(
            f"{path}: a {what} has {MIN_TOKEN} to {MAX_TOKEN} random bytes, this one {len(token)}; "
            "a shorter one can be guessed offline"
        )
    if len(set(token)) == 1:
        raise ConfigError(f"{path}: {len(token)} times the same byte is no {what}")
    return Secret(token)


def sync_directory(path: Path) -> None:
    """A new name in it is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
