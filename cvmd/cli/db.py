"""`cvmd db`: the tables, and what state they are in."""

from __future__ import annotations

import argparse
from typing import Final

from cvmd import config
from cvmd.cli.common import Exit, Refused, Subparsers, add_json, add_login, add_noun, add_verb
from cvmd.cli.database import checked_sealer, open_database
from cvmd.cli.output import print_fields, print_json
from cvmd.database import check_master_key, logged_in
from cvmd.errors import ConfigError
from cvmd.ports import WrongSchema
from cvmd.sealing import Sealer, load_master_key
from cvmd.store import AdminStore, Database, check_schema, migrate
from cvmd.store.deployment import schema_version
from cvmd.store.schema import HEAD

_MIGRATION_S: Final = 6 * 3600.0
"""Of one statement: an index over a big table takes its time, and must not be given up while the server makes it."""


def add_to(nouns: Subparsers) -> None:
    """The verbs `migrate` and `status`."""
    verbs = add_noun(nouns, "db", "set up, upgrade and look at the database")
    verb = add_verb(verbs, "migrate", _migrate, "make the tables, or bring them to this version")
    add_login(verb)
    add_json(add_verb(verbs, "status", _status, "say whether the database is there and fits"))


def _migrate(arguments: argparse.Namespace) -> Exit:
    settings = logged_in(config.load(arguments.config), arguments.login, arguments.password_file)
    # First the key: tables that do not know theirs are of no use.
    sealer = Sealer(load_master_key(settings.secrets.master_key_path))
    with open_database(settings, timeout_s=_MIGRATION_S) as database:
        try:
            before, after = migrate(database)
        except OSError as error:
            raise ConfigError(f"{database.path}: cannot be made: {error.strerror}; see database.url") from None
        store = AdminStore(database)
        if not store.set_key_check(sealer.check_value()):
            check_master_key(store, sealer)
    newer = f", newer than this cvmd's {HEAD}" if after > HEAD else ""
    print(f"schema: {after}{newer}" + (", as before" if before == after else f", was {before or 'none'}"))
    return Exit.DONE


def _status(arguments: argparse.Namespace) -> Exit:
    settings = config.load(arguments.config)
    with open_database(settings) as database:
        fields: dict[str, object] = {"database": settings.database.url, "reachable": True}
        fields |= {"schema": schema_version(database), "head": HEAD}
        problem = _problem(database)
        if problem is None:
            store = AdminStore(database)
            checked_sealer(settings, store)
            fields |= {"deployment": store.deployment_id().hex(), "master_key": "fits"}
    (print_json if arguments.json else print_fields)(fields)
    if problem is not None:
        raise Refused(problem)
    return Exit.DONE


def _problem(database: Database) -> str | None:
    try:
        check_schema(database)
    except WrongSchema as error:
        return str(error)
    return None
