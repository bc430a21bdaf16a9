"""The operations on things, policies and endpoints. A public method is the operation of its name in boto3."""

import json
import time
import uuid
from typing import Any

from tools.awsiot.certificates import PAGE
from tools.awsiot.errors import refusal
from tools.awsiot.model import Params
from tools.awsiot.names import Names
from tools.awsiot.store import Policy, Store, Thing

ANY_DOCUMENT = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
    }
)


class RegistryOperations:
    def __init__(self, store: Store, names: Names) -> None:
        self._store = store
        self._names = names

    def create_thing(self, p: Params) -> dict[str, Any]:
        name = p["thingName"]
        type_name = p.get("thingTypeName")
        attributes = dict(p.get("attributePayload", {}).get("attributes", {}))
        thing = self._store.things.get(name)
        if thing is None:
            thing = Thing(name, self._names.arn("thing", name), str(uuid.uuid4()), type_name, attributes)
            self._store.things.add(name, thing)
        elif (thing.type_name, thing.attributes) != (type_name, attributes):
            raise refusal("ResourceAlreadyExistsException", f"Thing {name} already exists with another configuration")
        return {"thingName": thing.name, "thingArn": thing.arn, "thingId": thing.id}

    def describe_thing(self, p: Params) -> dict[str, Any]:
        thing = self._store.thing(p["thingName"])
        return _thing(thing) | {"thingId": thing.id, "defaultClientId": thing.name}

    def list_things(self, p: Params) -> dict[str, Any]:
        found, token = self._store.things.page(p.get("maxResults", PAGE), p.get("nextToken"))
        return {"things": [_thing(thing) for thing in found]} | ({"nextToken": token} if token else {})

    def delete_thing(self, p: Params) -> dict[str, Any]:
        name = p["thingName"]
        if self._store.thing_links.certificates(name):
            raise refusal("InvalidRequestException", f"Thing {name} is still attached to a principal")
        if self._store.things.get(name):
            self._store.things.remove(name)
        return {}

    def create_policy(self, p: Params) -> dict[str, Any]:
        name = p["policyName"]
        if self._store.policies.get(name):
            raise refusal("ResourceAlreadyExistsException", f"Policy {name} already exists")
        try:
            json.loads(p["policyDocument"])
        except ValueError as error:
            raise refusal("MalformedPolicyException", "The policy document is not JSON") from error
        policy = Policy(name, self._names.arn("policy", name), p["policyDocument"], time.time())
        self._store.policies.add(name, policy)
        return _policy(policy) | {"policyDocument": policy.document, "policyVersionId": "1"}

    def get_policy(self, p: Params) -> dict[str, Any]:
        policy = self._store.policy(p["policyName"])
        return _policy(policy) | {
            "policyDocument": policy.document,
            "defaultVersionId": "1",
            "creationDate": policy.created_at,
            "lastModifiedDate": policy.created_at,
            "generationId": str(uuid.uuid5(uuid.NAMESPACE_OID, policy.arn)),
        }

    def list_policies(self, p: Params) -> dict[str, Any]:
        found, marker = self._store.policies.page(
            p.get("pageSize", PAGE), p.get("marker"), p.get("ascendingOrder", False)
        )
        answer: dict[str, Any] = {"policies": [_policy(policy) for policy in found]}
        return answer | ({"nextMarker": marker} if marker else {})

    def delete_policy(self, p: Params) -> None:
        policy = self._store.policy(p["policyName"])
        if self._store.policy_links.certificates(policy.name):
            raise refusal("DeleteConflictException", f"Policy {policy.name} is still attached")
        self._store.policies.remove(policy.name)

    def describe_endpoint(self, p: Params) -> dict[str, Any]:
        return {"endpointAddress": self._names.host(p.get("endpointType", "iot:Data"))}

    def seed_things(self, names: list[str]) -> int:
        """Create the things that are not there yet; how many."""
        missing = [name for name in dict.fromkeys(names) if not self._store.things.get(name)]
        for name in missing:
            self.create_thing({"thingName": name})
        return len(missing)

    def seed_policies(self, names: list[str]) -> int:
        """Create the policies that are not there yet, each allowing everything; how many."""
        missing = [name for name in dict.fromkeys(names) if not self._store.policies.get(name)]
        for name in missing:
            self.create_policy({"policyName": name, "policyDocument": ANY_DOCUMENT})
        return len(missing)


def _thing(thing: Thing) -> dict[str, Any]:
    about: dict[str, Any] = {
        "thingName": thing.name,
        "thingArn": thing.arn,
        "attributes": thing.attributes,
        "version": 1,
    }
    return about | ({"thingTypeName": thing.type_name} if thing.type_name else {})


def _policy(policy: Policy) -> dict[str, Any]:
    return {"policyName": policy.name, "policyArn": policy.arn}
