"""The operator's side: AWS accounts."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from sqlalchemy import func, insert, select, update

from cvmd.errors import ConfigError
from cvmd.model import Account, CertificateStatus, Outcome
from cvmd.store import rows
from cvmd.store.attempts import CREATE
from cvmd.store.engine import Database, Duplicate, Row, Transaction
from cvmd.store.schema import NOW, accounts, attempts, certificates, given, issuances, pace, products

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_MAX_CREATES_PER_S = 10_000


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What an operator says of an AWS account. None: the configuration's `[aws]` says it, or there is none."""

    partition: str | None = None
    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    data_endpoint: str | None = None
    root_ca: str | None = None
    creates_per_s: int = 10
    exclusive: bool = False
    """Nobody else makes certificates in this account and region: orphans that nobody can attribute are ours."""

    def __post_init__(self) -> None:
        if not 1 <= self.creates_per_s <= _MAX_CREATES_PER_S:
            raise ConfigError(f"creates_per_s is {self.creates_per_s}: it must be 1 to {_MAX_CREATES_PER_S}")
        if self.external_id is not None and self.role_arn is None:
            raise ConfigError("external_id without role_arn: it is shown where a role is assumed")


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account as an operator sees it."""

    account: Account
    rules: AccountRules
    products: int
    certificates: int
    """That are at AWS still, as far as the rows know."""
    in_doubt: int
    """Attempts of which nobody knows whether AWS made a certificate."""


_RULES = [accounts.c[name] for name in AccountRules.__dataclass_fields__]
_PRODUCTS = select(func.count()).where(products.c.account_id == accounts.c.id).correlate(accounts).scalar_subquery()
_CERTIFICATES = (
    select(func.count())
    .where(certificates.c.account_id == accounts.c.id, certificates.c.status != CertificateStatus.DELETED)
    .correlate(accounts)
    .scalar_subquery()
)
_IN_DOUBT = (
    select(func.count())
    .where(issuances.c.account_id == accounts.c.id, attempts.c.issuance_id == issuances.c.id)
    .where(attempts.c.outcome.in_((Outcome.OPEN, Outcome.UNKNOWN)))
    .correlate(accounts)
    .scalar_subquery()
)
_COUNTS = [_PRODUCTS, _CERTIFICATES, _IN_DOUBT]
_ACCOUNTS = select(*rows.labelled(rows.ACCOUNT, _RULES, _COUNTS)).order_by(accounts.c.name)
_ACCOUNT = _ACCOUNTS.where(accounts.c.name == given("account_name"))
_ACCOUNT_ID = select(accounts.c.id).where(accounts.c.name == given("account_name"))
_SET = update(accounts).where(accounts.c.name == given("account_name"))


class AccountRows:
    """What the operator asks of accounts. ConfigError: a name that is wrong, taken, or not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_account(self, name: str, rules: AccountRules) -> None:
        """A new account, with its row of pace, which `open_attempt` relies on."""
        check_name("account", name)

        def work(t: Transaction) -> None:
            t.change(insert(accounts).values(name=name, created_us=NOW, **asdict(rules)))
            t.change(insert(pace).values(account_id=account_id(t, name), operation=CREATE, tat_us=0))

        try:
            self._database.transaction(work)
        except Duplicate:
            raise ConfigError(f"account {name!r} is there already; change it with `cvmd accounts set`") from None

    def set_account(self, name: str, rules: AccountRules) -> None:
        """Replace all rules of an account; every node goes by them from its next look at a row on."""
        if not self._database.statement(lambda t: t.change(_SET.values(**asdict(rules)), account_name=name)):
            raise ConfigError(no_such("account", name))

    def list_accounts(self) -> list[AccountRecord]:
        """All accounts, by name."""
        return [_record(row) for row in self._database.statement(lambda t: t.rows(_ACCOUNTS))]

    def show_account(self, name: str) -> AccountRecord:
        """One account."""
        row = self._database.statement(lambda t: t.row(_ACCOUNT, account_name=name))
        if row is None:
            raise ConfigError(no_such("account", name))
        return _record(row)


def _record(row: Row) -> AccountRecord:
    end = len(rows.ACCOUNT)
    *given_rules, of_products, of_certificates, in_doubt = row[end:]
    rules = dict(zip(AccountRules.__dataclass_fields__, given_rules, strict=True))
    rules["exclusive"] = bool(rules["exclusive"])
    return AccountRecord(rows.account(row[:end]), AccountRules(**rules), of_products, of_certificates, in_doubt)


def account_id(t: Transaction, name: str) -> int:
    """The id of the account of that name. Raises ConfigError."""
    row = t.row(_ACCOUNT_ID, account_name=name)
    if row is None:
        raise ConfigError(no_such("account", name))
    return int(row[0])


def check_name(what: str, name: str) -> None:
    """Raises ConfigError for what is no name of a `what`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{what} {name!r}: a name is 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit")


def no_such(what: str, name: str) -> str:
    """What is said of a name that is not there."""
    return f"there is no {what} {name!r}; see `cvmd {what}s list`"
