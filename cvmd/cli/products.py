"""`cvmd products`: the rules that groups of devices share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from cvmd import config
from cvmd.authentication import problems
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit, Subparsers, add_json, add_login, add_noun, add_verb
from cvmd.cli.database import admin_store, checked_sealer
from cvmd.cli.files import read_token, written_first
from cvmd.cli.output import print_fields, print_json, print_table, time
from cvmd.database import logged_in
from cvmd.errors import ConfigError, SealError
from cvmd.model import US, Auth, KeySource, Secret
from cvmd.sealing import Sealer
from cvmd.seals import seal_access, seal_product_key, unseal_auth
from cvmd.store import AdminStore
from cvmd.store.products import ProductRecord, ProductRules

_MAX_CONNECT_AFTER_S: Final = 65_535
"""What DONE can say."""
_MAX_WINDOW_S: Final = 30 * 86_400
_PRODUCT_KEY_SIZE: Final = 32
_ACCESS: Final = frozenset({"source_networks", "window", "allow_server_keys"})
"""What auth `serial` allows, all of it."""


def add_to(nouns: Subparsers) -> None:
    """The verbs `add`, `set`, `delete`, `list` and `show`."""
    verbs = add_noun(nouns, "products", "make, change and list products")
    add = add_verb(verbs, "add", _add, "make a product")
    add.add_argument("name", type=argument.name)
    add.add_argument("--account", type=argument.name, default="default", help="AWS account (default: default)")
    _add_rules(add)
    change = add_verb(verbs, "set", _set, "change the rules of a product; what is not named stays")
    change.add_argument("name", type=argument.name)
    _add_rules(change)
    remove = add_verb(verbs, "delete", _delete, "delete a product that has no devices")
    remove.add_argument("name", type=argument.name)
    add_login(remove)
    add_json(add_verb(verbs, "list", _list, "list all products"))
    show = add_verb(verbs, "show", _show, "print one product")
    show.add_argument("name", type=argument.name)
    add_json(show)


def _add_rules(verb: argparse.ArgumentParser) -> None:
    """An option a rule. One that is not given is not in the namespace: `add` has defaults, `set` what is there."""

    def rule(option: str, parse: Any, metavar: str, about: str) -> None:  # noqa: ANN401  # what argparse takes
        verb.add_argument(option, type=parse, metavar=metavar, default=argparse.SUPPRESS, help=about)

    rule(
        "--auth", argument.one_of(Auth), "AUTH",
        "how devices prove who they are: token (each its own, the default), derived (tokens that a product key gives) "
        "or serial (not at all)",
    )  # fmt: skip
    key = verb.add_mutually_exclusive_group()
    key.add_argument("--key-out", type=Path, metavar="FILE", help="auth derived: make a product key into this new file")
    key.add_argument(
        "--key-file", type=Path, metavar="FILE", help="auth derived: the product key, 16 to 64 bytes in hex"
    )
    rule(
        "--source-networks", argument.networks, "CIDR,…",
        "auth serial: networks that devices may call from, or none (none)",
    )  # fmt: skip
    rule(
        "--window", argument.duration(0, _MAX_WINDOW_S), "TIME",
        "auth serial: for so long devices may call from anywhere; 0 ends it",
    )  # fmt: skip
    verb.add_argument(
        "--allow-server-keys", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS,
        help="auth serial: let keys made here go to whoever names a serial",
    )  # fmt: skip
    rule(
        "--key-source", argument.one_of(KeySource), "SOURCE",
        "where keys are made: ec-p256 (here, the default), rsa2048 (here), device-csr (by the device) or aws-rsa2048",
    )  # fmt: skip
    rule("--reissue-limit", argument.reissue_limit, "N", "new certificates after the first, or unlimited (0)")
    rule("--offer-lifetime", argument.duration(60), "TIME", "until a certificate that nobody fetched goes (7d)")
    rule("--grace", argument.duration(0), "TIME", "until a superseded certificate is deleted (7d)")
    rule(
        "--connect-after", argument.duration(0, _MAX_CONNECT_AFTER_S), "TIME",
        "how long a device waits before its first MQTT connection (5s)",
    )  # fmt: skip
    verb.add_argument(
        "--share-things", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS,
        help="let a thing have ACTIVE certificates of others",
    )  # fmt: skip


_RULE_OF_OPTION: Final = {"offer_lifetime": "offer_lifetime_s", "grace": "grace_s", "connect_after": "connect_after_s"}


def _given_rules(arguments: argparse.Namespace) -> dict[str, Any]:
    named = {_RULE_OF_OPTION.get(option, option): value for option, value in vars(arguments).items()}
    return {rule.name: named[rule.name] for rule in fields(ProductRules) if rule.name in named}


def _add(arguments: argparse.Namespace) -> Exit:
    settings, key = config.load(arguments.config), _product_key(arguments)
    with admin_store(settings) as store:
        rules = _with_window(ProductRules(**_given_rules(arguments)), arguments, store)
        with _sealed(key, rules, arguments, settings, store) as sealed_auth:
            store.add_product(arguments.name, rules, account=arguments.account, sealed_auth=sealed_auth)
        _warn(store, arguments.name)
    return Exit.DONE


def _set(arguments: argparse.Namespace) -> Exit:
    settings, key = config.load(arguments.config), _product_key(arguments)
    with admin_store(settings) as store:
        known = store.show_product(arguments.name)
        rules = _with_window(replace(known.rules, **_given_rules(arguments)), arguments, store)
        if known.product.auth is rules.auth is Auth.SERIAL and not vars(arguments).keys() >= _ACCESS:
            _check_seal(known, checked_sealer(settings, store))
        with _sealed(key, rules, arguments, settings, store) as sealed_auth:
            store.set_product(arguments.name, rules, sealed_auth=sealed_auth)
        _warn(store, arguments.name)
    return Exit.DONE


def _check_seal(known: ProductRecord, sealer: Sealer) -> None:
    """Raises ConfigError where what stays is not what an operator has set: sealed anew it would let devices in."""
    try:
        unseal_auth(known.product, known.access, sealer)
    except SealError as error:
        raise ConfigError(
            f"{error}; find out who writes to the database, then say all of --source-networks, --window and "
            "--allow-server-keys (or --no-allow-server-keys)"
        ) from None


def _delete(arguments: argparse.Namespace) -> Exit:
    settings = logged_in(config.load(arguments.config), arguments.login, arguments.password_file)
    with admin_store(settings) as store:
        store.delete_product(arguments.name)
    return Exit.DONE


def _product_key(arguments: argparse.Namespace) -> Secret | None:
    """The one that is in the file, or a new one; None: neither was asked for."""
    if arguments.key_file is not None:
        return read_token(arguments.key_file, "product key")
    return Secret(os.urandom(_PRODUCT_KEY_SIZE)) if arguments.key_out is not None else None


@contextmanager
def _sealed(
    key: Secret | None, rules: ProductRules, arguments: argparse.Namespace, settings: config.Config, store: AdminStore
) -> Iterator[bytes | None]:
    """What the auth rests on as the store takes it; a new product key is in its file first."""
    if key is not None and rules.auth is not Auth.DERIVED:
        raise ConfigError(
            f"auth {rules.auth} has no product key: take --key-out and --key-file away, or set --auth derived"
        )
    if rules.auth is Auth.SERIAL:
        yield seal_access(rules.access(), arguments.name, checked_sealer(settings, store))
    elif key is not None:
        sealed = seal_product_key(key, arguments.name, checked_sealer(settings, store))
        with written_first(arguments.key_out, key, f"cvmd products show {arguments.name}"):
            yield sealed
    else:
        yield None


def _with_window(rules: ProductRules, arguments: argparse.Namespace, store: AdminStore) -> ProductRules:
    window_s: int | None = getattr(arguments, "window", None)
    if window_s is None:
        return rules
    return replace(rules, window_until_us=store.now_us() + window_s * US if window_s else None)


def _warn(store: AdminStore, name: str) -> None:
    """Say what is contradictory or dangerous in the rules as they are now; they bind all the same."""
    record = store.show_product(name)
    for problem in problems(record.product, record.access, store.now_us()):
        print(f"cvmd: warning: product {name}: {problem}", file=sys.stderr)


def _list(arguments: argparse.Namespace) -> Exit:
    with admin_store(config.load(arguments.config)) as store:
        found = [_document(record) for record in store.list_products()]
    if arguments.json:
        print_json(found)
    else:
        columns = ["name", "account", "auth", "key_source", "reissue_limit", "devices"]
        print_table(columns, [[document[column] for column in columns] for document in found])
    return Exit.DONE


def _show(arguments: argparse.Namespace) -> Exit:
    with admin_store(config.load(arguments.config)) as store:
        found = _document(store.show_product(arguments.name))
    (print_json if arguments.json else print_fields)(found)
    return Exit.DONE


def _document(record: ProductRecord) -> dict[str, object]:
    """A product as JSON has it."""
    product = record.product
    limit = product.reissue_limit
    return {
        "name": product.name,
        "account": product.account.name,
        "auth": product.auth,
        "key_source": product.key_source,
        "reissue_limit": argument.UNLIMITED if limit is None else limit,
        "offer_lifetime_s": product.offer_lifetime_s,
        "grace_s": product.grace_s,
        "connect_after_s": product.connect_after_s,
        "share_things": product.share_things,
        "source_networks": record.access.source_networks,
        "window_until": time(record.access.window_until_us),
        "allow_server_keys": record.access.allow_server_keys,
        "devices": record.devices,
    }
