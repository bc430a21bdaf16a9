"""The database as a verb wants it: opened, checked, closed, and its refusals told from broken configurations."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from cvmd.cli.common import Refused
from cvmd.config import Config
from cvmd.database import check_master_key, configured
from cvmd.errors import ConfigError
from cvmd.sealing import Sealer, load_master_key
from cvmd.store import AdminStore, Database, Trail, check_schema


@contextmanager
def open_database(settings: Config, *, pool: int = 1, timeout_s: float | None = None) -> Iterator[Database]:
    """The database that `settings` name, whatever is in it; the rest is as cvmd.database.configured has it."""
    database = configured(settings, pool=pool, timeout_s=timeout_s)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def admin_store(settings: Config) -> Iterator[AdminStore]:
    """The operator's side of a migrated database, for what decides on no credential: it takes no master key.

    What the store will not do, inside, is Refused.
    """
    with open_database(settings) as database:
        check_schema(database)
        with _refusals():
            yield AdminStore(database)


@contextmanager
def deciding_store(settings: Config) -> Iterator[AdminStore]:
    """The same for what decides on credentials: each decision is written down in the operator's name."""
    with deciding_database(settings) as (database, _, trail), _refusals():
        yield AdminStore(database, trail)


@contextmanager
def deciding_database(settings: Config, *, pool: int = 1) -> Iterator[tuple[Database, Sealer, Trail]]:
    """A migrated database, its sealer, and the trail of the operator."""
    with open_database(settings, pool=pool) as database:
        check_schema(database)
        sealer = checked_sealer(settings, AdminStore(database))
        yield database, sealer, Trail(sealer.audit_mac, f"operator:{_login_name()}")


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise Refused(str(error)) from None


def _login_name() -> str:
    # Of the process, and not getpass.getuser, which believes the environment.
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def checked_sealer(settings: Config, store: AdminStore) -> Sealer:
    """Seals for this database. Raises SealError where the master key is not the database's own."""
    sealer = Sealer(load_master_key(settings.secrets.master_key_path))
    check_master_key(store, sealer)
    return sealer
