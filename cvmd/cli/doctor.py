"""`cvmd doctor`: is all as it must be before a device calls, and if not, what is to be done."""

from __future__ import annotations

import argparse

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.checks import print_checks
from cvmd.cli.common import Exit, Refused, Subparsers, add_json, add_verb
from cvmd.errors import ConfigError


def add_to(nouns: Subparsers) -> None:
    """No verb: there is one thing to ask."""
    verb = add_verb(nouns, "doctor", _doctor, "look at the whole set-up; exit code 1 if anything has failed")
    how = verb.add_mutually_exclusive_group()
    how.add_argument("--config-only", action="store_true", help="the configuration and its files, and nothing beyond")
    how.add_argument(
        "--product", type=argument.name, metavar="NAME",
        help="this product more closely: all of its policies, and more of its things",
    )  # fmt: skip
    add_json(verb)


def _doctor(arguments: argparse.Namespace) -> Exit:
    # Only here: boto3 would double the time of every other command.
    from cvmd import doctor

    settings = config.load(arguments.config)
    sections = doctor.examine(settings, config_only=arguments.config_only, product=arguments.product)
    try:
        return print_checks(sections, as_json=arguments.json)
    except ConfigError as error:
        raise Refused(str(error)) from None
