"""Secrets in files: a new one for a new secret, and a device's token out of one."""

from __future__ import annotations

import binascii
import os
from contextlib import suppress
from pathlib import Path

from cvmd.cli.common import Refused
from cvmd.config import read_secret
from cvmd.errors import ConfigError
from cvmd.model import Secret
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
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(FileNotFoundError):
            path.unlink()
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def read_token(path: Path) -> Secret:
    """A device's token from its file: hex of 16 to 64 bytes. Raises ConfigError, which does not repeat it."""
    text = read_secret(str(path))
    try:
        token = binascii.unhexlify(text.reveal())
    except binascii.Error:
        raise ConfigError(f"{path}: a token is written as hex digits, two a byte, and nothing else") from None
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise ConfigError(
            f"{path}: a token has {MIN_TOKEN} to {MAX_TOKEN} random bytes, this one {len(token)}; "
            "a shorter one can be guessed offline"
        )
    if len(set(token)) == 1:
        raise ConfigError(f"{path}: {len(token)} times the same byte is no token")
    return Secret(token)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
