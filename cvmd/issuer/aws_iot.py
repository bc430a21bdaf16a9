"""AWS IoT's control plane on boto3 (implements ports.Issuer): the calls that make and attach a certificate."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.connection import AwsSettings as AwsSettings
from cvmd.issuer.connection import unbelievable
from cvmd.issuer.faults import clean
from cvmd.issuer.inventory import CERTIFICATE_ARN, PAGE, Inventory
from cvmd.issuer.keys import certificate_key_id, csr_key_id, der_to_pem, pem_to_der, rsa_key_id
from cvmd.model import Account, Created, Secret

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_HOST = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))+")


class AwsIot(Inventory):
    """All of ports.Issuer. Safe to share between threads."""

    def create(self, account: Account, csr_der: bytes) -> Created:
        """One POST of CreateCertificateFromCsr, INACTIVE, and no byte of the answer believed unseen."""
        operation = "CreateCertificateFromCsr"
        key_id = csr_key_id(csr_der)  # read before it is sent: no certificate is made of what cannot be checked
        csr_pem = der_to_pem(csr_der, "CERTIFICATE REQUEST")
        answer = self._call(
            operation,
            account,
            lambda iot: iot.create_certificate_from_csr(certificateSigningRequest=csr_pem, setAsActive=False),
        )
        created, certified = _created(operation, answer)
        if certified != key_id:
            raise _mismatch(operation, created.certificate_id.hex(), "it is for another key than the CSR's")
        return created

    def create_with_key(self, account: Account) -> Created:
        """One POST of CreateKeysAndCertificate, INACTIVE: AWS makes an RSA-2048 key, and gives it this once."""
        operation = "CreateKeysAndCertificate"
        answer = self._call(operation, account, lambda iot: iot.create_keys_and_certificate(setAsActive=False))
        created, certified = _created(operation, answer)
        named = created.certificate_id.hex()
        try:
            key_der = Secret(pem_to_der(answer["keyPair"]["PrivateKey"], "RSA PRIVATE KEY"))
            proven = rsa_key_id(key_der)
        except (KeyError, TypeError, ValueError) as error:
            raise unbelievable(operation, f"certificate {named}: {clean(error)}") from None
        if proven != certified:
            raise _mismatch(operation, named, "it is for another key than the one beside it")
        return replace(created, key_der=key_der)

    def attach_policy(self, account: Account, policy: str, arn: str) -> None:
        """AttachPolicy. Safe to repeat."""
        self._attach(
            "AttachPolicy", account, arn, IssuerFault.POLICY_MISSING,
            lambda iot: iot.attach_policy(policyName=policy, target=arn),
        )  # fmt: skip

    def attach_thing(self, account: Account, thing: str, arn: str) -> None:
        """AttachThingPrincipal. Safe to repeat."""
        self._attach(
            "AttachThingPrincipal", account, arn, IssuerFault.THING_MISSING,
            lambda iot: iot.attach_thing_principal(thingName=thing, principal=arn),
        )  # fmt: skip

    def thing_principals(self, account: Account, thing: str) -> Sequence[str]:
        """ListThingPrincipals, all pages: ARNs."""
        return self._strings(
            account, "ListThingPrincipals", "principals", "nextToken", IssuerFault.THING_MISSING,
            lambda iot, page: iot.list_thing_principals(thingName=thing, maxResults=PAGE, **page),
        )  # fmt: skip

    def certificate_is_active(self, account: Account, certificate_id: bytes) -> bool:
        """DescribeCertificate's status; False also where there is no such certificate."""
        return self._certificate_status(account, certificate_id.hex()) == "ACTIVE"

    def activate(self, account: Account, certificate_id: bytes) -> None:
        """UpdateCertificate ACTIVE. Idempotent."""
        self._update(account, certificate_id, "ACTIVE")

    def describe_endpoint(self, account: Account) -> str:
        """DescribeEndpoint for iot:Data-ATS: a host name."""
        operation = "DescribeEndpoint"
        answer = self._call(operation, account, lambda iot: iot.describe_endpoint(endpointType="iot:Data-ATS"))
        endpoint = answer.get("endpointAddress")
        if not isinstance(endpoint, str) or not _HOST.fullmatch(endpoint):
            raise unbelievable(operation, "the answer has no host name")
        return endpoint

    def policy_exists(self, account: Account, policy: str) -> bool:
        """GetPolicy."""
        try:
            self._call(
                "GetPolicy", account, lambda iot: iot.get_policy(policyName=policy), missing=IssuerFault.POLICY_MISSING
            )
        except IssuerError as error:
            if error.fault is IssuerFault.POLICY_MISSING:
                return False
            raise
        return True

    def _attach(
        self,
        operation: str,
        account: Account,
        arn: str,
        missing: IssuerFault,
        call: Callable[[IoTClient], object],
    ) -> None:
        """Either end of an attachment can be missing; AWS's message is no contract, so ask for the other."""
        try:
            self._call(operation, account, call, missing=missing)
        except IssuerError as error:
            if error.fault is not missing:
                raise
            if self._certificate_status(account, arn.rpartition("/")[2]) is not None:
                raise
            what = f"AWS IoT has no {arn}"
            raise IssuerError(IssuerFault.CERTIFICATE_MISSING, operation, error.code, what) from None


def _created(operation: str, answer: dict[str, Any]) -> tuple[Created, bytes]:
    """The answer of a Create, checked, and the public key id of its certificate. Raises IssuerError: UNKNOWN if it
    cannot be read, KEY_MISMATCH if what it says is not so; either names the certificate, which may exist, as far as the
    answer does, and the attempt keeps that text (store/inventory.py)."""
    named = answer.get("certificateId")
    try:
        arn, pem = answer["certificateArn"], answer["certificatePem"]
        found = CERTIFICATE_ARN.fullmatch(arn)
        if found is None or found[1] != named:
            raise ValueError("the ARN is not that of the certificate id")
        cert_der = pem_to_der(pem, "CERTIFICATE")
        cert_key_id = certificate_key_id(cert_der)
    except (KeyError, TypeError, ValueError) as error:
        raise unbelievable(operation, f"certificate {clean(named)}: {clean(error)}") from None
    digest = hashlib.sha256(cert_der).digest()
    if digest.hex() != named:
        raise _mismatch(operation, named, "the id is not the SHA-256 of the certificate")
    return Created(digest, arn, cert_der), cert_key_id


def _mismatch(operation: str, named: str, what: str) -> IssuerError:
    return IssuerError(IssuerFault.KEY_MISMATCH, operation, "KeyMismatch", f"certificate {named}: {what}")
