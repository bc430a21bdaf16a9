"""The tables. One per noun of the design; every rule that a constraint can hold is held by one.

Times are BIGINT microseconds UTC of the database's clock. Serials, digests, claims and everything sealed are
VARBINARY, which compares byte for byte; text is utf8mb4_bin. MariaDB 10.11, MySQL 8 and SQLite.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SQLColumnExpression,
    String,
    Table,
    UniqueConstraint,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import VARBINARY, TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

BIG = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite gives numbers to INTEGER keys only; its integers have 64 bits anyway."""

HEAD = "0001"
"""The revision of migrations/ that makes these tables."""
OLDEST = "0001"
"""The oldest revision that this version can work on; what came later it does not need."""

DETAIL = 255
"""Characters of a detail; the rest is cut, since STRICT_ALL_TABLES would refuse the row."""


class now_us(FunctionElement[int]):  # noqa: N801  # reads as the SQL function that it is
    """The database's clock in microseconds; engine.py gives SQLite the process's under this name."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_us)
def _mysql_now(_element: now_us, _compiler: SQLCompiler, **_options: object) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"


@compiles(now_us, "sqlite")
def _sqlite_now(_element: now_us, _compiler: SQLCompiler, **_options: object) -> str:
    return "now_us()"


def _table(name: str, *items: SchemaItem) -> Table:
    return Table(name, metadata, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def _id() -> Column[int]:
    return Column("id", BIG, primary_key=True, autoincrement=True)


def _of(table: str, *, nullable: bool = False) -> Column[int]:
    """The foreign key `<noun>_id` to the table of that noun."""
    return Column(f"{table.removesuffix('s')}_id", BIG, ForeignKey(f"{table}.id"), nullable=nullable)


def _time(name: str, *, nullable: bool = True) -> Column[int]:
    return Column(f"{name}_us", BigInteger, nullable=nullable)


accounts = _table(
    "accounts",
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("partition", String(32)),
    Column("region", String(32)),
    Column("profile", String(64)),
    Column("role_arn", String(2048)),
    Column("external_id", String(1224)),
    Column("endpoint_url", String(255)),
    Column("sts_endpoint_url", String(255)),
    Column("data_endpoint", String(255)),
    Column("root_ca", String(255)),
    Column("creates_per_s", Integer, nullable=False, server_default="10"),
    # Nobody else makes certificates there: what nobody can attribute is ours to delete.
    Column("exclusive", Boolean, nullable=False, server_default="0"),
    _time("created", nullable=False),
)

products = _table(
    "products",
    _id(),
    _of("accounts"),
    Column("name", String(64), nullable=False, unique=True),
    Column("auth", String(16), nullable=False),
    Column("key_source", String(16), nullable=False),
    Column("sealed_auth", VARBINARY(255)),
    Column("reissue_limit", Integer),  # NULL: unlimited
    Column("offer_lifetime_s", Integer, nullable=False),
    Column("grace_s", Integer, nullable=False),
    Column("connect_after_s", Integer, nullable=False),
    Column("share_things", Boolean, nullable=False),
    Column("allow_server_keys", Boolean, nullable=False),
    Column("source_networks", String(1024)),
    _time("window_until"),
    _time("created", nullable=False),
    _time("updated", nullable=False),
)

devices = _table(
    "devices",
    _id(),
    _of("products"),
    Column("serial", VARBINARY(64), nullable=False, unique=True),
    Column("sealed_token", VARBINARY(255), nullable=False),
    Column("thing", String(128), nullable=False, index=True),
    Column("policy", String(128), nullable=False, index=True),
    Column("disabled", Boolean, nullable=False, server_default="0"),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("activations", Integer, nullable=False, server_default="0"),
    _time("reissue_until"),
    Column("audit_seq", Integer, nullable=False, server_default="0"),
    Column("audit_head", VARBINARY(32)),
    _time("created", nullable=False),
    _time("updated", nullable=False),
)

issuances = _table(
    "issuances",
    _id(),
    _of("devices"),
    _of("accounts"),
    Column("uid", VARBINARY(16), nullable=False, unique=True),
    Column("generation", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("key_source", String(16), nullable=False),
    Column("claim", VARBINARY(16)),
    _time("lease_until"),
    # When a worker is to look at it: for a claimed row the end of its lease, NULL where there is nothing to do.
    _time("not_before"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("unknown_attempts", Integer, nullable=False, server_default="0"),
    Column("attempt_open", Boolean, nullable=False, server_default="0"),
    Column("resume_state", String(16)),
    Column("fault", String(32)),
    Column("fault_detail", String(DETAIL)),
    Column("reason", String(16)),
    Column("public_key_id", VARBINARY(32)),
    Column("sealed_csr", VARBINARY(2081)),
    Column("sealed_escrow", VARBINARY(2048)),
    Column("certificate_id", VARBINARY(32)),
    Column("endpoint", String(255)),
    Column("root_ca_der", VARBINARY(4096)),
    _time("expires"),
    _time("created", nullable=False),
    _time("updated", nullable=False),
    UniqueConstraint("device_id", "generation"),
    # Invariant 6: after the ACK, and where an issuance ended without one, there is no key.
    CheckConstraint(
        "sealed_escrow IS NULL OR state IN ('intent', 'created', 'offered', 'failed')", name="escrow_wiped"
    ),
    Index(None, "state", "not_before_us", "account_id"),
    Index(None, "account_id", "state"),
    Index(None, "public_key_id"),
)

attempts = _table(
    "attempts",
    _id(),
    _of("issuances"),
    Column("number", Integer, nullable=False),
    Column("node", VARBINARY(16), nullable=False),
    Column("claim", VARBINARY(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", String(DETAIL)),
    _time("opened", nullable=False),
    _time("closed"),
    UniqueConstraint("issuance_id", "number"),
    Index(None, "outcome", "opened_us"),
)

certificates = _table(
    "certificates",
    _id(),
    Column("certificate_id", VARBINARY(32), nullable=False, unique=True),
    _of("accounts"),
    # All of these are NULL where reconcile found an orphan of which no more is known.
    _of("issuances", nullable=True),
    _of("devices", nullable=True),
    Column("arn", String(255), nullable=False),
    Column("cert_der", VARBINARY(4096), nullable=False),
    Column("thing", String(128)),
    Column("policy", String(128)),
    Column("status", String(16), nullable=False),
    Column("reason", String(16)),
    # Invariant 1: the device's id while this is its ACTIVE certificate, else NULL.
    Column("live_device_id", BIG, unique=True),
    # Disposal: as in `issuances`; `keep_until_us` is the grace before deletion.
    Column("claim", VARBINARY(16)),
    _time("lease_until"),
    _time("not_before"),
    _time("keep_until"),
    Column("disposal_attempts", Integer, nullable=False, server_default="0"),
    _time("created", nullable=False),
    _time("activated"),
    _time("retired"),
    _time("deleted"),
    CheckConstraint("(status = 'active') = (live_device_id IS NOT NULL)", name="live_while_active"),
    CheckConstraint("live_device_id IS NULL OR live_device_id = device_id", name="live_for_its_device"),
    # Invariant 5: what is on its way out is always looked at again.
    CheckConstraint(
        "status <> 'retiring' OR (reason IS NOT NULL AND not_before_us IS NOT NULL)", name="retiring_is_due"
    ),
    Index(None, "status", "not_before_us"),
    Index(None, "created_us"),
    Index(None, "activated_us"),
)

pace = _table(
    "pace",
    Column("account_id", BIG, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("operation", String(32), primary_key=True),
    _time("tat", nullable=False),
)

# A fault that holds up more than one issuance; 0 failures: none, or over.
breakers = _table(
    "breakers",
    Column("account_id", BIG, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("policy", String(128), primary_key=True),  # empty: the whole account
    Column("failures", Integer, nullable=False),
    _time("until", nullable=False),
    _time("trial_until"),  # while it is to come, one who was let through makes its calls
    Column("fault", String(32), nullable=False),
    Column("detail", String(DETAIL), nullable=False),
    _time("opened", nullable=False),
)

leases = _table(
    "leases",
    Column("name", String(64), primary_key=True),
    Column("holder", VARBINARY(16)),
    _time("until", nullable=False),
)

# Who runs, or ran; a node that ended in good order says so.
nodes = _table(
    "nodes",
    Column("id", VARBINARY(16), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(32), nullable=False),
    _time("started", nullable=False),
    _time("seen", nullable=False),
    _time("stopped"),
)

audit = _table(
    "audit",
    _id(),
    _of("devices"),
    Column("seq", Integer, nullable=False),
    _time("at", nullable=False),
    Column("actor", String(64), nullable=False),
    Column("event", String(32), nullable=False),
    Column("detail", String(DETAIL)),
    Column("mac", VARBINARY(32), nullable=False),
    UniqueConstraint("device_id", "seq"),
)

deployment = _table(
    "deployment",
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("deployment_id", VARBINARY(16), nullable=False),
    Column("key_check", VARBINARY(255)),
    Column("serves_from", String(16), nullable=False),  # the oldest HEAD of a cvmd that can work on these tables
    _time("created", nullable=False),
)

NOW: SQLColumnExpression[int] = now_us()
"""The clock as an expression, to add to and compare with."""


def given(name: str, type_: TypeEngine[Any] | type[TypeEngine[Any]] | None = None) -> BindParameter[Any]:
    """The value that a statement gets under this name when it is run.

    The name must not be that of a column which the statement sets. (Not `required`, or the statement could not be
    compiled before it has its values; engine.py sees to it that it gets them.)
    """
    return bindparam(name, type_=type_, required=False)
