"""The database that a configuration names, and whether a daemon fits it."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from msgspec.structs import replace

from cvmd.checks import Check
from cvmd.config import Config, read_secret, secret_path
from cvmd.errors import ConfigError, SealError
from cvmd.log import canonical
from cvmd.meter import NO_METER, Meter
from cvmd.ports import StoreDown
from cvmd.sealing import Sealer
from cvmd.store import AdminStore, Database, check_schema
from cvmd.store.server import server_checks
from cvmd.store.tls import Tls
from cvmd.threads import Pool

log = logging.getLogger(__name__)

_LEVELS: Final = {"failed": logging.ERROR, "warning": logging.WARNING}
_EVERY_S: Final = 10.0
_UNTIL_SEEN_S: Final = 1.0
_BESIDE: Final = 3
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


def configured(config: Config, *, pool: int = 1, timeout_s: float | None = None, meter: Meter = NO_METER) -> Database:
    """That database, with at most `pool` connections; none is made yet. Raises ConfigError.

    `timeout_s`: of a statement, where database.timeout_s is too short for what is to be done.
    """
    database = config.database
    return Database(
        database.url,
        password=database.password(),
        tls=_tls(config),
        pool=pool,
        timeout_s=timeout_s or database.timeout_s,
        meter=meter,
    )


def check_master_key(store: AdminStore, sealer: Sealer) -> None:
    """Raises SealError where the database was set up with another master key; StoreDown."""
    known = store.key_check()
    if known is None:
        raise SealError("the database does not know its master key yet: run `cvmd db migrate`")
    if not hmac.compare_digest(known, sealer.check_value()):
        raise SealError(
            "secrets.master_key_file: not the master key that this database was set up with; nothing in it can be "
            "read under another one: put that one back, from where its copy is kept"
        )


def database_checks(config: Config, database: Database) -> list[Check]:
    """Is the database there, safe, durable, big enough, and what may the login do. Never raises."""
    try:
        return server_checks(database, config.database.tls, connections(config))
    except StoreDown as error:
        reason = str(error).removeprefix("database: ")
        return [Check("database server", False, reason, "see database.url, database.password_file and database.tls")]


class Watch:
    """Sees to it that a daemon and its database fit, also where the database was away or has been migrated since.

    What could be better about it is in the log once.
    """

    def __init__(self, config: Config, database: Database, sealer: Sealer) -> None:
        self._config = config
        self._database = database
        self._sealer = sealer
        self._pool = Pool("watch", 1)
        self._seen = False

    def begin(self) -> None:
        """The first look. A database that is down is waited for; raises WrongSchema or SealError if it does not fit."""
        try:
            self._look()
        except StoreDown as error:
            log.error("starting without the database, devices are told to come back: %s", error)

    async def run(self) -> None:
        """Look again and again. Raises WrongSchema or SealError once the database does not fit: so the daemon ends."""
        while True:
            await asyncio.sleep(_EVERY_S if self._seen else _UNTIL_SEEN_S)
            with suppress(StoreDown):
                await self._pool.run(self._look)

    def close(self) -> None:
        """Wait for the look that is under way."""
        self._pool.close()

    def _look(self) -> None:
        check_schema(self._database)
        check_master_key(AdminStore(self._database), self._sealer)
        if not self._seen:
            self._seen = True
            for it in database_checks(self._config, self._database):
                canonical(
                    "database check", level=_LEVELS.get(it.word, logging.INFO),
                    check=it.name, outcome=it.word, detail=it.detail, to_do=it.to_do or None,
                )  # fmt: skip


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
