"""The operator's side: products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import LargeBinary, func, insert, or_, select, update

from cvmd import networks
from cvmd.errors import ConfigError
from cvmd.model import Access, Auth, KeySource, Product
from cvmd.store import rows
from cvmd.store.accounts import account_id, check_name, no_such
from cvmd.store.engine import Database, Duplicate, Row, Transaction
from cvmd.store.schema import NOW, accounts, devices, given, products

_MAX_NETWORKS = 1024


@dataclass(frozen=True, slots=True)
class ProductRules:
    """What an operator says of a product."""

    auth: Auth = Auth.TOKEN
    key_source: KeySource = KeySource.EC_P256
    reissue_limit: int | None = 0
    """New certificates after the first ACTIVE one; None is "unlimited"."""
    offer_lifetime_s: int = 7 * 86_400
    grace_s: int = 7 * 86_400
    connect_after_s: int = 5
    share_things: bool = False
    allow_server_keys: bool = False
    """With auth `serial`, which proves nothing: let keys made here leave all the same."""
    source_networks: str | None = None
    """With auth `serial`: CIDR networks, separated by commas, from which devices may call."""
    window_until_us: int | None = None
    """With auth `serial`: until when devices may call from anywhere."""

    def __post_init__(self) -> None:
        for name in ("reissue_limit", "offer_lifetime_s", "grace_s", "connect_after_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**31:
                raise ConfigError(f"{name} is {value}: it must be 0 to {2**31 - 1}")
        if self.source_networks is not None:
            networks.parse(self.source_networks)
            if len(self.source_networks) > _MAX_NETWORKS:
                raise ConfigError(f"source_networks has more than {_MAX_NETWORKS} characters: name larger networks")


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """A product as an operator sees it."""

    product: Product
    rules: ProductRules
    devices: int
    sealed_key: bytes | None = field(repr=False)

    @property
    def access(self) -> Access:
        """As whoever authenticates has it."""
        rules = self.rules
        return Access(self.sealed_key, rules.allow_server_keys, rules.source_networks, rules.window_until_us)


_RULES = [products.c[name] for name in ProductRules.__dataclass_fields__]
_DEVICES = select(func.count()).where(devices.c.product_id == products.c.id).correlate(products).scalar_subquery()
_PRODUCTS = (
    select(*rows.labelled(rows.ACCOUNT, rows.PRODUCT, _RULES, [products.c.sealed_key, _DEVICES]))
    .join_from(products, accounts, accounts.c.id == products.c.account_id)
    .order_by(products.c.name)
)
_PRODUCT = _PRODUCTS.where(products.c.name == given("product_name"))
# Devices prove themselves as they were made: how they do cannot change under them.
_NO_DEVICES = ~select(devices.c.id).where(devices.c.product_id == products.c.id).correlate(products).exists()
_SET_PRODUCT = update(products).where(products.c.name == given("product_name")).values(updated_us=NOW)
_SET_AUTH = _SET_PRODUCT.where(_NO_DEVICES).values(sealed_key=given("product_key", type_=LargeBinary))
_SET_RULES = _SET_PRODUCT.where(or_(products.c.auth == given("same_auth"), _NO_DEVICES))
_TIME = select(NOW)


class ProductRows:
    """What the operator asks of products. ConfigError: a name that is wrong, taken, or not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_product(
        self, name: str, rules: ProductRules, *, account: str = "default", sealed_key: bytes | None = None
    ) -> None:
        """A new product; `sealed_key` is the product key of auth `derived`, and of no other."""
        check_name("product", name)
        _check_key(rules, sealed_key)

        def work(t: Transaction) -> None:
            t.change(
                insert(products).values(
                    name=name,
                    account_id=account_id(t, account),
                    sealed_key=sealed_key,
                    created_us=NOW,
                    updated_us=NOW,
                    **asdict(rules),
                )
            )

        try:
            self._database.transaction(work)
        except Duplicate:
            raise ConfigError(f"product {name!r} is there already; change it with `cvmd products set`") from None

    def set_product(self, name: str, rules: ProductRules, *, sealed_key: bytes | None = None) -> None:
        """Replace all rules of a product, and its product key if one is given; issuances under way keep their key
        source. Auth and product key change only while no device was made by them: else ConfigError."""
        before = self.show_product(name)
        values: dict[str, object]
        if sealed_key is None and rules.auth is before.product.auth:
            change, values = _SET_RULES, {"same_auth": rules.auth}
        else:
            change, values = _SET_AUTH, {"product_key": sealed_key}
        _check_key(rules, sealed_key or (before.sealed_key if change is _SET_RULES else None))
        if not self._database.statement(
            lambda t: t.change(change.values(**asdict(rules)), product_name=name, **values)
        ):
            count = self.show_product(name).devices
            raise ConfigError(
                f"product {name!r} has {count} devices, which prove themselves by its auth and its product key: these "
                "change only while it has none; make another product"
            )

    def now_us(self) -> int:
        """The database's clock."""
        row = self._database.statement(lambda t: t.row(_TIME))
        assert row is not None, "a SELECT without a table has one row"
        return int(row[0])

    def list_products(self) -> Sequence[ProductRecord]:
        """All products, by name."""
        return [_record(row) for row in self._database.statement(lambda t: t.rows(_PRODUCTS))]

    def show_product(self, name: str) -> ProductRecord:
        """One product."""
        row = self._database.statement(lambda t: t.row(_PRODUCT, product_name=name))
        if row is None:
            raise ConfigError(no_such("product", name))
        return _record(row)


def _record(row: Row) -> ProductRecord:
    end = len(rows.ACCOUNT)
    product_end = end + len(rows.PRODUCT)
    product = rows.product(row[end:product_end], rows.account(row[:end]))
    rules = dict(zip(ProductRules.__dataclass_fields__, row[product_end:-2], strict=True))
    rules |= {
        "auth": product.auth,
        "key_source": product.key_source,
        "share_things": product.share_things,
        "allow_server_keys": bool(rules["allow_server_keys"]),
    }
    return ProductRecord(product, ProductRules(**rules), devices=row[-1], sealed_key=row[-2])


def _check_key(rules: ProductRules, sealed_key: bytes | None) -> None:
    if (rules.auth is Auth.DERIVED) is (sealed_key is None):
        raise ConfigError(
            "auth derived needs a product key: --key-out FILE makes one, --key-file FILE takes yours"
            if sealed_key is None
            else f"auth {rules.auth} has no product key: take --key-out and --key-file away, or set --auth derived"
        )
