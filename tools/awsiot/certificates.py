"""The operations on certificates. Each public method is the operation of that name in boto3."""

import time
import uuid
from typing import Any

from cryptography.hazmat.primitives import serialization

from tools.awsiot.authority import SUBJECT, Authority, Issued, RsaKeys, read_csr
from tools.awsiot.errors import refusal
from tools.awsiot.model import Params
from tools.awsiot.names import Names
from tools.awsiot.store import Certificate, Store

PAGE = 25  # AWS's default page size, for whoever names none
SETTABLE = ("ACTIVE", "INACTIVE", "REVOKED")  # the other words of the model are the service's own


class CertificateOperations:
    def __init__(self, store: Store, names: Names, authority: Authority, keys: RsaKeys) -> None:
        self._store = store
        self._names = names
        self._authority = authority
        self._keys = keys

    async def create_keys_and_certificate(self, p: Params) -> dict[str, Any]:
        key = await self._keys.take()
        answer = self._record(self._authority.issue(SUBJECT, key.public_key()), p)
        public_pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        pair = {"PublicKey": public_pem.decode("ascii"), "PrivateKey": private_pem.decode("ascii")}
        return answer | {"keyPair": pair}

    def create_certificate_from_csr(self, p: Params) -> dict[str, Any]:
        subject, public_key = read_csr(p["certificateSigningRequest"])
        return self._record(self._authority.issue(subject, public_key), p)

    def describe_certificate(self, p: Params) -> dict[str, Any]:
        certificate = self._store.certificate(p["certificateId"])
        return {
            "certificateDescription": {
                "certificateArn": certificate.arn,
                "certificateId": certificate.id,
                "status": certificate.status,
                "certificatePem": certificate.pem,
                "ownedBy": self._names.account_id,
                "creationDate": certificate.created_at,
                "lastModifiedDate": certificate.modified_at,
                "customerVersion": certificate.version,
                "transferData": {},
                "generationId": str(uuid.uuid5(uuid.NAMESPACE_OID, certificate.id)),
                "validity": {
                    "notBefore": certificate.not_before.timestamp(),
                    "notAfter": certificate.not_after.timestamp(),
                },
                "certificateMode": "DEFAULT",
            }
        }

    def list_certificates(self, p: Params) -> dict[str, Any]:
        found, marker = self._store.certificates.page(
            p.get("pageSize", PAGE), p.get("marker"), p.get("ascendingOrder", False)
        )
        answer: dict[str, Any] = {
            "certificates": [
                {
                    "certificateArn": certificate.arn,
                    "certificateId": certificate.id,
                    "status": certificate.status,
                    "certificateMode": "DEFAULT",
                    "creationDate": certificate.created_at,
                }
                for certificate in found
            ]
        }
        return answer | ({"nextMarker": marker} if marker else {})

    def update_certificate(self, p: Params) -> None:
        certificate = self._store.certificate(p["certificateId"])
        status = p["newStatus"]
        if status not in SETTABLE:
            raise refusal("InvalidRequestException", f"newStatus must be one of {', '.join(SETTABLE)}")
        if status == certificate.status:
            return
        if certificate.status == "REVOKED":
            raise refusal("CertificateStateException", "The certificate is REVOKED, which is final")
        certificate.status = status
        certificate.modified_at = time.time()
        certificate.version += 1
        self._store.note(certificate, "status", status)

    def delete_certificate(self, p: Params) -> None:
        certificate = self._store.certificate(p["certificateId"])
        if certificate.status == "ACTIVE":
            raise refusal("CertificateStateException", "An ACTIVE certificate cannot be deleted")
        if self._store.thing_links.names(certificate.id):
            raise refusal("DeleteConflictException", "Things must be detached before deletion")
        if self._store.policy_links.names(certificate.id) and not p.get("forceDelete", False):
            raise refusal("DeleteConflictException", "Policies must be detached before deletion")
        self._store.delete(certificate)

    def _record(self, issued: Issued, p: Params) -> dict[str, Any]:
        now = time.time()
        certificate = Certificate(
            id=issued.id,
            arn=self._names.arn("cert", issued.id),
            pem=issued.pem,
            status="ACTIVE" if p.get("setAsActive", False) else "INACTIVE",
            not_before=issued.not_before,
            not_after=issued.not_after,
            created_at=now,
            modified_at=now,
        )
        self._store.certificates.add(certificate.id, certificate)
        self._store.note(certificate, "status", certificate.status)
        return {
            "certificateArn": certificate.arn,
            "certificateId": certificate.id,
            "certificatePem": certificate.pem,
        }
