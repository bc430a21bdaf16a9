"""Products as an operator makes them."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from cvmd.errors import ConfigError
from cvmd.model import Access, Auth, KeySource
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRows, ProductRules
from tests.cvmd.store.conftest import Scene, at_once

ALL = ProductRules(
    auth=Auth.SERIAL,
    key_source=KeySource.DEVICE_CSR,
    reissue_limit=None,
    offer_lifetime_s=1,
    grace_s=2,
    connect_after_s=3,
    share_things=True,
    allow_server_keys=True,
    source_networks="10.0.0.0/8,fd00::/8",
    window_until_us=4,
)
DERIVED = ProductRules(auth=Auth.DERIVED)


def test_a_product_is_what_was_said(scene: Scene) -> None:
    scene.admin.add_product("pump", ALL, sealed_auth=b"sealed")
    record = scene.admin.show_product("pump")
    assert (record.rules, record.sealed_auth, record.devices) == (ALL, b"sealed", 0)
    assert (record.product.auth, record.product.key_source) == (Auth.SERIAL, KeySource.DEVICE_CSR)
    assert record.access == Access(b"sealed", True, "10.0.0.0/8,fd00::/8", 4)


def test_inv6_a_product_key_is_in_no_repr(scene: Scene) -> None:
    scene.admin.add_product("pump", DERIVED, sealed_auth=b"sealed")
    record = scene.admin.show_product("pump")
    assert record.sealed_auth == b"sealed"
    assert "sealed" not in repr((record, record.access)).replace("sealed_auth", "")
    scene.admin.set_product("pump", replace(DERIVED, grace_s=1))
    assert scene.admin.show_product("pump").sealed_auth == b"sealed"


def test_auth_and_product_key_change_while_there_is_no_device(scene: Scene) -> None:
    scene.admin.add_product("pump", DERIVED, sealed_auth=b"sealed")
    scene.admin.set_product("pump", DERIVED, sealed_auth=b"other")
    assert scene.admin.show_product("pump").sealed_auth == b"other"
    scene.admin.set_product("pump", ProductRules())
    assert scene.admin.show_product("pump").sealed_auth is None
    scene.admin.set_product("pump", ALL, sealed_auth=b"allowed")
    assert scene.admin.show_product("pump").sealed_auth == b"allowed"
    scene.admin.set_product("pump", DERIVED, sealed_auth=b"third")
    scene.admin.add_device("pump", NewDevice(b"A1", "thing", "policy"))
    before = scene.admin.show_product("pump")
    for change in (
        lambda: scene.admin.set_product("pump", DERIVED, sealed_auth=b"fourth"),
        lambda: scene.admin.set_product("pump", ProductRules()),
        lambda: scene.admin.set_product("pump", ALL, sealed_auth=b"allowed"),
    ):
        with pytest.raises(ConfigError, match="'pump' has 1 devices"):
            change()
    assert scene.admin.show_product("pump") == before
    scene.admin.set_product("pump", replace(DERIVED, grace_s=1))


def test_what_auth_serial_allows_changes_while_there_are_devices(scene: Scene) -> None:
    scene.admin.add_product("pump", ALL, sealed_auth=b"allowed")
    scene.admin.add_device("pump", NewDevice(b"A1", "thing", "policy"))
    closed = replace(ALL, window_until_us=None)
    scene.admin.set_product("pump", closed, sealed_auth=b"less")
    assert scene.admin.show_product("pump").access == closed.access(b"less")


def test_each_auth_rests_on_what_is_sealed_for_it(scene: Scene) -> None:
    for rules, sealed, problem in (
        (DERIVED, None, ConfigError),
        (ProductRules(), b"sealed", TypeError),
        (ALL, None, TypeError),
    ):
        with pytest.raises(problem):
            scene.admin.add_product("pump", rules, sealed_auth=sealed)
        with pytest.raises(problem):
            scene.admin.set_product("sensor", rules, sealed_auth=sealed)


def test_inv10_auth_does_not_change_under_a_device_that_is_being_added(scene: Scene) -> None:
    """Whoever is first, the device that is there has the token that its product's auth wants."""
    for number in range(10):
        name, serial = f"p{number}", b"S%d" % number
        scene.admin.add_product(name, ProductRules())

        def either(which: int, name: str = name, serial: bytes = serial) -> None:
            with suppress(ConfigError):
                if which:
                    scene.admin.set_product(name, ALL, sealed_auth=b"allowed")
                else:
                    scene.admin.add_device(name, NewDevice(serial, "thing", "policy", b"sealed"))

        at_once(2, either)
        record = scene.admin.show_product(name)
        assert (record.product.auth, record.devices) in ((Auth.TOKEN, 1), (Auth.SERIAL, 0))


def test_the_databases_clock(scene: Scene) -> None:
    assert scene.admin.now_us() <= scene.admin.now_us()


def test_a_product_can_be_changed(scene: Scene) -> None:
    before = scene.admin.show_product("sensor")
    changed = replace(before.rules, reissue_limit=3)
    scene.admin.set_product("sensor", changed)
    scene.admin.set_product("sensor", changed)
    assert scene.admin.show_product("sensor").rules == changed


def test_products_are_listed_with_their_devices(scene: Scene) -> None:
    scene.admin.add_product("pump", ProductRules())
    scene.device()
    assert [(it.product.name, it.devices) for it in scene.admin.list_products()] == [("pump", 0), ("sensor", 1)]


def test_names_that_are_wrong_taken_or_not_there(scene: Scene) -> None:
    for name in ("", "-x", "a b", "ä", "x" * 65, "x\n"):
        with pytest.raises(ConfigError, match="a name is"):
            scene.admin.add_product(name, ProductRules())
    with pytest.raises(ConfigError, match="there already"):
        scene.admin.add_product("sensor", ProductRules())
    for missing in (
        lambda: scene.admin.show_product("Sensor"),
        lambda: scene.admin.set_product("sensor2", ProductRules()),
        lambda: scene.admin.add_product("pump", ProductRules(), account="other"),
    ):
        with pytest.raises(ConfigError, match="there is no"):
            missing()


def test_networks_that_are_none(scene: Scene) -> None:
    for wrong in ("", "10.0.0.1/8", ",".join(f"10.0.{n}.0/24" for n in range(200))):
        with pytest.raises(ConfigError, match="network"):
            replace(ALL, source_networks=wrong)


@pytest.mark.parametrize("wrong", [{"reissue_limit": -1}, {"grace_s": 2**31}, {"offer_lifetime_s": -5}])
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be 0 to"):
        replace(ALL, **wrong)


def test_a_product_is_deleted_once_nothing_hangs_on_it(scene: Scene) -> None:
    scene.admin.add_product("pump", ProductRules())
    scene.admin.add_device("sensor", NewDevice(b"A1", "thing", "policy", b"sealed"))
    may_delete = ProductRows(scene.owner or scene.database)
    may_delete.delete_product("pump")
    assert [it.product.name for it in scene.admin.list_products()] == ["sensor"]
    with pytest.raises(ConfigError, match="'sensor' has 1 devices, whose history hangs on it"):
        may_delete.delete_product("sensor")
    with pytest.raises(ConfigError, match="there is no product 'pump'"):
        may_delete.delete_product("pump")
