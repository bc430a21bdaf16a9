"""`cvmd secrets`: making the master key."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cvmd.cli.common import Exit, Subparsers, add_noun
from cvmd.cli.files import write_new_secret
from cvmd.model import Secret
from cvmd.sealing import MASTER_KEY_SIZE


def add_to(nouns: Subparsers) -> None:
    """The verb `new`."""
    verbs = add_noun(nouns, "secrets", "make secrets")
    new = verbs.add_parser("new", help="make a master key", description="Make a master key in a new file.")
    new.add_argument("file", type=Path, metavar="FILE", help="where to put it; refuses to overwrite")
    new.set_defaults(run=_new)


def _new(arguments: argparse.Namespace) -> Exit:
    write_new_secret(arguments.file, Secret(os.urandom(MASTER_KEY_SIZE)))
    print(f"{arguments.file}: a new master key; keep a copy, apart from the database's backups")
    return Exit.DONE
