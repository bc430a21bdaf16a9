"""Rows to the words of cvmd.model: the columns that each takes, in the order in which it is built.

Every column costs the driver some microseconds, so a query names what it needs and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Label

from cvmd.model import (
    Access,
    Account,
    Auth,
    Certificate,
    CertificateStatus,
    Device,
    Fault,
    Issuance,
    KeySource,
    Product,
    Reason,
    State,
)
from cvmd.store.schema import accounts, certificates, devices, issuances, products

Columns = Sequence[Any]
"""Of one row, positional."""

ACCOUNT = [
    accounts.c.id, accounts.c.name, accounts.c.region, accounts.c.endpoint_url, accounts.c.data_endpoint,
    accounts.c.root_ca, accounts.c.creates_per_s, accounts.c.profile, accounts.c.role_arn, accounts.c.external_id,
    accounts.c.sts_endpoint_url,
]  # fmt: skip

PRODUCT = [
    products.c.id, products.c.name, products.c.auth, products.c.key_source, products.c.reissue_limit,
    products.c.offer_lifetime_s, products.c.grace_s, products.c.connect_after_s, products.c.share_things,
]  # fmt: skip

ACCESS = [
    products.c.sealed_auth, products.c.allow_server_keys, products.c.source_networks, products.c.window_until_us,
]  # fmt: skip

DEVICE = [
    devices.c.id, devices.c.serial, devices.c.thing, devices.c.policy, devices.c.disabled, devices.c.generation,
    devices.c.activations, devices.c.reissue_until_us, devices.c.sealed_token,
]  # fmt: skip

ISSUANCE = [
    issuances.c.id, issuances.c.uid, issuances.c.device_id, issuances.c.generation, issuances.c.state,
    issuances.c.claim, issuances.c.lease_until_us, issuances.c.not_before_us, issuances.c.attempts,
    issuances.c.unknown_attempts, issuances.c.attempt_open, issuances.c.resume_state, issuances.c.fault,
    issuances.c.key_source, issuances.c.public_key_id, issuances.c.sealed_csr, issuances.c.certificate_id,
    issuances.c.expires_us, issuances.c.updated_us, issuances.c.sealed_escrow,
]  # fmt: skip
"""What `issuance` takes, but serial, thing and policy."""

CERTIFICATE = [
    certificates.c.certificate_id, certificates.c.issuance_id, certificates.c.device_id, certificates.c.arn,
    certificates.c.cert_der, certificates.c.thing, certificates.c.policy, certificates.c.status,
    certificates.c.reason,
]  # fmt: skip


def labelled(*groups: Sequence[Any]) -> list[Label[Any]]:
    """The columns of the groups under names that do not clash, for a SELECT that is read by position."""
    columns = [column for group in groups for column in group]
    return [column.label(f"c{number}") for number, column in enumerate(columns)]


def account(row: Columns) -> Account:
    """Of ACCOUNT."""
    return Account(*row)


def product(row: Columns, of_account: Account) -> Product:
    """Of PRODUCT."""
    number, name, auth, key_source, reissue_limit, offer_lifetime_s, grace_s, connect_after_s, share_things = row
    return Product(
        number, name, of_account, Auth(auth), KeySource(key_source), reissue_limit, offer_lifetime_s, grace_s,
        connect_after_s, bool(share_things),
    )  # fmt: skip


def access(row: Columns) -> Access:
    """Of ACCESS."""
    sealed_auth, allow_server_keys, source_networks, window_until_us = row
    return Access(sealed_auth, bool(allow_server_keys), source_networks, window_until_us)


def device(row: Columns) -> Device:
    """Of DEVICE."""
    number, serial, thing, policy, disabled, *rest = row
    return Device(number, serial, thing, policy, bool(disabled), *rest)


def certificate(row: Columns) -> Certificate:
    """Of CERTIFICATE."""
    certificate_id, issuance_id, device_id, arn, cert_der, thing, policy, status, reason = row
    return Certificate(
        certificate_id, issuance_id, device_id, arn, cert_der, thing, policy, CertificateStatus(status),
        None if reason is None else Reason(reason),
    )  # fmt: skip


def issuance(row: Columns, serial: bytes, thing: str, policy: str, of_product: Product) -> Issuance:
    """Of ISSUANCE, with what its worker needs of the device and the product."""
    (
        number, uid, device_id, generation, state, claim, lease_until_us, not_before_us, attempts, unknown_attempts,
        attempt_open, resume_state, fault, key_source, public_key_id, sealed_csr, certificate_id, expires_us,
        updated_us, sealed_escrow,
    ) = row  # fmt: skip
    return Issuance(
        id=number, uid=uid, device_id=device_id, serial=serial, generation=generation, state=State(state),
        claim=claim, lease_until_us=lease_until_us,
        # A claimed row's says when its lease ends (schema.py), which is not what the row waits for.
        not_before_us=0 if claim is not None or not_before_us is None else not_before_us, attempts=attempts,
        unknown_attempts=unknown_attempts, attempt_open=bool(attempt_open),
        resume_state=None if resume_state is None else State(resume_state),
        fault=None if fault is None else Fault(fault), key_source=KeySource(key_source),
        public_key_id=public_key_id, certificate_id=certificate_id, thing=thing, policy=policy,
        expires_us=expires_us, updated_us=updated_us, account=of_product.account, product=of_product,
        sealed_csr=sealed_csr, sealed_escrow=sealed_escrow,
    )  # fmt: skip
