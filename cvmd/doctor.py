"""Everything that must be right before a device calls, looked at in the order in which it is to be mended.

It changes nothing, neither in the database nor at AWS; and no secret that it reads gets into what it says.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from cvmd import authentication, seals
from cvmd.aws import account_checks, aws_iot, aws_settings, root_cas
from cvmd.checks import Check
from cvmd.config import Config, read_secret
from cvmd.database import check_master_key, configured, database_checks
from cvmd.errors import ConfigError, IssuerError, IssuerFault, SealError
from cvmd.model import Account, Auth
from cvmd.ports import Issuer, StoreDown, WrongSchema
from cvmd.reconcile import pacer
from cvmd.sealing import Sealer, load_master_key
from cvmd.store import AdminStore, Database
from cvmd.store.mapping import Mapping
from cvmd.store.products import ProductRecord
from cvmd.tls import WARN_BEFORE, ServerTls

SAMPLE: Final = 20
"""Policies and things of each product that are looked at where no product is named."""
SAMPLE_OF_ONE: Final = 200
"""Things of the product that is."""

_NAMED: Final = 3
"""So many of what is missing are named in a line."""
_DATABASE: Final = "database settings"
_AWS: Final = "AWS settings"
_FIRST: Final = "what has failed above must be mended first"

Section = tuple[str, Sequence[Check]]
"""A title, and the checks of one matter."""


def examine(config: Config, *, config_only: bool, product: str | None) -> Iterator[Section]:
    """A section as soon as it is there. `product`: of the products only this one, and more closely.

    Raises ConfigError where there is no product of that name.
    """
    files = list(_files(config))
    yield "configuration", files
    if config_only:
        return
    broken = {it.name for it in files if it.passed is False}
    if _DATABASE in broken:
        yield "all else", [Check("database, accounts, products", None, _FIRST)]
        return
    database = configured(config)
    try:
        checks = [*database_checks(config, database), _sealed(config, database)]
        yield "database", checks
        if _AWS in broken or any(it.passed is False for it in checks):
            yield "all else", [Check("accounts, products", None, _FIRST)]
        else:
            yield from _beyond(config, database, product)
    except (StoreDown, WrongSchema) as error:
        yield "all else", [Check("accounts, products", False, str(error), "run it again")]
    finally:
        database.close()


def _sealed(config: Config, database: Database) -> Check:
    """Whether what is sealed in the database can be read."""
    name, sealer = "master key", _sealer(config)
    if sealer is None:
        return Check(name, None, "it cannot be read")
    try:
        check_master_key(AdminStore(database), sealer)
    except SealError as error:
        return Check(name, False, "is not the one of this database", str(error))
    except (StoreDown, WrongSchema):
        return Check(name, None, "the database cannot be asked")
    return Check(name, True, "is the one that this database was set up with")


def _beyond(config: Config, database: Database, product: str | None) -> Iterator[Section]:
    """What the rows name: accounts, products, and what AWS has of them."""
    store = AdminStore(database)
    records = store.list_products() if product is None else [store.show_product(product)]
    accounts = [it.account for it in store.list_accounts()]
    if product is not None:
        accounts = [it for it in accounts if it.id == records[0].product.account.id]
    look_at, served = account_checks(config), set()
    for account in accounts:
        checks = look_at(account)
        if all(it.passed is not False for it in checks):
            served.add(account.id)
        yield f"account {account.name}", checks
    pause = pacer(config.reconcile.calls_per_s, threading.Event())
    look = _Look(aws_iot(config), Mapping(database), pause, closely=product is not None)
    now_us, sealer = store.now_us(), _sealer(config)
    for record in records:
        checks = [*_rules(record, now_us), *_seal(record, sealer)]
        if record.product.account.id not in served:
            checks.append(Check("policies and things", None, "its account must be mended first"))
        elif record.devices:
            checks += look.checks(record)
        yield f"product {record.product.name}", checks
    if not records:
        yield "products", [Check("products", True, "there is none", "make one: `cvmd products add`")]


def _files(config: Config) -> Iterator[Check]:
    """What the configuration names on this machine."""
    yield _tried("master key", lambda: _master_key(config))
    if config.database.password_file:
        yield _tried("database password", lambda: _read(config.database.password_file))
    yield _tried(_DATABASE, lambda: _database_settings(config))
    if config.tls.certificate_file:
        yield _tls_listener(config)
    yield _tried(_AWS, lambda: _aws_settings(config))
    yield _channel(config)


def _tried(name: str, look: Callable[[], str]) -> Check:
    """Passed, with what `look` returns; its ConfigError or SealError says what to do."""
    try:
        return Check(name, True, look())
    except (ConfigError, SealError) as error:
        return Check(name, False, "cannot be used", str(error))


def _master_key(config: Config) -> str:
    path = config.secrets.master_key_path
    Sealer(load_master_key(path))
    return f"{path} can be read, by this user"


def _read(file: str) -> str:
    read_secret(file)
    return "can be read, by this user"


def _database_settings(config: Config) -> str:
    configured(config).close()
    return config.database.url


def _aws_settings(config: Config) -> str:
    aws_settings(config)
    root_cas(config)
    return f"region {config.aws.region or 'as boto3 finds it'}, root CA {config.aws.root_ca}"


def _tls_listener(config: Config) -> Check:
    try:
        expires = ServerTls(config.tls.certificate_file, config.tls.key_file).expires
    except ConfigError as error:
        return Check("TLS listener", False, "cannot begin", str(error))
    until = f"its certificate is good until {expires:%Y-%m-%d}"
    now = datetime.now(UTC)
    if now >= expires:
        return Check("TLS listener", False, until, "renew it, then `systemctl reload cvmd`")
    return Check("TLS listener", True, until, "renew it soon" if now + WARN_BEFORE >= expires else "")


def _channel(config: Config) -> Check:
    """Whether a key that is made here has a way out."""
    listen, name = config.listen, "keys made here"
    if listen.plain and listen.trusted_network:
        return Check(name, True, "leave in every suite: listen.trusted_network says that nobody listens in")
    if config.tls.certificate_file or "noise" in listen.suites:
        return Check(name, True, "leave encrypted only: by suite noise, or by TLS")
    return Check(
        name, True, "leave by no listener: each such device is refused with CHANNEL",
        "offer suite noise or TLS, or say listen.trusted_network = true; with device-csr alone all is well",
    )  # fmt: skip


def _rules(record: ProductRecord, now_us: int) -> Iterator[Check]:
    """Whether what an operator has said of the product goes together."""
    problems = list(authentication.problems(record.product, record.access, now_us))
    for each in problems:
        found, _, to_do = each.partition(": ") if ": " in each else (each, "", "see `cvmd products set --help`")
        yield Check("rules", True, found, to_do)
    if not problems:
        source = f"auth {record.product.auth}, key source {record.product.key_source}, {record.devices} devices"
        yield Check("rules", True, source)


def _sealer(config: Config) -> Sealer | None:
    """None: the master key cannot be read, which is among the files' checks."""
    try:
        return Sealer(load_master_key(config.secrets.master_key_path))
    except (ConfigError, SealError):
        return None


def _seal(record: ProductRecord, sealer: Sealer | None) -> Iterator[Check]:
    """Whether the rules that let devices in are those that somebody with the master key has set."""
    if record.product.auth is Auth.TOKEN:  # each device has its own
        return
    if sealer is None:
        yield Check("seal", None, "the master key cannot be read")
        return
    try:
        seals.unseal_auth(record.product, record.access, sealer)
    except SealError as error:
        to_do = "find out who writes to the database, then say them again: `cvmd products set`"
        yield Check("seal", False, str(error), to_do)
    else:
        yield Check("seal", True, f"what auth {record.product.auth} rests on is as it was set")


class _Look:
    """Whether AWS has the policies and things that a product's devices are mapped to."""

    def __init__(self, issuer: Issuer, mapping: Mapping, pause: Callable[[], None], *, closely: bool) -> None:
        self._issuer = issuer
        self._mapping = mapping
        self._pause = pause
        self._closely = closely

    def checks(self, record: ProductRecord) -> Iterator[Check]:
        """Of the product's policies, then of its things."""
        account = record.product.account
        policies = self._mapping.policies(record.product.id)
        chosen = policies if self._closely else sorted(random.sample(policies, min(SAMPLE, len(policies))))
        yield self._all_there(
            "policies", f"{len(chosen)} of {len(policies)}", chosen,
            lambda policy: self._issuer.policy_exists(account, policy),
            "create them at AWS IoT; their devices go on by themselves",
        )  # fmt: skip
        things = self._mapping.some_things(record.product.id, SAMPLE_OF_ONE if self._closely else SAMPLE)
        yield self._all_there(
            "things", f"{len(things)} of {record.devices}", [thing for _, thing in things],
            lambda thing: self._thing_exists(account, thing),
            "create them at AWS IoT, then `cvmd devices retry` those that have failed",
        )  # fmt: skip

    def _thing_exists(self, account: Account, thing: str) -> bool:
        # Not by DescribeThing, which no vend needs and cvmd is not allowed.
        try:
            self._issuer.thing_principals(account, thing)
        except IssuerError as error:
            if error.fault is IssuerFault.THING_MISSING:
                return False
            raise
        return True

    def _all_there(
        self, name: str, how_many: str, names: Sequence[str], there: Callable[[str], bool], to_do: str
    ) -> Check:
        missing = []
        try:
            for each in names:
                self._pause()
                if not there(each):
                    missing.append(each)
        except IssuerError as error:
            return Check(name, None, str(error), "run it again; if it lasts, see the account's checks")
        if not missing:
            return Check(name, True, f"AWS IoT has them; looked at: {how_many}")
        shown = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        return Check(name, False, f"AWS IoT lacks {len(missing)} of {len(names)} that were looked at: {shown}", to_do)
