"""`cvmd products`: the rules that groups of devices share."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from typing import Any, Final

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.common import Exit, Subparsers, add_json, add_noun, add_verb
from cvmd.cli.database import admin_store
from cvmd.cli.output import print_fields, print_json, print_table
from cvmd.model import Auth, KeySource
from cvmd.store.products import ProductRecord, ProductRules

_AUTHS: Final = [Auth.TOKEN]
_KEY_SOURCES: Final = [KeySource.EC_P256, KeySource.RSA2048, KeySource.DEVICE_CSR]
_MAX_CONNECT_AFTER_S: Final = 65_535
"""What DONE can say."""


def add_to(nouns: Subparsers) -> None:
    """The verbs `add`, `set`, `list` and `show`."""
    verbs = add_noun(nouns, "products", "make, change and list products")
    add = add_verb(verbs, "add", _add, "make a product")
    add.add_argument("name", type=argument.name)
    add.add_argument("--account", type=argument.name, default="default", help="AWS account (default: default)")
    _add_rules(add)
    change = add_verb(verbs, "set", _set, "change the rules of a product; what is not named stays")
    change.add_argument("name", type=argument.name)
    _add_rules(change)
    add_json(add_verb(verbs, "list", _list, "list all products"))
    show = add_verb(verbs, "show", _show, "print one product")
    show.add_argument("name", type=argument.name)
    add_json(show)


def _add_rules(verb: argparse.ArgumentParser) -> None:
    """An option a rule. One that is not given is not in the namespace: `add` has defaults, `set` what is there."""

    def rule(option: str, parse: Any, metavar: str, about: str) -> None:  # noqa: ANN401  # what argparse takes
        verb.add_argument(option, type=parse, metavar=metavar, default=argparse.SUPPRESS, help=about)

    rule("--auth", argument.offered(Auth, _AUTHS), "AUTH", "how devices prove who they are: token")
    rule(
        "--key-source", argument.offered(KeySource, _KEY_SOURCES), "SOURCE",
        "where keys are made: ec-p256 (here, the default), rsa2048 (here) or device-csr (by the device)",
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
    rules = ProductRules(**_given_rules(arguments))
    with admin_store(config.load(arguments.config)) as store:
        store.add_product(arguments.name, rules, account=arguments.account)
    return Exit.DONE


def _set(arguments: argparse.Namespace) -> Exit:
    with admin_store(config.load(arguments.config)) as store:
        rules = store.show_product(arguments.name).rules
        store.set_product(arguments.name, replace(rules, **_given_rules(arguments)))
    return Exit.DONE


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
        "devices": record.devices,
    }
