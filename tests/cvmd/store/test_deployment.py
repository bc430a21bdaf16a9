"""Tables of the right version, the key check, and the users of grants.sql."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

import cvmd.store
from cvmd.model import State
from cvmd.ports import StoreDown, WrongSchema
from cvmd.store import AdminStore, Database, Store, check_schema, migrate
from cvmd.store.deployment import schema_version
from cvmd.store.products import ProductRules
from cvmd.store.schema import HEAD, OLDEST
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
    assert migrate(bare) == (None, HEAD)
    check_schema(bare)
    identity = AdminStore(bare).deployment_id()
    assert migrate(bare) == (HEAD, HEAD)
    assert AdminStore(bare).deployment_id() == identity
    assert len(identity) == 16
    assert [it.account.name for it in AdminStore(bare).list_accounts()] == ["default"]


def be_of(database: Database, version: str, serves_from: str = HEAD) -> None:
    """The tables, as if another version of cvmd had migrated them."""
    database.statement(lambda t: t.change(text(f"UPDATE alembic_version SET version_num = '{version}'")))
    database.statement(lambda t: t.change(text(f"UPDATE deployment SET serves_from = '{serves_from}'")))


def test_tables_that_are_too_old_are_refused(bare: Database) -> None:
    migrate(bare)
    be_of(bare, "0000")
    with pytest.raises(WrongSchema, match=f"of revision 0000, this cvmd needs {OLDEST}: run `cvmd db migrate`"):
        check_schema(bare)


def test_a_first_migrate_that_was_cut_short_says_what_to_do(bare: Database) -> None:
    migrate(bare)
    bare.statement(lambda t: t.change(text("DELETE FROM alembic_version")))
    with pytest.raises(WrongSchema, match="cut short; then drop and create the database"):
        migrate(bare)


def test_newer_tables_serve_as_long_as_they_say_so(bare: Database) -> None:
    migrate(bare)
    be_of(bare, "9998", serves_from=HEAD)
    check_schema(bare)
    assert migrate(bare) == ("9998", "9998")
    be_of(bare, "9999", serves_from="9998")
    for refused in (check_schema, migrate):
        with pytest.raises(WrongSchema, match=f"for a cvmd of revision 9998 or later; this one is of {HEAD}: upgrade"):
            refused(bare)


def test_the_range_that_this_version_serves_is_one() -> None:
    assert OLDEST <= HEAD


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
    assert scene.store.open_attempt(scene.queued(), a_claim(), key=a_key())
    daemon.close()
