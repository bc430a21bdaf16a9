"""Columns and the words that they become stay in step."""

from dataclasses import fields

from cvmd.model import Account, Certificate, Device, Issuance, Product
from cvmd.store import rows
from tests.cvmd.store.conftest import Scene, a_claim

JOINED = {"trial", "serial", "thing", "policy", "account", "product"}
"""Of an Issuance, what other tables hold, or no row says."""


def names(of: type) -> list[str]:
    return [field.name for field in fields(of)]


def test_columns_stand_in_the_order_of_the_fields() -> None:
    for columns, of in ((rows.ACCOUNT, Account), (rows.DEVICE, Device), (rows.CERTIFICATE, Certificate)):
        assert [column.name for column in columns] == names(of)
    assert [column.name for column in rows.PRODUCT] == [name for name in names(Product) if name != "account"]


def test_every_field_of_an_issuance_has_its_column() -> None:
    assert {column.name for column in rows.ISSUANCE} == set(names(Issuance)) - JOINED


def test_inv6_no_row_shows_what_is_sealed(scene: Scene) -> None:
    issuance = scene.offered()
    view, offer = scene.store.view(issuance.serial), scene.store.offer(issuance.id)
    assert issuance.sealed_escrow == b"sealed key"
    assert "sealed" not in repr((view, offer, scene.admin.show_device(issuance.serial)))


def test_the_end_of_a_lease_is_no_waiting_time(scene: Scene) -> None:
    claim = a_claim()
    held = scene.created(claim=claim)
    assert (held.not_before_us, held.claim) == (0, claim.id)
    assert held.lease_until_us is not None
