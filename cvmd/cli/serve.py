"""`cvmd serve`: the daemon in the foreground, as systemd wants it."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import resource

from cvmd import config, log
from cvmd.cli.common import Exit, Subparsers, add_verb

_OTHER_FILES = 512
"""Open files beside the connections of devices: the log, the database, AWS, the loop."""
_PR_SET_DUMPABLE = 4


def add_to(nouns: Subparsers) -> None:
    """The noun is its own verb."""
    add_verb(nouns, "serve", _serve, "run the daemon until SIGTERM or SIGINT")


def _serve(arguments: argparse.Namespace) -> Exit:
    # Only here: the daemon's imports (boto3 above all) would double the time of every other command.
    from cvmd import app

    settings = config.load(arguments.config)
    log.configure(settings.log)
    _forbid_core_files()
    _raise_file_limit(settings.listen.max_connections + _OTHER_FILES)
    asyncio.run(app.serve(settings))
    return Exit.DONE


def _forbid_core_files() -> None:
    """A core file would hold keys and tokens (invariant 6)."""
    # The limit binds files; a core pattern that is a pipe asks only whether the process is dumpable.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        logging.getLogger("cvmd").warning("prctl cannot forbid core files; errno %d", ctypes.get_errno())


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if hard < wanted:
        logging.getLogger("cvmd").warning(
            "listen.max_connections needs %d open files and %d are allowed: raise LimitNOFILE", wanted, hard
        )
