"""One account: its operations by name, what it holds, and what it was asked."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from botocore import xform_name

from tools.awsiot.attachments import AttachmentOperations
from tools.awsiot.authority import Authority, RsaKeys
from tools.awsiot.certificates import CertificateOperations
from tools.awsiot.errors import ServiceError
from tools.awsiot.names import Names
from tools.awsiot.registry import RegistryOperations
from tools.awsiot.store import Certificate, Store
from tools.awsiot.sts import StsOperations


class Account:
    """All that a reset forgets. `counters[operation][outcome]` counts the calls."""

    def __init__(self, names: Names, authority: Authority, keys: RsaKeys, sts: StsOperations, lag_s: float) -> None:
        self._store = Store(lag_s)
        self.registry = RegistryOperations(self._store, names)
        self._parts = (
            CertificateOperations(self._store, names, authority, keys),
            AttachmentOperations(self._store, names),
            self.registry,
            sts,
        )
        self.counters: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def operation(self, name: str) -> Callable[..., Any]:
        """What does the operation. Raises NotImplemented, 501, for one that only the real AWS IoT has."""
        for part in self._parts:
            found = getattr(part, xform_name(name), None)
            if found:
                return found  # type: ignore[no-any-return]  # a bound method of ours, found by name
        raise ServiceError("NotImplemented", f"the stand-in has no {name}: see tools/awsiot/README.md", 501)

    def state(self) -> dict[str, Any]:
        """All there is, as JSON, without keys. A change that `lag_s` still hides is in it."""
        return {
            "certificates": [
                _certificate(each)
                | {
                    "things": self._store.thing_links.settled_names(each.id),
                    "policies": self._store.policy_links.settled_names(each.id),
                }
                for each in self._store.certificates
            ],
            "deleted": [_certificate(each) for each in self._store.deleted],
            "things": [thing.name for thing in self._store.things],
            "policies": [policy.name for policy in self._store.policies],
        }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "id": certificate.id,
        "arn": certificate.arn,
        "status": certificate.status,
        "created_at": certificate.created_at,
        "history": certificate.history,
    }
