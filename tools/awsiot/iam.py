"""Strict mode: an IAM policy, by which every call to AWS IoT is judged before it has any effect."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from tools.awsiot.errors import refusal
from tools.awsiot.model import Params
from tools.awsiot.names import Names

CALLER: ContextVar[str] = ContextVar("caller")
"""The ARN of who sent the request at hand."""

# Operation → the argument that names what it is asked of, and of which kind that is (AWS's Service Authorization
# Reference); an ARN is its own name. An operation that is not here is asked of "*".
_RESOURCES = {
    **dict.fromkeys(("AttachPolicy", "DetachPolicy", "ListAttachedPolicies"), ("target", "")),
    **dict.fromkeys(("AttachThingPrincipal", "DetachThingPrincipal"), ("principal", "")),
    **dict.fromkeys(("DescribeCertificate", "UpdateCertificate", "DeleteCertificate"), ("certificateId", "cert")),
    **dict.fromkeys(("GetPolicy", "CreatePolicy", "DeletePolicy", "ListTargetsForPolicy"), ("policyName", "policy")),
    **dict.fromkeys(("DescribeThing", "CreateThing", "DeleteThing", "ListThingPrincipals"), ("thingName", "thing")),
}
_UNDERSTOOD = {"Sid", "Effect", "Action", "Resource"}


class Iam:
    """A policy document, or None: everything is allowed. Raises ValueError for one that it cannot judge by."""

    def __init__(self, document: object, names: Names) -> None:
        self._names = names
        self._statements = None if document is None else _statements(document)

    def admit(self, operation: str, params: Params) -> None:
        """Raises AccessDeniedException, in AWS's words. `operation` is one of AWS IoT."""
        if self._statements is None:
            return
        action, resource = f"iot:{operation}", self._resource(operation, params)
        effects = {
            each["Effect"]
            for each in self._statements
            if _matches(each["Action"], action, re.IGNORECASE) and _matches(each["Resource"], resource)
        }
        if effects == {"Allow"}:
            return
        why = f"because no identity-based policy allows the {action} action"
        if effects:
            why = "with an explicit deny in an identity-based policy"
        who = f"User: {CALLER.get()} is not authorized to perform: {action} on resource: {resource}"
        raise refusal("AccessDeniedException", f"{who} {why}")

    def _resource(self, operation: str, params: Params) -> str:
        argument, kind = _RESOURCES.get(operation, ("", ""))
        if not argument:
            return "*"
        return self._names.arn(kind, params[argument]) if kind else str(params[argument])


def _statements(document: object) -> list[Mapping[str, Any]]:
    statements = document.get("Statement") if isinstance(document, dict) else None
    if not isinstance(statements, list):
        raise ValueError("an IAM policy is an object with a list Statement")
    for each in statements:
        if not isinstance(each, dict) or not {"Effect", "Action", "Resource"} <= each.keys() <= _UNDERSTOOD:
            raise ValueError(f"a statement has of {', '.join(sorted(_UNDERSTOOD))} all but Sid, and nothing else")
        if each["Effect"] not in ("Allow", "Deny"):
            raise ValueError("an Effect is Allow or Deny")
    return statements


def _matches(patterns: str | list[str], value: str, flags: int = 0) -> bool:
    """Of IAM's patterns: `*` is any text, `?` one letter."""
    of_any = [patterns] if isinstance(patterns, str) else patterns
    return any(re.fullmatch(re.escape(it).replace(r"\*", ".*").replace(r"\?", "."), value, flags) for it in of_any)
