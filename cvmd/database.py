"""The database that a configuration names."""

from __future__ import annotations

import re
from urllib.parse import quote

from msgspec.structs import replace

from cvmd.config import Config, read_secret, secret_path
from cvmd.errors import ConfigError
from cvmd.meter import NO_METER, Meter
from cvmd.store import Database
from cvmd.store.tls import Tls

_BESIDE = 3
"""Connections of what runs alone: reconciliation, the heartbeat, and the watch over the database."""


def logged_in(config: Config, login: str | None, password_file: str | None) -> Config:
    """The configuration with another login to its database, as for `cvmd db migrate`; None: as it is.

    Raises ConfigError.
    """
    database, changes = config.database, {}
    if login is not None:
        if not database.url.startswith("mysql"):
            raise ConfigError("a SQLite file has no logins: leave --login out")
        user = quote(login, safe="")
        changes["url"] = re.sub(r"(?<=://)([^@/]*@)?", f"{user}@", database.url, count=1)
    if password_file is not None:
        changes["password_file"] = password_file
    try:
        return replace(config, database=replace(database, **changes))
    except ValueError as error:
        raise ConfigError(f"database.{error}") from None


def connections(config: Config) -> int:
    """How many connections one daemon opens at most: one for each of its threads that ask the database."""
    return config.database.pool + config.worker.concurrency + config.disposal.concurrency + _BESIDE


def configured(config: Config, *, pool: int = 1, meter: Meter = NO_METER) -> Database:
    """That database, with at most `pool` connections; none is made yet. Raises ConfigError."""
    database = config.database
    return Database(
        database.url,
        password=database.password(),
        tls=_tls(config),
        pool=pool,
        timeout_s=database.timeout_s,
        meter=meter,
    )


def _tls(config: Config) -> Tls:
    database = config.database
    if database.tls_key_file:
        read_secret(database.tls_key_file)  # said here if others may read it
    return Tls(
        database.tls,
        *(
            secret_path(it) if it else None
            for it in (database.tls_ca_file, database.tls_cert_file, database.tls_key_file)
        ),
    )
