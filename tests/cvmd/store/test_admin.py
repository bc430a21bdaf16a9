"""Devices as an operator imports, lists, looks at and disables them."""

import pytest

from cvmd.errors import ConfigError
from cvmd.model import US, CertificateStatus, Outcome, State
from cvmd.store.admin import DeviceFilter
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from tests.cvmd.store.conftest import Scene


def new(*serials: bytes) -> list[NewDevice]:
    return [NewDevice(serial, "thing", "policy", b"sealed") for serial in serials]


def serials(scene: Scene, which: DeviceFilter, after: bytes = b"", page: int = 100) -> list[bytes]:
    return [it.serial for it in scene.admin.list_devices(which, after=after, page=page)]


def test_serials_that_differ_in_case_or_accent_alone_are_two(scene: Scene) -> None:
    scene.admin.add_devices("sensor", new(b"abc", b"ABC", b"Abc", b"abc."))
    assert serials(scene, DeviceFilter()) == [b"ABC", b"Abc", b"abc", b"abc."]


def test_a_new_device_does_not_show_its_token() -> None:
    assert "sealed" not in repr(new(b"a"))


def test_lists_go_on_page_by_page(scene: Scene) -> None:
    every = [b"d%d" % n for n in range(7)]
    scene.admin.add_devices("sensor", new(*every))
    first = serials(scene, DeviceFilter(), page=4)
    assert first == every[:4]
    assert serials(scene, DeviceFilter(), after=first[-1], page=4) == every[4:]


def test_lists_are_filtered(scene: Scene) -> None:
    scene.admin.add_product("pump", ProductRules())
    scene.admin.add_devices("pump", new(b"p_", b"p-", b"px"))
    scene.admin.add_devices("sensor", new(b"s1", b"s2"))
    scene.admin.set_disabled(b"s1", True)
    scene.active(b"s2")
    assert serials(scene, DeviceFilter(product="pump")) == [b"p-", b"p_", b"px"]
    assert serials(scene, DeviceFilter(product="none")) == []
    assert serials(scene, DeviceFilter(prefix=b"p_")) == [b"p_"]
    assert serials(scene, DeviceFilter(prefix=b"s")) == [b"s1", b"s2"]
    assert serials(scene, DeviceFilter(disabled=True)) == [b"s1"]
    assert serials(scene, DeviceFilter(disabled=False, prefix=b"s")) == [b"s2"]
    assert serials(scene, DeviceFilter(state=State.ACTIVE)) == [b"s2"]
    assert serials(scene, DeviceFilter(certified=True)) == [b"s2"]
    assert serials(scene, DeviceFilter(certified=False, prefix=b"s")) == [b"s1"]
    listed = scene.admin.list_devices(DeviceFilter(prefix=b"s2"))[0]
    assert (listed.product, listed.activations, listed.state, listed.disabled) == ("sensor", 1, State.ACTIVE, False)


def test_a_revoked_device_is_listed_as_one_without_certificate(scene: Scene) -> None:
    serial = scene.active().serial
    scene.admin.revoke(serial)
    [listed] = scene.admin.list_devices(DeviceFilter(certified=False))
    assert (listed.serial, listed.state, listed.certificate_id) == (serial, State.ACTIVE, None)
    assert serials(scene, DeviceFilter(certified=True)) == []


def test_a_device_is_shown_with_its_history(scene: Scene) -> None:
    first = scene.active()
    scene.intent(first.serial)
    record = scene.admin.show_device(first.serial)
    assert (record.device.serial, record.product.name) == (first.serial, "sensor")
    assert [it.state for it in record.issuances] == [State.ACTIVE, State.INTENT]
    assert [(it.number, it.outcome) for it in record.attempts] == [(1, Outcome.DONE), (1, Outcome.OPEN)]
    assert [it.status for it in record.certificates] == [CertificateStatus.ACTIVE]


def test_a_device_that_is_not_there(scene: Scene) -> None:
    for serial in (b"absent", b"\xff'; --"):
        for call in (
            lambda it=serial: scene.admin.show_device(it),
            lambda it=serial: scene.admin.set_disabled(it, True),
            lambda it=serial: scene.admin.open_window(it, 60),
        ):
            with pytest.raises(ConfigError, match="there is no device"):
                call()


def test_a_device_is_disabled_and_enabled(scene: Scene) -> None:
    serial = scene.device()
    for disabled in (True, True, False):
        scene.admin.set_disabled(serial, disabled)
        assert scene.admin.show_device(serial).device.disabled is disabled


def test_a_window_is_opened_and_closed(scene: Scene) -> None:
    serial = scene.device()
    scene.admin.open_window(serial, 3600)
    view = scene.store.view(serial)
    assert view is not None
    assert view.device.reissue_until_us is not None
    assert view.now_us + 3500 * US < view.device.reissue_until_us <= view.now_us + 3600 * US
    scene.admin.open_window(serial, 0)
    view = scene.store.view(serial)
    assert view is not None
    assert view.device.reissue_until_us is not None
    assert view.device.reissue_until_us <= view.now_us
