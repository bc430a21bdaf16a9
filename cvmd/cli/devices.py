"""`cvmd devices`: who may be vended, and what became of it."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli import bulk, intake
from cvmd.cli.common import Exit, Refused, Subparsers, add_json, add_noun, add_verb
from cvmd.cli.database import admin_store, checked_sealer, deciding_store, open_database
from cvmd.cli.files import read_token, written_first
from cvmd.cli.history import document, print_history, timeline
from cvmd.cli.output import print_json, print_table
from cvmd.errors import ConfigError
from cvmd.model import Auth, Product, Secret, State
from cvmd.seals import seal_token
from cvmd.store import check_schema
from cvmd.store.admin import AdminStore, DeviceFilter, ListedDevice
from cvmd.store.chains import AuditRows
from cvmd.store.intake import NewDevice

_TOKEN_SIZE: Final = 32
_PAGE: Final = 500
_EXPORTED: Final = ("serial", "product", "thing", "policy", "disabled", "state", "certificate_id")


def add_to(nouns: Subparsers) -> None:
    """The verbs."""
    verbs = add_noun(nouns, "devices", "import, list, disable and recover devices")
    _add_arguments(add_verb(verbs, "add", _add, "import a device"))
    intake.add_arguments(add_verb(verbs, "import", intake.run, "import devices from a CSV; run again, it goes on"))
    change = add_verb(
        verbs, "set", _set,
        "map a device to another thing or policy; what it has not acknowledged yet is made anew, what it uses stays",
    )  # fmt: skip
    change.add_argument("--thing", type=argument.thing, help="AWS IoT thing, of one device")
    change.add_argument("--policy", type=argument.policy, help="AWS IoT policy")
    export = add_verb(verbs, "export", _export, "print devices as CSV, without their tokens")
    export.add_argument("--product", type=argument.name, help="only of this product")
    _list_arguments(add_verb(verbs, "list", _list, "list devices in the order of their serials"))
    show = add_verb(verbs, "show", _show, "print a device, its issuances and its certificates")
    disable = add_verb(verbs, "disable", _disable, "refuse a device from now on; its certificate stays")
    enable = add_verb(verbs, "enable", _enable, "let a disabled device call again")
    retry = add_verb(verbs, "retry", _retry, "carry a failed issuance on, once thing, policy or account is mended")
    reissue = add_verb(verbs, "reissue", _reissue, "let a device have a new certificate beyond its product's limit")
    revoke = add_verb(
        verbs, "revoke", _revoke,
        "revoke a device's certificate for good, and end what is being made for it; to shut it out, `disable` it first",
    )  # fmt: skip
    history = add_verb(verbs, "history", _history, "print what became of a device, in its order: decisions and Creates")
    for verb in (show, history, disable, enable):
        verb.add_argument("serial", type=argument.serial)
    for verb in (change, retry, reissue, revoke):
        bulk.add_arguments(verb)
    add_json(show)
    add_json(history)
    reissue.add_argument(
        "--for", type=argument.duration(0), metavar="TIME", default=86_400, dest="window_s",
        help="for how long (1d); 0 ends it",
    )  # fmt: skip


def _add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("serial", type=argument.serial)
    verb.add_argument("--product", type=argument.name, required=True)
    verb.add_argument("--thing", type=argument.thing, required=True, help="AWS IoT thing; must be there at AWS")
    verb.add_argument("--policy", type=argument.policy, required=True, help="AWS IoT policy; must be there at AWS")
    token = verb.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, metavar="FILE", help="the device's token: 16 to 64 bytes in hex")
    token.add_argument("--token-out", type=Path, metavar="FILE", help="make a token and write it to this new file")


def _add(arguments: argparse.Namespace) -> Exit:
    settings = config.load(arguments.config)
    minted: Path | None = arguments.token_out
    token = read_token(arguments.token_file) if arguments.token_file else Secret(os.urandom(_TOKEN_SIZE))
    serial = arguments.serial.encode()
    with deciding_store(settings) as store:
        sealer = checked_sealer(settings, store)
        product = store.show_product(arguments.product).product
        has_token = _has_token(product, said=bool(minted or arguments.token_file))
        other = _mapped(store, product, arguments.thing)
        sealed = seal_token(token, serial, sealer) if has_token else b""
        with written_first(minted, token, f"cvmd devices show {arguments.serial}"):
            store.add_device(arguments.product, NewDevice(serial, arguments.thing, arguments.policy, sealed))
    _warn(serial, arguments.thing, other)
    return Exit.DONE


def _mapped(store: AdminStore, product: Product, thing: str) -> bytes | None:
    """A device that is mapped to this thing, where one alone may be."""
    return None if product.share_things else store.mapped([thing]).get((product.account.id, thing))


def _warn(serial: bytes, thing: str, other: bytes | None) -> None:
    if other not in (None, serial):
        print(
            f"cvmd: warning: device {serial.decode()}: thing {thing} is that of device {other.decode()} too, and one"
            " of them alone gets a certificate: `cvmd devices set`, or `cvmd products set --share-things`",
            file=sys.stderr,
        )


def _has_token(product: Product, *, said: bool) -> bool:
    """Whether its devices have tokens of their own. Raises ConfigError where what was said does not fit."""
    has_token = product.auth is Auth.TOKEN
    if has_token and not said:
        raise ConfigError(
            f"product {product.name!r} has auth token: --token-out FILE makes the token, --token-file FILE takes yours"
        )
    if said and not has_token:
        raise ConfigError(
            f"product {product.name!r} has auth {product.auth}, so its devices have no tokens of their own: take "
            "--token-out and --token-file away"
        )
    return has_token


def _list_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--product", type=argument.name, help="only of this product")
    verb.add_argument("--prefix", type=argument.serial, help="only serials that begin so")
    verb.add_argument("--state", choices=[state.value for state in State], help="of the newest issuance")
    verb.add_argument(
        "--certified",
        action=argparse.BooleanOptionalAction,
        help="only those whose certificate is ACTIVE, or that have none",
    )
    verb.add_argument("--disabled", action=argparse.BooleanOptionalAction, help="only those that are, or are not")
    add_json(verb)


def _list(arguments: argparse.Namespace) -> Exit:
    which = DeviceFilter(
        product=arguments.product,
        prefix=arguments.prefix.encode() if arguments.prefix else None,
        disabled=arguments.disabled,
        certified=arguments.certified,
        state=State(arguments.state) if arguments.state else None,
    )
    with admin_store(config.load(arguments.config)) as store:
        found = _all(store, which)
    if arguments.json:
        print_json(found)
    else:
        columns = ["serial", "product", "thing", "policy", "state", "activations", "disabled"]
        rows = [[*(it[column] for column in columns), it["certificate_id"] is not None] for it in found]
        print_table([*columns, "certified"], rows)
    return Exit.DONE


def _all(store: AdminStore, which: DeviceFilter) -> list[dict[str, Any]]:
    return [
        {
            "serial": device.serial.decode(),
            "product": device.product,
            "thing": device.thing,
            "policy": device.policy,
            "disabled": device.disabled,
            "activations": device.activations,
            "state": device.state,
            "certificate_id": None if device.certificate_id is None else device.certificate_id.hex(),
        }
        for device in _pages(store, which)
    ]


def _pages(store: AdminStore, which: DeviceFilter) -> Iterator[ListedDevice]:
    after = b""
    while page := store.list_devices(which, after=after, page=_PAGE):
        after = page[-1].serial
        yield from page


def _export(arguments: argparse.Namespace) -> Exit:
    with admin_store(config.load(arguments.config)) as store:
        if arguments.product:
            store.show_product(arguments.product)  # says so where there is none
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_EXPORTED)
        for it in _pages(store, DeviceFilter(product=arguments.product)):
            used = "" if it.certificate_id is None else it.certificate_id.hex()
            disabled = "yes" if it.disabled else "no"
            writer.writerow([it.serial.decode(), it.product, it.thing, it.policy, disabled, it.state or "", used])
    return Exit.DONE


def _set(arguments: argparse.Namespace) -> Exit:
    thing, policy = arguments.thing, arguments.policy
    if thing is None and policy is None:
        raise ConfigError("say --thing, --policy, or both")
    if thing is not None and not arguments.serial:
        raise ConfigError("--thing is of one device: name its SERIAL")

    def remap(store: AdminStore, serial: bytes) -> None:
        other = None if thing is None else _mapped(store, store.show_device(serial).product, thing)
        store.remap(serial, thing=thing, policy=policy)
        _warn(serial, thing, other)

    return bulk.run(arguments, "set", remap)


def _show(arguments: argparse.Namespace) -> Exit:
    with admin_store(config.load(arguments.config)) as store:
        record = store.show_device(arguments.serial.encode())
    if arguments.json:
        print_json(document(record))
    else:
        print_history(record)
    return Exit.DONE


def _disable(arguments: argparse.Namespace) -> Exit:
    return _set_disabled(arguments, True)


def _enable(arguments: argparse.Namespace) -> Exit:
    return _set_disabled(arguments, False)


def _set_disabled(arguments: argparse.Namespace, disabled: bool) -> Exit:
    with deciding_store(config.load(arguments.config)) as store:
        store.set_disabled(arguments.serial.encode(), disabled)
    return Exit.DONE


def _retry(arguments: argparse.Namespace) -> Exit:
    return bulk.run(arguments, "retry", lambda store, serial: store.retry(serial), state=State.FAILED)


def _reissue(arguments: argparse.Namespace) -> Exit:
    return bulk.run(arguments, "reissue", lambda store, serial: store.open_window(serial, arguments.window_s))


def _revoke(arguments: argparse.Namespace) -> Exit:
    return bulk.run(arguments, "revoke", lambda store, serial: store.revoke(serial))


def _history(arguments: argparse.Namespace) -> Exit:
    with open_database(config.load(arguments.config)) as database:
        check_schema(database)
        lines = AuditRows(database).lines(arguments.serial.encode())
        if lines is None:
            raise Refused(f"there is no device {arguments.serial!r}; see `cvmd devices list`")
        events = timeline(AdminStore(database).show_device(arguments.serial.encode()), lines)
    if arguments.json:
        print_json(events)
    else:
        columns = ["at", "event", "detail", "by"]
        print_table(columns, [[event[column] for column in columns] for event in events])
    return Exit.DONE
