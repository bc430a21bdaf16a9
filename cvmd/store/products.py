"""The operator's side: products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import delete, func, insert, select, update

from cvmd import networks
from cvmd.errors import ConfigError
from cvmd.model import Access, Auth, KeySource, Product
from cvmd.store import rows
from cvmd.store.accounts import account_id, check_name, no_such
from cvmd.store.engine import Contended, Database, Duplicate, Row, Transaction
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

    def access(self, sealed_auth: bytes | None = None) -> Access:
        """What of it says who may call."""
        return Access(sealed_auth, self.allow_server_keys, self.source_networks, self.window_until_us)


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """A product as an operator sees it."""

    product: Product
    rules: ProductRules
    devices: int
    sealed_auth: bytes | None = field(repr=False)

    @property
    def access(self) -> Access:
        """As whoever authenticates has it."""
        return self.rules.access(self.sealed_auth)


_RULES = [products.c[name] for name in ProductRules.__dataclass_fields__]
_DEVICES = select(func.count()).where(devices.c.product_id == products.c.id).correlate(products).scalar_subquery()
_PRODUCTS = (
    select(*rows.labelled(rows.ACCOUNT, rows.PRODUCT, _RULES, [products.c.sealed_auth, _DEVICES]))
    .join_from(products, accounts, accounts.c.id == products.c.account_id)
    .order_by(products.c.name)
)
_PRODUCT = _PRODUCTS.where(products.c.name == given("product_name"))
# Devices prove themselves as they were made: how they do cannot change under them.
_NO_DEVICES = ~select(devices.c.id).where(devices.c.product_id == products.c.id).correlate(products).exists()
_SET_PRODUCT = update(products).where(products.c.name == given("product_name")).values(updated_us=NOW)
_STANDING = select(products.c.auth, _DEVICES).where(products.c.name == given("product_name"))
_DELETE = delete(products).where(products.c.name == given("product_name"), _NO_DEVICES)
_TIME = select(NOW)


class ProductRows:
    """What the operator asks of products. ConfigError: a name that is wrong, taken, or not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_product(
        self, name: str, rules: ProductRules, *, account: str = "default", sealed_auth: bytes | None = None
    ) -> None:
        """A new product; `sealed_auth` as cvmd.seals makes it for auth `derived` and `serial`."""
        check_name("product", name)
        _check_sealed(rules, sealed_auth)

        def work(t: Transaction) -> None:
            t.change(
                insert(products).values(
                    name=name,
                    account_id=account_id(t, account),
                    sealed_auth=sealed_auth,
                    created_us=NOW,
                    updated_us=NOW,
                    **asdict(rules),
                )
            )

        try:
            self._database.transaction(work)
        except Duplicate:
            raise ConfigError(f"product {name!r} is there already; change it with `cvmd products set`") from None

    def set_product(self, name: str, rules: ProductRules, *, sealed_auth: bytes | None = None) -> None:
        """Replace all rules of a product; issuances under way keep their key source. Under auth `derived` the product
        key stays if none is given. Auth and product key change only while there is no device: else ConfigError."""

        def work(t: Transaction) -> None:
            row = t.row(_STANDING, product_name=name)
            if row is None:
                raise ConfigError(no_such("product", name))
            auth, count = row
            keeps_key = rules.auth is Auth.DERIVED and sealed_auth is None and auth == rules.auth
            change = _SET_PRODUCT.where(products.c.auth == auth).values(**asdict(rules))
            if not keeps_key:
                _check_sealed(rules, sealed_auth)
                change = change.values(sealed_auth=sealed_auth)
            if auth != rules.auth or (rules.auth is Auth.DERIVED and not keeps_key):
                if count:
                    raise ConfigError(
                        f"product {name!r} has {count} devices, which prove themselves by its auth and its product "
                        "key: these change only while it has none; make another product"
                    )
                change = change.where(_NO_DEVICES)
            if not t.change(change, product_name=name):
                raise Contended

        self._database.transaction(work)

    def delete_product(self, name: str) -> None:
        """ConfigError while a device is of it. The daemon's login lacks the right, and need not have it."""
        if not self._database.statement(lambda t: t.change(_DELETE, product_name=name)):
            count = self.show_product(name).devices
            raise ConfigError(f"product {name!r} has {count} devices, whose history hangs on it: it stays")

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
    return ProductRecord(product, ProductRules(**rules), devices=row[-1], sealed_auth=row[-2])


def _check_sealed(rules: ProductRules, sealed_auth: bytes | None) -> None:
    if rules.auth is Auth.DERIVED and sealed_auth is None:
        raise ConfigError("auth derived needs a product key: --key-out FILE makes one, --key-file FILE takes yours")
    if (rules.auth is Auth.TOKEN) is not (sealed_auth is None):
        raise TypeError(f"auth {rules.auth}: sealed_auth is for derived and serial, and for both of them")
