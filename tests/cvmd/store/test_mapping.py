"""What the devices of a product are mapped to."""

from cvmd.store.intake import NewDevice
from cvmd.store.mapping import Mapping
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene


def test_policies_and_things_are_the_products_own(scene: Scene) -> None:
    scene.admin.add_product("other", ProductRules())
    scene.admin.add_devices(
        "sensor", [NewDevice(b"SN-%d" % n, f"thing-{n}", f"policy-{n % 3}", b"sealed") for n in range(9)]
    )
    scene.admin.add_device("other", NewDevice(b"SN-X", "thing-x", "policy-x", b"sealed"))
    mapping, product = Mapping(scene.database), scene.admin.show_product("sensor").product
    assert list(mapping.policies(product.id)) == ["policy-0", "policy-1", "policy-2"]
    everything = {(b"SN-%d" % n, f"thing-{n}") for n in range(9)}
    assert set(mapping.some_things(product.id, 1000)) == everything
    some = mapping.some_things(product.id, 4)
    assert 1 <= len(some) <= 4
    assert set(some) <= everything


def test_a_product_without_devices_has_neither(scene: Scene) -> None:
    product = scene.admin.show_product("sensor").product
    mapping = Mapping(scene.database)
    assert (list(mapping.policies(product.id)), list(mapping.some_things(product.id, 5))) == ([], [])
