"""What AWS IoT has, and the ways out of it: lists, descriptions, detaching, deleting (part of ports.Issuer).

Each way out may be repeated: what is gone, or not attached any more, is done.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.connection import Connection, unbelievable
from cvmd.issuer.faults import clean
from cvmd.issuer.keys import certificate_key_id, pem_to_der
from cvmd.model import Account, DescribedCertificate, ListedCertificate

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

CERTIFICATE_ARN = re.compile(r"arn:aws[a-z-]*:iot:[a-z0-9-]+:\d{12}:cert/([0-9a-f]{64})")
T = TypeVar("T")
_Status = Literal["ACTIVE", "INACTIVE", "REVOKED"]
PAGE = 250
"""AWS's largest page."""

_MISSING = IssuerFault.CERTIFICATE_MISSING


class Inventory(Connection):
    """The calls that need no issuance."""

    def deactivate(self, account: Account, certificate_id: bytes, *, revoked: bool) -> None:
        """UpdateCertificate INACTIVE, or REVOKED, which is final. Of a certificate that is gone or REVOKED: done."""
        try:
            self._update(account, certificate_id, "REVOKED" if revoked else "INACTIVE")
        except IssuerError as error:
            if error.fault is _MISSING:
                return
            # AWS refuses to move a REVOKED certificate, and by which code is no contract.
            if error.fault not in {IssuerFault.CONFLICT, IssuerFault.REJECTED}:
                raise
            if self._certificate_status(account, certificate_id.hex()) not in {None, "REVOKED"}:
                raise

    def attached_policies(self, account: Account, arn: str) -> Sequence[str]:
        """ListAttachedPolicies, all pages: names. Of a certificate that is gone: none."""
        operation = "ListAttachedPolicies"
        found = self._gone_has_none(
            lambda: self._entries(
                account, operation, "policies", "nextMarker", "marker", _MISSING,
                lambda iot, page: iot.list_attached_policies(target=arn, pageSize=PAGE, **page),
            )
        )  # fmt: skip
        names = [each.get("policyName") if isinstance(each, dict) else None for each in found]
        return _all_strings(operation, names)

    def attached_things(self, account: Account, arn: str) -> Sequence[str]:
        """ListPrincipalThings, all pages: names. Of a certificate that is gone: none."""
        return self._gone_has_none(
            lambda: self._strings(
                account, "ListPrincipalThings", "things", "nextToken", _MISSING,
                lambda iot, page: iot.list_principal_things(principal=arn, maxResults=PAGE, **page),
            )
        )  # fmt: skip

    def detach_policy(self, account: Account, policy: str, arn: str) -> None:
        """DetachPolicy."""
        self._gone_is_done("DetachPolicy", account, lambda iot: iot.detach_policy(policyName=policy, target=arn))

    def detach_thing(self, account: Account, thing: str, arn: str) -> None:
        """DetachThingPrincipal; AWS detaches some time after it has answered."""
        self._gone_is_done(
            "DetachThingPrincipal", account, lambda iot: iot.detach_thing_principal(thingName=thing, principal=arn)
        )

    def delete(self, account: Account, certificate_id: bytes) -> None:
        """DeleteCertificate. CONFLICT while something is attached or it is ACTIVE."""
        self._gone_is_done(
            "DeleteCertificate", account, lambda iot: iot.delete_certificate(certificateId=certificate_id.hex())
        )

    def certificates(
        self, account: Account, marker: str | None = None
    ) -> tuple[Sequence[ListedCertificate], str | None]:
        """One page of ListCertificates, the oldest first, and the marker of the next; None: it was the last."""
        operation = "ListCertificates"
        more: dict[str, Any] = {} if marker is None else {"marker": marker}
        page, following = self._page(
            account, operation, "certificates", "nextMarker", IssuerFault.UNKNOWN,
            lambda iot: iot.list_certificates(pageSize=PAGE, ascendingOrder=True, **more),
        )  # fmt: skip
        return [_listed(operation, each) for each in page], following

    def describe(self, account: Account, certificate_id: bytes) -> DescribedCertificate | None:
        """DescribeCertificate; None if there is no such certificate."""
        found = self._description(account, certificate_id.hex())
        return None if found is None else _described("DescribeCertificate", found)

    def _update(
        self, account: Account, certificate_id: bytes, status: Literal["ACTIVE", "INACTIVE", "REVOKED"]
    ) -> None:
        self._call(
            "UpdateCertificate",
            account,
            lambda iot: iot.update_certificate(certificateId=certificate_id.hex(), newStatus=status),
            missing=_MISSING,
        )

    def _certificate_status(self, account: Account, certificate_id: str) -> str | None:
        """The status by DescribeCertificate, or None if there is no such certificate."""
        found = self._description(account, certificate_id)
        if found is None:
            return None
        status = found.get("status")
        if not isinstance(status, str):
            raise unbelievable("DescribeCertificate", "the answer has no status")
        return status

    def _description(self, account: Account, certificate_id: str) -> dict[str, Any] | None:
        operation = "DescribeCertificate"
        try:
            answer = self._call(
                operation, account, lambda iot: iot.describe_certificate(certificateId=certificate_id),
                missing=_MISSING,
            )  # fmt: skip
        except IssuerError as error:
            if error.fault is _MISSING:
                return None
            raise
        found = answer.get("certificateDescription")
        if not isinstance(found, dict):
            raise unbelievable(operation, "the answer has no status")
        return found

    def _gone_is_done(self, operation: str, account: Account, call: Callable[[IoTClient], object]) -> None:
        """Whichever end is missing, nothing is attached to it, and there is nothing to delete."""
        self._gone_has_none(lambda: [self._call(operation, account, call, missing=_MISSING)])

    def _gone_has_none(self, ask: Callable[[], list[T]]) -> list[T]:
        try:
            return ask()
        except IssuerError as error:
            if error.fault is not _MISSING:
                raise
            return []

    def _strings(
        self, account: Account, operation: str, member: str, token: str, missing: IssuerFault,
        call: Callable[[IoTClient, dict[str, Any]], Any],
    ) -> list[str]:  # fmt: skip
        found = self._entries(account, operation, member, token, token, missing, call)
        return _all_strings(operation, found)

    def _entries(
        self, account: Account, operation: str, member: str, next_token: str, token: str, missing: IssuerFault,
        call: Callable[[IoTClient, dict[str, Any]], Any],
    ) -> list[Any]:  # fmt: skip
        """Of all pages; `next_token` of an answer is `token` of the next request."""
        more: dict[str, Any] = {}
        found: list[Any] = []
        while True:
            page, following = self._page(account, operation, member, next_token, missing, _with(call, more))
            found += page
            if following is None:
                return found
            more = {token: following}

    def _page(
        self, account: Account, operation: str, member: str, next_token: str, missing: IssuerFault,
        call: Callable[[IoTClient], Any],
    ) -> tuple[list[Any], str | None]:  # fmt: skip
        """One page of a list, and what the next request needs to go on; None: it was the last."""
        answer = self._call(operation, account, call, missing=missing)
        page, following = answer.get(member), answer.get(next_token)
        if not isinstance(page, list) or not isinstance(following, str | None):
            raise unbelievable(operation, f"the answer has no {member}")
        return page, following or None


def _with(call: Callable[[IoTClient, dict[str, Any]], Any], more: dict[str, Any]) -> Callable[[IoTClient], Any]:
    return lambda iot: call(iot, more)


def _all_strings(operation: str, found: list[Any]) -> list[str]:
    if not all(isinstance(each, str) for each in found):
        raise unbelievable(operation, "a name in the answer is none")
    return found


def _listed(operation: str, entry: object) -> ListedCertificate:
    try:
        if not isinstance(entry, dict):
            raise TypeError("an entry is no object")
        certificate_id, arn = _identity(entry)
        return ListedCertificate(certificate_id, arn, _status(entry), _created_s(entry))
    except (KeyError, TypeError, ValueError) as error:
        raise unbelievable(operation, clean(error)) from None


def _described(operation: str, entry: dict[str, Any]) -> DescribedCertificate:
    try:
        certificate_id, arn = _identity(entry)
        cert_der = pem_to_der(entry["certificatePem"], "CERTIFICATE")
        common_name, key_id = _read(cert_der, certificate_id)
        return DescribedCertificate(
            certificate_id, arn, _status(entry), _created_s(entry), cert_der, common_name, key_id
        )
    except (KeyError, TypeError, ValueError) as error:
        raise unbelievable(operation, clean(error)) from None


def _read(cert_der: bytes, certificate_id: bytes) -> tuple[str | None, bytes]:
    """The CN and the public key id; neither of a certificate that the library cannot read and that is the one named.

    Somebody has registered it: what AWS makes can be read. An error would end every reconciliation of the account.
    """
    try:
        names = x509.load_der_x509_certificate(cert_der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if len(names) == 1 else None, certificate_key_id(cert_der)
    except Exception as error:  # what the library raises on a stranger's bytes has no common root
        if hashlib.sha256(cert_der).digest() == certificate_id:
            return None, b""
        raise ValueError(f"no X.509 certificate: {type(error).__name__}") from None


def _identity(entry: dict[str, Any]) -> tuple[bytes, str]:
    arn = entry["certificateArn"]
    found = CERTIFICATE_ARN.fullmatch(arn)
    if found is None or found[1] != entry["certificateId"]:
        raise ValueError("the ARN is not that of the certificate id")
    return bytes.fromhex(found[1]), arn


def _status(entry: dict[str, Any]) -> str:
    status = entry["status"]
    if not isinstance(status, str):
        raise ValueError("the status is no text")
    return status


def _created_s(entry: dict[str, Any]) -> float:
    created = entry["creationDate"]
    if not isinstance(created, datetime):
        raise ValueError("the creation date is none")
    return created.timestamp()
