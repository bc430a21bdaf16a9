"""`cvmd config`: the example file, and a check of one without starting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from cvmd import config
from cvmd.cli.common import Exit, Subparsers


def add_to(nouns: Subparsers) -> None:
    """The noun has no verbs: it prints or it checks."""
    about = "print an example configuration, or check one"
    noun = nouns.add_parser("config", help=about, description=about, allow_abbrev=False)
    what = noun.add_mutually_exclusive_group(required=True)
    what.add_argument("--example", action="store_true", help="print every key with its doc and default")
    what.add_argument("--check", type=Path, metavar="FILE", help="say what is wrong with FILE, if anything")
    noun.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Exit:
    if arguments.example:
        print(config.example(), end="")
    else:
        config.load(arguments.check)
        print(f"{arguments.check}: ok")
    return Exit.DONE
