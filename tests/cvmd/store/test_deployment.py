"""Tables of the right version, the key check, and the users of grants.sql."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

import cvmd.store
from cvmd.model import State
from cvmd.ports import StoreDown, WrongSchema
from cvmd.store import AdminStore, Database, Store, check_schema, migrate, status
from cvmd.store.deployment import schema_version
from cvmd.store.products import ProductRules
from cvmd.store.schema import HEAD
from tests.cvmd.store.conftest import TRAIL, Scene, a_claim, a_key
from tools.mariadb import login

STORE = Path(cvmd.store.__file__).parent


@pytest.fixture
def bare(url: str) -> Iterator[Database]:
    """Without tables."""
    database = Database(url)
    yield database
    database.close()


def test_a_database_without_tables_says_what_to_do(bare: Database) -> None:
    assert schema_version(bare) is None
    with pytest.raises(WrongSchema, match="cvmd db migrate"):
        check_schema(bare)


def test_migrate_makes_the_tables_once(bare: Database) -> None:
    assert [applied for _, _, applied in status(bare)] == [False]
    assert migrate(bare) == (None, HEAD)
    check_schema(bare)
    identity = AdminStore(bare).deployment_id()
    assert migrate(bare) == (HEAD, HEAD)
    assert AdminStore(bare).deployment_id() == identity
    assert len(identity) == 16
    assert [applied for _, _, applied in status(bare)] == [True]
    assert [it.account.name for it in AdminStore(bare).list_accounts()] == ["default"]


@pytest.mark.parametrize(("version", "advice"), [("0000", "cvmd db migrate"), ("9999", "upgrade cvmd")])
def test_tables_of_another_version_are_refused(bare: Database, version: str, advice: str) -> None:
    migrate(bare)
    bare.statement(lambda t: t.change(text(f"UPDATE alembic_version SET version_num = '{version}'")))
    with pytest.raises(WrongSchema, match=advice):
        check_schema(bare)
    if version > HEAD:
        with pytest.raises(WrongSchema, match=advice):
            migrate(bare)


def test_a_missing_table_is_a_wrong_schema_to_every_method(bare: Database) -> None:
    migrate(bare)
    bare.statement(lambda t: t.change(text("DROP TABLE certificates")))
    with pytest.raises(WrongSchema, match="cvmd db migrate"):
        Store(bare, TRAIL).view(b"a")


def test_a_database_that_is_down_is_not_a_wrong_schema() -> None:
    database = Database("mysql+pymysql://nobody@127.0.0.1:1/nothing", timeout_s=0.2)
    with pytest.raises(StoreDown):
        check_schema(database)


def test_head_is_the_last_of_the_scripts() -> None:
    assert ScriptDirectory(str(STORE / "migrations")).get_current_head() == HEAD


def test_the_key_check_is_set_once(scene: Scene) -> None:
    assert scene.admin.key_check() is None
    assert scene.admin.set_key_check(b"check")
    assert not scene.admin.set_key_check(b"other")
    assert scene.admin.key_check() == b"check"


def test_inv6_the_users_of_grants_sql_can_do_their_work_and_no_more(mariadb_url: str) -> None:
    owner = Database(login(mariadb_url, "migrate"))
    migrate(owner)
    owner.close()
    daemon = Database(mariadb_url)
    check_schema(daemon)
    scene = Scene(daemon, Store(daemon, TRAIL), AdminStore(daemon, TRAIL))  # type: ignore[arg-type]  # loses no answers
    scene.admin.add_product("sensor", ProductRules())
    assert scene.active().state is State.ACTIVE
    for forbidden in ("DELETE FROM audit", "DROP TABLE audit", "ALTER TABLE audit ADD x INT", "TRUNCATE certificates"):
        with pytest.raises(StoreDown, match="privilege"):
            daemon.statement(lambda t, it=forbidden: t.change(text(it)))  # type: ignore[misc]  # mypy: a default
    assert scene.store.open_attempt(scene.queued(), a_claim(), key=a_key(), sealed_escrow=b"sealed key")
    daemon.close()
