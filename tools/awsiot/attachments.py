"""The operations that attach policies and things. Each public method is the operation of that name in boto3.

A target or principal is a certificate's ARN: the stand-in has no thing groups and no Cognito identities.
"""

from typing import Any

from tools.awsiot.certificates import PAGE
from tools.awsiot.errors import refusal
from tools.awsiot.model import Params
from tools.awsiot.names import Names
from tools.awsiot.store import Store, page_of

POLICIES_A_CERTIFICATE = 10


class AttachmentOperations:
    def __init__(self, store: Store, names: Names) -> None:
        self._store = store
        self._names = names

    def attach_policy(self, p: Params) -> None:
        certificate = self._store.certificate(self._names.certificate_id(p["target"]))
        policy = self._store.policy(p["policyName"])
        attached = self._store.policy_links.settled_names(certificate.id)
        if policy.name not in attached and len(attached) >= POLICIES_A_CERTIFICATE:
            raise refusal("LimitExceededException", f"A certificate has at most {POLICIES_A_CERTIFICATE} policies")
        if self._store.policy_links.attach(certificate.id, policy.name):
            self._store.note(certificate, "attached", f"policy/{policy.name}")

    def detach_policy(self, p: Params) -> None:
        # The model declares no ResourceNotFoundException: what is not attached is detached.
        certificate = self._store.certificates.get(self._names.certificate_id(p["target"]))
        if certificate and self._store.policy_links.detach(certificate.id, p["policyName"]):
            self._store.note(certificate, "detached", f"policy/{p['policyName']}")

    def list_attached_policies(self, p: Params) -> dict[str, Any]:
        certificate = self._store.certificate(self._names.certificate_id(p["target"]))
        attached = self._store.policy_links.names(certificate.id)
        found, marker = page_of(attached, p.get("pageSize", PAGE), p.get("marker"))
        answer: dict[str, Any] = {
            "policies": [{"policyName": name, "policyArn": self._names.arn("policy", name)} for name in found]
        }
        return answer | ({"nextMarker": marker} if marker else {})

    def list_targets_for_policy(self, p: Params) -> dict[str, Any]:
        policy = self._store.policy(p["policyName"])
        attached = self._store.policy_links.certificates(policy.name)
        found, marker = page_of(attached, p.get("pageSize", PAGE), p.get("marker"))
        answer: dict[str, Any] = {"targets": [self._names.arn("cert", each) for each in found]}
        return answer | ({"nextMarker": marker} if marker else {})

    def attach_thing_principal(self, p: Params) -> dict[str, Any]:
        if p.get("thingPrincipalType") == "EXCLUSIVE_THING":
            raise refusal("InvalidRequestException", "the stand-in has no EXCLUSIVE_THING: leave it out")
        thing = self._store.thing(p["thingName"])
        certificate = self._store.certificate(self._names.certificate_id(p["principal"]))
        if self._store.thing_links.attach(certificate.id, thing.name):
            self._store.note(certificate, "attached", f"thing/{thing.name}")
        return {}

    def detach_thing_principal(self, p: Params) -> dict[str, Any]:
        thing = self._store.thing(p["thingName"])
        certificate = self._store.certificate(self._names.certificate_id(p["principal"]))
        if self._store.thing_links.detach(certificate.id, thing.name):
            self._store.note(certificate, "detached", f"thing/{thing.name}")
        return {}

    def list_thing_principals(self, p: Params) -> dict[str, Any]:
        thing = self._store.thing(p["thingName"])
        attached = self._store.thing_links.certificates(thing.name)
        found, token = page_of(attached, p.get("maxResults", PAGE), p.get("nextToken"))
        answer: dict[str, Any] = {"principals": [self._names.arn("cert", each) for each in found]}
        return answer | ({"nextToken": token} if token else {})

    def list_principal_things(self, p: Params) -> dict[str, Any]:
        certificate = self._store.certificate(self._names.certificate_id(p["principal"]))
        attached = self._store.thing_links.names(certificate.id)
        found, token = page_of(attached, p.get("maxResults", PAGE), p.get("nextToken"))
        return {"things": found} | ({"nextToken": token} if token else {})
