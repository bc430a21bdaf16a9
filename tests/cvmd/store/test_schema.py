"""What the tables hold by themselves, whatever the code does."""

import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import IntegrityError, OperationalError

from cvmd.store import Database, migrate
from cvmd.store.schema import NOW, metadata
from tests.cvmd.store.conftest import LosingDatabase, Scene

REFUSED = (IntegrityError, OperationalError)
"""A CHECK is the one to SQLite, the other to MariaDB."""


def test_the_migrations_make_these_tables(url: str) -> None:
    database = Database(url)
    migrate(database)
    with database.engine.connect() as connection:
        # SQLite has no types to compare: it reads VARBINARY back as a number.
        typed = connection.dialect.name != "sqlite"
        context = MigrationContext.configure(connection, opts={"compare_type": typed, "compare_server_default": typed})
        assert compare_metadata(context, metadata) == []
        made = {table: _constraints(connection, table) for table in ("issuances", "certificates")}
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert made == {table: _constraints(connection, table) for table in made}
    database.close()


def _constraints(connection: Connection, table: str) -> list[object]:
    """The CHECKs, which Alembic does not compare."""
    return sorted((it["name"], it["sqltext"]) for it in inspect(connection).get_check_constraints(table))


def test_inv1_a_device_has_one_active_certificate(scene: Scene) -> None:
    issuance = scene.active()
    scene.acked(issuance.serial)
    with pytest.raises(IntegrityError):
        scene.sql("UPDATE certificates SET status = 'active', live_device_id = device_id WHERE status = 'inactive'")


@pytest.mark.parametrize(
    "change",
    [
        "status = 'active'",
        "live_device_id = device_id",
        "status = 'active', live_device_id = device_id + 1000",
    ],
)
def test_inv1_active_is_what_the_unique_key_sees(scene: Scene, change: str) -> None:
    scene.offered()
    with pytest.raises(REFUSED):
        scene.sql(f"UPDATE certificates SET {change}")


@pytest.mark.parametrize("change", ["reason = 'expired'", "not_before_us = 1"])
def test_inv5_what_is_retiring_says_why_and_when(scene: Scene, change: str) -> None:
    scene.offered()
    with pytest.raises(REFUSED):
        scene.sql(f"UPDATE certificates SET status = 'retiring', {change}")
    scene.sql("UPDATE certificates SET status = 'retiring', reason = 'expired', not_before_us = 1")


@pytest.mark.parametrize("state", ["queued", "acked", "active", "closed"])
def test_inv6_no_escrow_where_no_key_is_to_be(scene: Scene, state: str) -> None:
    scene.offered()
    with pytest.raises(REFUSED):
        scene.sql(f"UPDATE issuances SET state = '{state}'")


def test_one_issuance_a_generation_and_one_row_an_attempt(scene: Scene) -> None:
    issuance = scene.intent()
    for copy in (
        "INSERT INTO issuances (device_id, account_id, uid, generation, state, key_source, created_us, updated_us)"
        " SELECT device_id, account_id, 'other', generation, 'queued', key_source, 1, 1 FROM issuances",
        "INSERT INTO attempts (issuance_id, number, node, claim, outcome, opened_us)"
        " SELECT issuance_id, number, node, claim, outcome, 1 FROM attempts",
    ):
        with pytest.raises(IntegrityError):
            scene.sql(copy)
    assert scene.now(issuance.serial) == issuance


def test_audit_lines_of_a_device_are_numbered_once(scene: Scene) -> None:
    device_id = scene.queued().device_id
    line = f"INSERT INTO audit (device_id, seq, at_us, actor, event, mac) VALUES ({device_id}, 9, 1, 'a', 'e', 'm')"
    scene.sql(line)
    with pytest.raises(IntegrityError):
        scene.sql(line)


def test_the_clock_is_in_microseconds_and_goes_on(database: LosingDatabase) -> None:
    seen = [database.statement(lambda t: t.row(select(NOW))) for _ in range(3)]
    moments = [row[0] for row in seen if row is not None]
    assert moments == sorted(moments)
    assert abs(moments[0] - time.time_ns() // 1000) < 60_000_000
