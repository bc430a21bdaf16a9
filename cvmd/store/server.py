"""The database server, looked at: is it safe, durable, big enough, and what may its login do.

MySQL and MariaDB, by nothing but questions that every login may ask. What each answer is good for is in
docs/operations.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from cvmd.checks import Check
from cvmd.ports import WrongSchema
from cvmd.store import grants
from cvmd.store.deployment import check_schema, schema_version
from cvmd.store.engine import Database, Transaction
from cvmd.store.schema import HEAD, metadata
from cvmd.store.tls import Mode, is_here

_VERSION = text("SELECT VERSION(), DATABASE(), CURRENT_USER()")
_VARIABLES = text("SHOW SESSION VARIABLES")
_STATUS = text("SHOW SESSION STATUS WHERE Variable_name IN ('Ssl_cipher', 'Ssl_version')")
_GRANTS = text("SHOW GRANTS")
_TABLES = text(
    "SELECT TABLE_NAME, ENGINE, TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
)
_OLDEST: Final = {"MariaDB": (10, 6), "MySQL": (8, 0)}
_SMALLEST_PACKET: Final = 1 << 20
_LONGEST_BINLOG_DAYS: Final = 7
_SESSION: Final = {
    "autocommit": "ON",
    "time_zone": "+00:00",
    "innodb_lock_wait_timeout": "5",
}


@dataclass(frozen=True, slots=True)
class Server:
    """What it says of itself, to this login."""

    version: str
    database: str
    login: str
    variables: Mapping[str, str]
    """By name in lower case, as this session has them. A server lacks those of others."""
    status: Mapping[str, str]
    grants: Sequence[str]
    tables: Mapping[str, tuple[str, str]]
    """Engine and collation of each."""

    def is_on(self, variable: str) -> bool:
        """Whether it is there and on."""
        return self.variables.get(variable, "OFF").upper() in ("ON", "1")

    def number(self, variable: str, default: int = 0) -> int:
        """Its value, or the default where the server has no such variable."""
        return int(float(self.variables.get(variable, default)))


def look(database: Database) -> Server:
    """Raises StoreDown."""
    return database.statement(_look)


def _look(t: Transaction) -> Server:
    version, database, login = map(str, t.rows(_VERSION)[0])
    return Server(
        version,
        database,
        login,
        variables={str(name).lower(): str(value) for name, value in t.rows(_VARIABLES)},
        status={str(name): str(value) for name, value in t.rows(_STATUS)},
        grants=[str(line) for (line,) in t.rows(_GRANTS)],
        tables={str(name): (str(engine), str(collation)) for name, engine, collation in t.rows(_TABLES)},
    )


def server_checks(database: Database, tls: Mode, connections: int) -> list[Check]:
    """Each question's answer. `connections`: what one daemon opens at most. Raises StoreDown."""
    if database.path is not None:
        return [Check("database server", None, "a SQLite file: no server"), _tables(database, {})]
    server = look(database)
    by_socket, host = "unix_socket" in database.engine.url.query, database.engine.url.host
    return [
        _server(server),
        _transport(server, tls, by_socket=by_socket, here=is_here(host)),
        _grants(server),
        _excess(server),
        _tables(database, server.tables),
        _connections(server, connections),
        _durability(server),
        _binlog(server),
        _session(server),
    ]


def _server(server: Server) -> Check:
    kind = "MariaDB" if "mariadb" in server.version.lower() else "MySQL"
    numbers = re.findall(r"\d+", server.version)
    detail = f"{kind} {'.'.join(numbers[:3])}"
    if server.is_on("read_only"):
        return Check(
            "database server", False, f"{detail}, read-only", "name the server that is written to in database.url"
        )
    old = tuple(map(int, numbers[:2])) < _OLDEST[kind]
    least = " or ".join(f"{name} {major}.{minor}" for name, (major, minor) in _OLDEST.items())
    return Check(
        "database server", True, detail, f"upgrade it to {least}, or later: older ones are not tested" if old else ""
    )


def _transport(server: Server, tls: Mode, *, by_socket: bool, here: bool) -> Check:
    name, cipher = "database transport", server.status.get("Ssl_cipher", "")
    if by_socket:
        return Check(name, True, "by a Unix socket")
    if cipher:
        encrypted = f"{server.status.get('Ssl_version', 'TLS')}, {cipher}"
        proven = {"required": "to whom is not checked", "verify-ca": "signed by who it should be, for whatever host"}
        to_do = 'set database.tls = "verify", and database.tls_ca_file' if tls == "required" and not here else ""
        return Check(name, True, f"{encrypted}; {proven.get(tls, 'to the host that was asked for')}", to_do)
    if here:
        return Check(name, True, "in clear, on this machine")
    to_do = 'set database.tls = "verify", and database.tls_ca_file'
    return Check(name, True, "in clear, to another machine: who is in between reads and writes rows", to_do)


def _grants(server: Server) -> Check:
    lacking = grants.missing(grants.parse(server.grants), server.database, metadata.tables)
    if lacking:
        to_do = f"grant it to {server.login}, as grants.sql does"
        return Check("database grants", False, f"lacks {'; '.join(lacking)}", to_do)
    return Check("database grants", True, f"{server.login} has what it needs")


def _excess(server: Server) -> Check:
    more = grants.excess(grants.parse(server.grants), server.database)
    if more:
        to_do = f"revoke it from {server.login}: who takes the daemon over has it too; see grants.sql"
        return Check("database excess", True, f"may also {'; '.join(more)}", to_do)
    return Check("database excess", True, "the login may do no more than it needs")


def _tables(database: Database, tables: Mapping[str, tuple[str, str]]) -> Check:
    name = "database tables"
    try:
        check_schema(database)
    except WrongSchema as error:
        problem, _, to_do = str(error).rpartition(": ")
        return Check(name, False, problem, to_do)
    for table in metadata.tables:
        engine, collation = tables.get(table, ("InnoDB", "utf8mb4_bin"))
        if (engine, collation) != ("InnoDB", "utf8mb4_bin"):
            return Check(
                name, False, f"{table} is {engine}, {collation}", f"ALTER TABLE {table} to InnoDB, utf8mb4_bin"
            )
    version = schema_version(database)
    older = version is not None and version < HEAD
    return Check(name, True, f"of revision {version}, this cvmd's is {HEAD}", "run `cvmd db migrate`" if older else "")


def _connections(server: Server, needed: int) -> Check:
    name, most = "database connections", server.number("max_connections", 151)
    limit = min(most, server.number("max_user_connections") or most)
    if needed > limit:
        to_do = "raise max_connections (or the login's own limit), or lower database.pool and worker.concurrency"
        return Check(name, False, f"a daemon opens up to {needed}, the server lets {limit} in", to_do)
    return Check(name, True, f"a daemon opens up to {needed}, the server lets {limit} in: room for {limit // needed}")


def _durability(server: Server) -> Check:
    wanted = {"innodb_flush_log_at_trx_commit": server.number("innodb_flush_log_at_trx_commit") == 1}
    wanted["innodb_doublewrite"] = server.variables.get("innodb_doublewrite", "ON").upper() not in ("OFF", "0")
    if server.is_on("log_bin"):
        wanted["sync_binlog"] = server.number("sync_binlog") == 1
    wrong = [f"{name} = {server.variables.get(name)}" for name, right in wanted.items() if not right]
    if wrong:
        to_do = f"set {', '.join(name + ' = 1' for name, right in wanted.items() if not right)} on the server"
        detail = f"{', '.join(wrong)}: a power failure loses what was acknowledged, certificates among it"
        return Check("database durability", True, detail, to_do)
    return Check("database durability", True, "what is committed outlives a power failure")


def _binlog(server: Server) -> Check:
    name = "database binlog"
    if not server.is_on("log_bin"):
        return Check(name, True, "off")
    if server.variables.get("binlog_format", "ROW").upper() == "STATEMENT":
        return Check(name, False, "binlog_format = STATEMENT, which READ COMMITTED forbids", "set binlog_format = ROW")
    to_do = []
    if server.variables.get("binlog_row_image", "FULL").upper() != "MINIMAL":
        to_do.append("set binlog_row_image = MINIMAL: a wiped key is repeated otherwise, sealed (SECURITY.md)")
    kept_s = server.number("binlog_expire_logs_seconds") or 86_400 * server.number("expire_logs_days")
    if not 0 < kept_s <= 86_400 * _LONGEST_BINLOG_DAYS:
        to_do.append(f"set binlog_expire_logs_seconds to {_LONGEST_BINLOG_DAYS} days or less")
    kept = f"{kept_s / 86_400:g} days" if kept_s else "for ever"
    return Check(name, True, f"{server.variables.get('binlog_row_image', 'FULL')}, kept {kept}", "; ".join(to_do))


def _session(server: Server) -> Check:
    name, variables = "database session", server.variables
    isolation = variables.get("transaction_isolation") or variables.get("tx_isolation", "")
    wrong = [f"{key} = {variables.get(key)}" for key, value in _SESSION.items() if variables.get(key) != value]
    if isolation.upper() != "READ-COMMITTED":
        wrong.append(f"isolation = {isolation}")
    if "STRICT_ALL_TABLES" not in variables.get("sql_mode", ""):
        wrong.append("sql_mode is not strict")
    if wrong:
        to_do = "let connections through as they are: a proxy between cvmd and the server changes them"
        return Check(name, False, ", ".join(wrong), to_do)
    if server.number("max_allowed_packet", _SMALLEST_PACKET) < _SMALLEST_PACKET:
        return Check(name, False, f"max_allowed_packet = {variables['max_allowed_packet']}", "set it to 1 MiB or more")
    frozen = "ends" if "idle_transaction_timeout" in variables else "does not end"
    return Check(name, True, f"as it should be; the server {frozen} the transaction of a process that is frozen")
