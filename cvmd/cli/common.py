"""What the nouns share: exit codes, refusals, and how a noun and a verb are added."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import TypeAlias

from cvmd.config import DEFAULT_PATH

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # argparse has no public name for it


class Exit(IntEnum):
    """The process's exit codes."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    DOWN = 3


class Refused(Exception):  # noqa: N818  # named as ports.StoreDown is: by what happened
    """The request is understood and not done; the message says why, and what to do."""


def add_noun(nouns: Subparsers, name: str, about: str) -> Subparsers:
    """The place for the verbs of a noun."""
    noun = nouns.add_parser(name, help=about, description=about, allow_abbrev=False)
    return noun.add_subparsers(metavar="verb", required=True)


def add_verb(
    verbs: Subparsers, name: str, run: Callable[[argparse.Namespace], Exit], about: str
) -> argparse.ArgumentParser:
    """A verb that reads the configuration; `run` is called with the parsed arguments."""
    verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
    verb.add_argument("--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH})")
    verb.set_defaults(run=run)
    return verb


def add_login(verb: argparse.ArgumentParser) -> None:
    """For verbs that do what the daemon's login may not."""
    verb.add_argument(
        "--login",
        metavar="USER",
        help="the database's user who may do this, cvmd-migrate in grants.sql (that of the URL)",
    )
    # Absolute, as the configuration wants it: here it is meant from where the operator stands.
    verb.add_argument(
        "--password-file", type=os.path.abspath, metavar="FILE", help="its password (database.password_file)"
    )


def add_json(verb: argparse.ArgumentParser) -> None:
    """For verbs that print for people, or, asked to, for programs."""
    verb.add_argument("--json", action="store_true", help="print JSON")
