"""Products as an operator makes them."""

from dataclasses import replace
from typing import Any

import pytest

from cvmd.errors import ConfigError
from cvmd.model import Auth, KeySource
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene

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


def test_a_product_is_what_was_said(scene: Scene) -> None:
    scene.admin.add_product("pump", ALL, sealed_key=b"sealed")
    record = scene.admin.show_product("pump")
    assert (record.rules, record.sealed_key, record.devices) == (ALL, b"sealed", 0)
    assert (record.product.auth, record.product.key_source) == (Auth.SERIAL, KeySource.DEVICE_CSR)
    assert "sealed" not in repr(record)


def test_a_product_can_be_changed(scene: Scene) -> None:
    before = scene.admin.show_product("sensor")
    changed = replace(before.rules, reissue_limit=3)
    scene.admin.set_product("sensor", changed)
    scene.admin.set_product("sensor", changed)
    assert scene.admin.show_product("sensor").rules == changed


def test_products_are_listed_with_their_devices(scene: Scene) -> None:
    scene.admin.add_product("pump", ALL)
    scene.device()
    assert [(it.product.name, it.devices) for it in scene.admin.list_products()] == [("pump", 0), ("sensor", 1)]


def test_names_that_are_wrong_taken_or_not_there(scene: Scene) -> None:
    for name in ("", "-x", "a b", "ä", "x" * 65, "x\n"):
        with pytest.raises(ConfigError, match="a name is"):
            scene.admin.add_product(name, ALL)
    with pytest.raises(ConfigError, match="there already"):
        scene.admin.add_product("sensor", ALL)
    for missing in (
        lambda: scene.admin.show_product("Sensor"),
        lambda: scene.admin.set_product("sensor2", ALL),
        lambda: scene.admin.add_product("pump", ALL, account="other"),
    ):
        with pytest.raises(ConfigError, match="there is no"):
            missing()


@pytest.mark.parametrize("wrong", [{"reissue_limit": -1}, {"grace_s": 2**31}, {"offer_lifetime_s": -5}])
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be 0 to"):
        replace(ALL, **wrong)
