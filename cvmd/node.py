"""Which node this is: an id that outlives the process, so that the next one knows what its predecessor held."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

from cvmd.errors import ConfigError

log = logging.getLogger(__name__)

_ID_BYTES: Final = 16


def node_id(state_dir: str, stack: ExitStack | AsyncExitStack) -> tuple[bytes, bool]:
    """16 bytes, and whether they are kept in `state_dir` and this process alone has them until `stack` closes.

    Raises ConfigError where the directory cannot be used. Without one, or where another process has its id, the id
    is a new one: then the claims of a process that died end with their leases, and no earlier.
    """
    if not state_dir:
        return os.urandom(_ID_BYTES), False
    path = Path(state_dir) / "node.id"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kept = os.pread(descriptor, _ID_BYTES + 1, 0)
        if len(kept) != _ID_BYTES:  # new, or cut off by a crash: then nobody ever claimed by it
            kept = os.urandom(_ID_BYTES)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, kept, 0)
            os.fsync(descriptor)
    except BlockingIOError:
        log.warning("worker.state_dir: %s belongs to another cvmd that runs; give each its own", path)
        return os.urandom(_ID_BYTES), False
    except OSError as error:
        raise ConfigError(
            f"worker.state_dir: cannot use {path}: {error.strerror}; it must be a directory that cvmd can write to"
        ) from None
    return kept, True
