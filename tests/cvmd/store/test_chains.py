"""What an insider does to the trail by SQL, and what `verify` says of it."""

import pytest

from cvmd.store.chains import AuditRows, Chain
from tests.cvmd.store.conftest import MAC, Scene

LINES = 5
"""added, queued, created, acked, activated."""


@pytest.fixture
def told(scene: Scene) -> Scene:
    """The devices `a` and `b`, each with an ACTIVE certificate and five lines."""
    for serial in (b"a", b"b"):
        scene.active(scene.device(serial))
    assert broken(scene) == {}
    return scene


def broken(scene: Scene) -> dict[bytes, Chain]:
    """By serial."""
    return {chain.serial: chain for chain in AuditRows(scene.database).verify(MAC) if chain.broken_at is not None}


def the_break(scene: Scene) -> tuple[int | None, str]:
    """Of `a`, and of it alone: where, and the problem."""
    found = broken(scene)
    assert list(found) == [b"a"]
    assert AuditRows(scene.database).verify_one(b"a", MAC) == found[b"a"]
    return found[b"a"].broken_at, found[b"a"].problem


def of(scene: Scene, serial: str) -> int:
    """The device's id."""
    ((device_id,),) = scene.sql(f"SELECT id FROM devices WHERE serial = X'{serial.encode().hex()}'")
    return int(device_id)


def remove(scene: Scene, *numbers: int) -> None:
    for number in numbers:
        scene.sql(f"DELETE FROM audit WHERE device_id = {of(scene, 'a')} AND seq = {number}")


def set_head_back(scene: Scene, number: int) -> None:
    """As it was when the chain had so many lines."""
    device_id = of(scene, "a")
    scene.sql(
        f"UPDATE devices SET audit_seq = {number}, audit_head = (SELECT mac FROM audit WHERE device_id = {device_id}"
        f" AND seq = {number}) WHERE id = {device_id}"
    )


@pytest.mark.parametrize("number", range(1, LINES + 1))
def test_a_line_that_was_removed_is_missing(told: Scene, number: int) -> None:
    remove(told, number)
    where, problem = the_break(told)
    assert where == number
    assert "missing" in problem


@pytest.mark.parametrize("kept", [0, 2])
def test_all_that_was_removed_from_a_line_on_is_missing(told: Scene, kept: int) -> None:
    remove(told, *range(kept + 1, LINES + 1))
    where, problem = the_break(told)
    assert where == kept + 1
    assert "missing" in problem


def test_removed_and_numbered_anew_is_no_chain(told: Scene) -> None:
    device_id = of(told, "a")
    remove(told, 3)
    told.sql(f"UPDATE audit SET seq = seq - 1 WHERE device_id = {device_id} AND seq = 4")
    told.sql(f"UPDATE audit SET seq = seq - 1 WHERE device_id = {device_id} AND seq = 5")
    told.sql(f"UPDATE devices SET audit_seq = 4 WHERE id = {device_id}")
    assert the_break(told)[0] == 3


CHANGED = {
    "at_us": "at_us + 1",
    "actor": "'operator:somebody'",
    "event": "'failed'",
    "detail": "'00'",
    "detail of another type": "NULL",
    "mac": "X'00'",
}


@pytest.mark.parametrize("column", CHANGED)
@pytest.mark.parametrize("number", [1, 3, LINES])
def test_a_line_that_was_changed(told: Scene, column: str, number: int) -> None:
    told.sql(
        f"UPDATE audit SET {column.split()[0]} = {CHANGED[column]} WHERE device_id = {of(told, 'a')} AND seq = {number}"
    )
    where, problem = the_break(told)
    assert where == number
    assert "not as cvmd wrote it" in problem


def test_a_line_that_was_numbered_otherwise(told: Scene) -> None:
    told.sql(f"UPDATE audit SET seq = 9 WHERE device_id = {of(told, 'a')} AND seq = 4")
    assert the_break(told) == (4, "the line is missing: somebody took it out of the database")


def test_a_line_that_was_given_to_another_device(told: Scene) -> None:
    told.sql(f"UPDATE audit SET device_id = {of(told, 'b')}, seq = 6 WHERE device_id = {of(told, 'a')} AND seq = 5")
    found = broken(told)
    assert (found[b"a"].broken_at, found[b"b"].broken_at) == (5, 6)


def test_two_lines_that_changed_places(told: Scene) -> None:
    device_id = of(told, "a")
    for seq, number in ((3, 99), (4, 3), (99, 4)):
        told.sql(f"UPDATE audit SET seq = {number} WHERE device_id = {device_id} AND seq = {seq}")
    assert the_break(told)[0] == 3


def test_a_line_of_another_past(scene: Scene) -> None:
    serial = scene.device(b"a")
    device_id = of(scene, "a")
    scene.admin.open_window(serial, 1)
    ((mac, at_us),) = scene.sql(f"SELECT hex(mac), at_us FROM audit WHERE device_id = {device_id} AND seq = 2")
    set_head_back(scene, 1)
    remove(scene, 2)
    for seconds in (2, 3):
        scene.admin.open_window(serial, seconds)
    scene.sql(
        f"UPDATE audit SET at_us = {at_us}, detail = 'for 1 s', mac = X'{mac}'"
        f" WHERE device_id = {device_id} AND seq = 2"
    )
    assert the_break(scene)[0] == 3


def test_two_chains_that_changed_places_with_their_heads(told: Scene) -> None:
    a, b = of(told, "a"), of(told, "b")
    heads = {device: told.sql(f"SELECT hex(audit_head) FROM devices WHERE id = {device}")[0][0] for device in (a, b)}
    for seqs, device, other in (("seq", a, b), ("seq", b, a)):
        told.sql(f"UPDATE audit SET device_id = {other}, seq = {seqs} + 100 WHERE device_id = {device} AND seq < 100")
        told.sql(f"UPDATE devices SET audit_head = X'{heads[device]}' WHERE id = {other}")
    told.sql("UPDATE audit SET seq = seq - 100")
    assert {serial: chain.broken_at for serial, chain in broken(told).items()} == {b"a": 1, b"b": 1}


def test_two_devices_that_changed_their_serials(told: Scene) -> None:
    a, b = of(told, "a"), of(told, "b")
    for device, serial in ((a, "c"), (b, "a"), (a, "b")):
        told.sql(f"UPDATE devices SET serial = X'{serial.encode().hex()}' WHERE id = {device}")
    assert {serial: chain.broken_at for serial, chain in broken(told).items()} == {b"a": 1, b"b": 1}


PUT_IN = (
    "INSERT INTO audit (device_id, seq, at_us, actor, event, detail, mac)"
    " VALUES ({}, {}, 1, 'test', 'disabled', '', X'{}')"
)


@pytest.mark.parametrize("head_too", [False, True])
def test_a_line_that_was_put_in_at_the_end(told: Scene, head_too: bool) -> None:
    device_id, mac = of(told, "a"), b"m" * 32
    told.sql(PUT_IN.format(device_id, LINES + 1, mac.hex()))
    if head_too:
        told.sql(f"UPDATE devices SET audit_seq = {LINES + 1}, audit_head = X'{mac.hex()}' WHERE id = {device_id}")
    where, problem = the_break(told)
    assert where == LINES + 1
    assert "put it in" in problem


def test_a_line_that_was_put_in_between(told: Scene) -> None:
    device_id = of(told, "a")
    for number in (5, 4, 3):
        told.sql(f"UPDATE audit SET seq = {number + 1} WHERE device_id = {device_id} AND seq = {number}")
    told.sql(PUT_IN.format(device_id, 3, "6d" * 32))
    told.sql(f"UPDATE devices SET audit_seq = 6 WHERE id = {device_id}")
    assert the_break(told)[0] == 3


def test_lines_of_our_own_that_the_head_does_not_know(told: Scene) -> None:
    set_head_back(told, 3)
    where, problem = the_break(told)
    assert where == 4
    assert "counts 3 lines" in problem


def test_a_head_that_was_changed(told: Scene) -> None:
    told.sql(f"UPDATE devices SET audit_head = X'00' WHERE id = {of(told, 'a')}")
    where, problem = the_break(told)
    assert where == LINES
    assert "audit_head" in problem


def test_a_device_that_was_put_in_past_cvmd_has_no_first_line(told: Scene) -> None:
    told.sql(
        "INSERT INTO devices (product_id, serial, sealed_token, thing, policy, created_us, updated_us)"
        " SELECT product_id, X'63', sealed_token, thing, policy, 1, 1 FROM devices WHERE serial = X'61'"
    )
    assert {serial: chain.broken_at for serial, chain in broken(told).items()} == {b"c": 1}


# Lines taken out at the end, and the head set back to fit: only the rows still tell.


def test_a_certificate_that_no_line_tells_of(told: Scene) -> None:
    ((digest,),) = told.sql(f"SELECT hex(certificate_id) FROM certificates WHERE device_id = {of(told, 'a')}")
    for kept in (4, 2):
        set_head_back(told, kept)
        remove(told, *range(kept + 1, LINES + 1))
        where, problem = the_break(told)
        assert where == kept + 1
        assert f"certificate {digest.lower()} is active" in problem


def test_an_issuance_that_no_line_tells_of(scene: Scene) -> None:
    scene.queued(scene.device(b"a"))
    set_head_back(scene, 1)
    remove(scene, 2)
    where, problem = the_break(scene)
    assert where == 2
    assert "counts 1 issuances, its lines tell of 0" in problem


@pytest.mark.parametrize("disabled", [True, False])
def test_a_device_that_was_switched_past_cvmd(scene: Scene, disabled: bool) -> None:
    serial = scene.device(b"a")
    scene.admin.set_disabled(serial, not disabled)
    scene.sql(f"UPDATE devices SET disabled = {int(disabled)}")
    where, problem = the_break(scene)
    assert where == (2 if disabled else 3)
    assert f"the device was {'disabled' if disabled else 'enabled'}" in problem


@pytest.mark.parametrize("status", ["retiring", "deleted", "nonsense"])
def test_a_certificate_that_was_moved_on_past_cvmd(told: Scene, status: str) -> None:
    told.sql(
        f"UPDATE certificates SET status = '{status}', reason = 'revoked', live_device_id = NULL, not_before_us = 1"
        f" WHERE device_id = {of(told, 'a')}"
    )
    where, problem = the_break(told)
    assert where == LINES + 1
    assert f"is {status}" in problem


@pytest.mark.parametrize("until", ["reissue_until_us + 3600000000", "0"])
def test_a_window_that_was_moved_past_cvmd(told: Scene, until: str) -> None:
    told.admin.open_window(b"a", 3600)
    assert broken(told) == {}
    told.sql(f"UPDATE devices SET reissue_until_us = {until} WHERE serial = X'61'")
    where, problem = the_break(told)
    assert where == LINES + 2
    assert "no line tells of the window" in problem


def test_a_window_whose_line_was_taken_out_with_the_head_set_back(told: Scene) -> None:
    told.admin.open_window(b"a", 3600)
    remove(told, LINES + 1)
    set_head_back(told, LINES)
    assert "no line tells of the window" in the_break(told)[1]


def past_foreign_keys(scene: Scene, statement: str) -> None:
    with (scene.owner or scene.database).engine.connect() as connection:
        off, on = ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1")
        if connection.dialect.name == "sqlite":
            off, on = ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON")
        for each in (off, statement, on):
            connection.exec_driver_sql(each)


def test_lines_of_no_device(told: Scene) -> None:
    mine, nobody = of(told, "a"), of(told, "a") + 1000
    past_foreign_keys(told, f"UPDATE audit SET device_id = {nobody} WHERE device_id = {mine}")
    assert set(broken(told)) == {b"a", b"(no device, id %d)" % nobody}
    past_foreign_keys(told, f"UPDATE audit SET device_id = {mine} WHERE device_id = {nobody}")
    assert broken(told) == {}
