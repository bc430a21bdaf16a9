"""The things and policies that the devices of a product are mapped to, for who wants to see whether AWS has them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import Integer, func, select

from cvmd.store.engine import Database
from cvmd.store.schema import devices, given

_OF_PRODUCT = devices.c.product_id == given("product")
_POLICIES = select(devices.c.policy).where(_OF_PRODUCT).distinct().order_by(devices.c.policy)
_IDS = select(func.min(devices.c.id), func.max(devices.c.id)).where(_OF_PRODUCT)
_NEXT = (
    select(devices.c.serial, devices.c.thing)
    .where(_OF_PRODUCT, devices.c.id >= given("first", type_=Integer))
    .order_by(devices.c.id)
    .limit(1)
)


class Mapping:
    """Reads it; the product is named by its id. Each raises StoreDown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def policies(self, product_id: int) -> Sequence[str]:
        """All of them, by name."""
        return [row[0] for row in self._database.statement(lambda t: t.rows(_POLICIES, product=product_id))]

    def some_things(self, product_id: int, count: int) -> Sequence[tuple[bytes, str]]:
        """(serial, thing) of up to `count` devices, picked at random from all over the product, by serial."""
        row = self._database.statement(lambda t: t.row(_IDS, product=product_id))
        if row is None or row[0] is None:
            return []
        first, last = row
        starts = random.sample(range(first, last + 1), min(count, last + 1 - first))
        found = self._database.statement(lambda t: [t.row(_NEXT, product=product_id, first=each) for each in starts])
        return sorted({(row[0], row[1]) for row in found if row is not None})
