"""Who a caller is, by the auth of its product: what its PROOF is checked with, and why it may be refused.

`token` and `derived` prove a secret. `serial` proves nothing, so the operator says from where, or until when, such
devices may call. Whoever is refused hears the one constant AUTH (SPEC.md 12.2); the log has the reason.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cvmd import networks
from cvmd.model import US, Access, Auth, Product, Secret, View
from cvmd.ports import Sealing
from cvmd.seals import unseal_auth, unseal_token

_DECOY_SIZE: Final = 32


class Denial(StrEnum):
    """Why a PROOF was refused: for the log alone."""

    UNKNOWN_SERIAL = "unknown-serial"
    DISABLED = "disabled"
    WRONG_TOKEN = "wrong-token"
    TOKEN_USED = "token-used"
    NOT_IN_NETWORK = "not-in-network"
    WINDOW_CLOSED = "window-closed"

    @property
    def reason(self) -> str:
        """For the operator: what is wrong, and what mends it."""
        return _REASONS[self]


_REASONS: Final = {
    Denial.UNKNOWN_SERIAL: "no such serial: import it with `cvmd devices add`",
    Denial.DISABLED: "the device is disabled: `cvmd devices enable` lets it call again",
    Denial.WRONG_TOKEN: "wrong token",
    Denial.TOKEN_USED: "auth serial: the device has used a token, and its product has none",
    Denial.NOT_IN_NETWORK: "auth serial: in no source network, and no window is open: see `cvmd products set`",
    Denial.WINDOW_CLOSED: "auth serial: no window is open: `cvmd products set --window` opens one",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a PROOF is checked with. Not `known`: any random token, so that the same work is done (invariant 8)."""

    token: Secret
    known: bool
    denial: Denial
    """Why, if the PROOF is refused."""
    grounds: str = ""
    """For the audit: why a device that proves nothing was let in."""


def credentials(view: View | None, serial: bytes, source: str, sealing: Sealing) -> Credentials:
    """Of whoever names `serial` from the address `source`. One unsealing and one HMAC whoever it is.

    Raises SealError where a row was sealed elsewhere, under another master key, or changed without it.
    """
    secret = _unsealed(view, serial, sealing)
    derived = Secret(hmac.digest(secret.reveal(), serial, "sha256"))
    if view is None:
        return Credentials(secret, False, Denial.UNKNOWN_SERIAL)
    token = derived if view.product.auth is Auth.DERIVED else secret
    if view.device.disabled:
        return Credentials(token, False, Denial.DISABLED)
    if view.product.auth is Auth.SERIAL:
        return _unproven(view, source)
    return Credentials(token, True, Denial.WRONG_TOKEN)


def _unsealed(view: View | None, serial: bytes, sealing: Sealing) -> Secret:
    """The secret that the product's auth rests on."""
    if view is None:
        return sealing.unseal_decoy()
    if view.product.auth is Auth.TOKEN:
        return unseal_token(view.device.sealed_token, serial, sealing)
    return unseal_auth(view.product, view.access, sealing)


def _unproven(view: View, source: str) -> Credentials:
    """The empty token of auth `serial`, for a caller from a source network or while the window is open."""
    access, nothing = view.access, Secret(b"")
    if access.source_networks is not None:
        network = networks.containing(access.source_networks, source)
        if network is not None:
            return Credentials(nothing, True, Denial.TOKEN_USED, f"from {source} in {network}")
    if _window_open(access, view.now_us):
        until = datetime.fromtimestamp((access.window_until_us or 0) // US, UTC).isoformat()
        return Credentials(nothing, True, Denial.TOKEN_USED, f"from {source}, window until {until}")
    denial = Denial.WINDOW_CLOSED if access.source_networks is None else Denial.NOT_IN_NETWORK
    return Credentials(Secret(os.urandom(_DECOY_SIZE)), False, denial)


def _window_open(access: Access, now_us: int) -> bool:
    return access.window_until_us is not None and now_us < access.window_until_us


def may_have_server_key(view: View) -> bool:
    """Whether a key that is made here may go to the devices of this product at all."""
    return view.product.auth is not Auth.SERIAL or view.access.allow_server_keys


def problems(product: Product, access: Access, now_us: int) -> Iterator[str]:
    """What contradicts itself in a product's rules or is dangerous, as `what: what to do`; nothing: all is well."""
    if product.auth is Auth.SERIAL:
        yield from _problems_of_serial(product, access, now_us)
        return
    if access.source_networks is not None or _window_open(access, now_us) or access.allow_server_keys:
        yield (
            f"source networks, window and allow-server-keys have no effect under auth {product.auth}, whose devices "
            "prove themselves from anywhere: take them away, or set --auth serial"
        )
    if product.auth is Auth.DERIVED and not access.sealed_auth:
        yield "auth derived without a product key, so no device can be vended: --key-out makes one"


def _problems_of_serial(product: Product, access: Access, now_us: int) -> Iterator[str]:
    if access.source_networks is None and not _window_open(access, now_us):
        yield "no device of auth serial may call now: say --source-networks, or open a window with --window"
    for network in networks.parse(access.source_networks) if access.source_networks else ():
        if not network.prefixlen:
            yield f"devices of auth serial may call from {network}, which is everybody: name their own networks"
    if product.key_source.makes_key and not access.allow_server_keys:
        yield (
            f"auth serial refuses keys made here (CHANNEL), and key source {product.key_source} makes them here: "
            "prefer --key-source device-csr; --allow-server-keys lets them go to whoever names a serial"
        )
    elif product.key_source.makes_key:
        yield (
            "whoever names a listed serial gets its certificate and its key: unless the line is safe, take "
            "--no-allow-server-keys and --key-source device-csr"
        )
    if product.reissue_limit != 0:
        yield (
            "whoever names a serial of auth serial replaces the certificate that its device uses: prefer "
            "--reissue-limit 0, and `cvmd devices reissue` where one is needed"
        )
