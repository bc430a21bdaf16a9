"""Devices that are new: one or many at once, and what an import compares them with."""

from typing import Any

import pytest

from cvmd.errors import ConfigError
from cvmd.model import Auth
from cvmd.store.accounts import AccountRules
from cvmd.store.admin import AdminStore, DeviceFilter
from cvmd.store.audit import Trail
from cvmd.store.intake import Known, NewDevice
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import MAC, Scene


def new(*serials: bytes) -> list[NewDevice]:
    return [NewDevice(serial, "thing", "policy", b"sealed") for serial in serials]


def test_all_are_imported_or_none(scene: Scene) -> None:
    scene.admin.add_devices("sensor", new(*(b"a%04d" % n for n in range(1000))))
    with pytest.raises(ConfigError, match="a0007 is there already"):
        scene.admin.add_devices("sensor", new(b"b1", b"a0007", b"b2"))
    with pytest.raises(ConfigError, match="twice"):
        scene.admin.add_devices("sensor", new(b"b1", b"b1"))
    with pytest.raises(ConfigError, match="there is no product"):
        scene.admin.add_device("pump", new(b"b1")[0])
    assert scene.admin.show_product("sensor").devices == 1000


@pytest.mark.parametrize("auth", [Auth.TOKEN, Auth.DERIVED])
def test_inv10_an_import_whose_answer_is_lost_is_done_once(scene: Scene, auth: Auth) -> None:
    """The second run finds the rows of the first, also where a device has no token by which they are known."""
    key, token = (b"sealed key", b"") if auth is Auth.DERIVED else (None, b"sealed")
    scene.admin.add_product("pump", ProductRules(auth=auth), sealed_auth=key)
    device = NewDevice(b"A1", "thing", "policy", token)
    scene.database.lose = 1
    scene.admin.add_device("pump", device)
    assert scene.admin.show_product("pump").devices == 1
    scene.database.lose = 1
    with pytest.raises(ConfigError, match="A1 is there already"):
        scene.admin.add_device(
            "pump", device if auth is Auth.DERIVED else NewDevice(b"A1", "thing", "policy", b"other")
        )


def test_a_device_has_a_token_where_its_product_wants_one(scene: Scene) -> None:
    scene.admin.add_product("pump", ProductRules(auth=Auth.SERIAL), sealed_auth=b"allowed")
    with pytest.raises(ConfigError, match="device b1: product 'pump' has auth serial, so it has no token of its own"):
        scene.admin.add_devices("pump", [NewDevice(b"b0", "thing", "policy"), *new(b"b1")])
    with pytest.raises(ConfigError, match="device b1: product 'sensor' has auth token, so it needs a token"):
        scene.admin.add_device("sensor", NewDevice(b"b1", "thing", "policy"))
    assert scene.admin.list_devices(DeviceFilter()) == []


@pytest.mark.parametrize(
    ("serial", "thing", "policy"),
    [
        (b"", "t", "p"),
        (b"x" * 65, "t", "p"),
        (b"a b", "t", "p"),
        (b"a\n", "t", "p"),
        ("ä".encode(), "t", "p"),
        (b"a", "", "p"),
        (b"a", "t" * 129, "p"),
        (b"a", "t.t", "p"),
        (b"a", "t", "p p"),
        (b"a", "t", "ä"),
        (b"a", "t\n", "p"),
    ],
)
def test_names_that_aws_or_the_wire_would_refuse(serial: bytes, thing: str, policy: str) -> None:
    with pytest.raises(ConfigError, match="must be 1 to"):
        NewDevice(serial, thing, policy)


def test_what_is_there_is_given_by_serial_and_byte_for_byte(scene: Scene) -> None:
    scene.admin.add_device("sensor", NewDevice(b"A1", "thing-1", "policy-1", b"sealed"))
    assert scene.admin.there([b"A1", b"a1", b"B2"]) == {b"A1": Known("sensor", "thing-1", "policy-1", b"sealed")}
    assert scene.admin.there([]) == {}


def test_what_a_thing_is_mapped_to_is_given_by_account(scene: Scene) -> None:
    scene.admin.add_account("other", AccountRules())
    scene.admin.add_product("pump", ProductRules(), account="other")
    scene.admin.add_device("sensor", NewDevice(b"A1", "thing-1", "policy", b"sealed"))
    scene.admin.add_device("pump", NewDevice(b"B1", "thing-1", "policy", b"sealed"))
    scene.admin.add_device("pump", NewDevice(b"B2", "thing-2", "policy", b"sealed"))
    ((other,),) = scene.sql("SELECT id FROM accounts WHERE name = 'other'")
    found = scene.admin.mapped(["thing-1", "thing-2", "thing-3"])
    assert found == {(1, "thing-1"): b"A1", (other, "thing-1"): b"B1", (other, "thing-2"): b"B2"}
    assert scene.admin.mapped([]) == {}


def test_all_serials_are_given_page_by_page(scene: Scene) -> None:
    scene.admin.add_devices("sensor", new(b"b", b"a", b"C"))
    assert scene.admin.serials(after=b"", page=2) == [b"C", b"a"]
    assert scene.admin.serials(after=b"a", page=2) == [b"b"]
    assert scene.admin.serials(after=b"b", page=2) == []


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)  # a transaction of SQLite lets nobody in between
def test_a_product_that_is_deleted_under_an_import_is_said(scene: Scene) -> None:
    scene.admin.add_product("pump", ProductRules())
    owner = scene.owner
    assert owner is not None

    class Deleting(Trail):
        def first(self, *line: Any) -> dict[str, Any]:
            AdminStore(owner).delete_product("pump")
            return super().first(*line)

    store = AdminStore(scene.database, Deleting(MAC, "test"))
    with pytest.raises(ConfigError, match="there is no product 'pump'"):
        store.add_devices("pump", new(b"a1"))
    assert scene.admin.list_devices(DeviceFilter(), after=b"", page=9) == []
