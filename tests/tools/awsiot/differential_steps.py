"""What test_differential.py asks of the stand-in and of moto, and how it notes what they answer."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from mypy_boto3_iot import IoTClient

from tools.awsiot import AWS_QUOTAS, Settings

NO_CERTIFICATE = "arn:aws:iot:us-east-1:123456789012:cert/" + "0" * 64


@dataclass
class World:
    """One of the two, and a client of it. What a step sees goes into `seen`."""

    iot: IoTClient
    make_csr: Callable[..., str]
    seen: dict[str, object] = field(default_factory=dict)

    def attempt(self, what: str, operation: str, **arguments: object) -> None:
        """Note "ok", the error's code, or what else the operation raises."""
        try:
            getattr(self.iot, operation)(**arguments)
        except ClientError as error:
            self.seen[what] = error.response["Error"]["Code"]
        except ValueError as error:
            self.seen[what] = type(error).__name__
        else:
            self.seen[what] = "ok"

    def create(self) -> dict[str, Any]:
        return self.iot.create_keys_and_certificate(setAsActive=False)

    def policy(self, name: str) -> None:
        self.iot.create_policy(policyName=name, policyDocument="{}")

    def status(self, certificate_id: str) -> str:
        return self.iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["status"]


def csrs(world: World) -> None:
    iot, key = world.iot, ec.generate_private_key(ec.SECP256R1())
    good = world.make_csr(key, "sensor 7")
    made = iot.create_certificate_from_csr(certificateSigningRequest=good, setAsActive=True)
    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    world.seen["csr: the certificate carries its key"] = certificate.public_key() == key.public_key()
    world.seen["csr: the certificate carries its subject"] = certificate.subject.rfc4514_string()
    world.seen["csr: setAsActive=True"] = world.status(made["certificateId"])
    again = iot.create_certificate_from_csr(certificateSigningRequest=good)
    world.seen["csr: the same twice gives two"] = again["certificateId"] != made["certificateId"]
    world.seen["csr: setAsActive left out"] = world.status(again["certificateId"])
    inactive = iot.create_certificate_from_csr(certificateSigningRequest=good, setAsActive=False)
    world.seen["csr: setAsActive=False"] = world.status(inactive["certificateId"])

    broken = bytearray(x509.load_pem_x509_csr(good.encode()).public_bytes(serialization.Encoding.DER))
    broken[-1] ^= 1
    refused = {
        "tampered": x509.load_der_x509_csr(bytes(broken)).public_bytes(serialization.Encoding.PEM).decode(),
        "secp256k1": world.make_csr(ec.generate_private_key(ec.SECP256K1())),
        "RSA of 1024 bits": world.make_csr(rsa.generate_private_key(65537, 1024)),
        "garbage": "certainly not a CSR",
        "longer than 4096": good + " " * 4096,
    }
    for why, csr in refused.items():
        world.attempt(f"csr: {why}", "create_certificate_from_csr", certificateSigningRequest=csr)


def certificates(world: World) -> None:
    made = world.create()
    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    der = certificate.public_bytes(serialization.Encoding.DER)
    forms = {"DER": der, "PEM": made["certificatePem"].encode()}
    digests = {hashlib.sha256(form).hexdigest(): name for name, form in forms.items()}
    private = serialization.load_pem_private_key(made["keyPair"]["PrivateKey"].encode(), None)
    years = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days // 365
    told = world.iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
    world.seen |= {
        "certificate: its id is the SHA-256 of the": digests.get(made["certificateId"]),
        "certificate: carries the key that is given": certificate.public_key() == private.public_key(),
        "certificate: subject": certificate.subject.rfc4514_string(),
        "certificate: signed by its own key": signed_by_itself(certificate),
        "certificate: hash": certificate.signature_hash_algorithm.name,
        "certificate: ends in": "a year" if years == 1 else str(certificate.not_valid_after_utc.year),
        "certificate: bytes beside the serial's": len(der) - 1 - certificate.serial_number.bit_length() // 8,
        "certificate: described validity is its own": told["validity"]["notAfter"] == certificate.not_valid_after_utc,
        "certificate: described PEM is its own": told["certificatePem"] == made["certificatePem"],
        "certificate: ARN": made["certificateArn"].removesuffix(made["certificateId"]),
    }


def keys(world: World) -> None:
    made, again = world.create(), world.create()
    pair = made["keyPair"]
    private = serialization.load_pem_private_key(pair["PrivateKey"].encode(), None)
    public = serialization.load_pem_public_key(pair["PublicKey"].encode())
    world.seen |= {
        "keys: the private one is written as": pair["PrivateKey"].splitlines()[0],
        "keys: the public one is written as": pair["PublicKey"].splitlines()[0],
        "keys: bits": private.key_size,
        "keys: the two belong together": private.public_key() == public,
        "keys: another each time": pair["PrivateKey"] != again["keyPair"]["PrivateKey"],
        "keys: setAsActive=False": world.status(made["certificateId"]),
    }
    for what, active in (("setAsActive=True", {"setAsActive": True}), ("setAsActive left out", {})):
        asked = world.iot.create_keys_and_certificate(**active)
        world.seen[f"keys: {what}"] = world.status(asked["certificateId"])


def signed_by_itself(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    try:
        key.verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            certificate.signature_algorithm_parameters,
            certificate.signature_hash_algorithm,
        )
    except InvalidSignature:
        return False
    return True


def updates(world: World) -> None:
    identity = world.create()["certificateId"]

    def update(what: str, status: str, certificate_id: str = identity) -> None:
        world.attempt(f"update: {what}", "update_certificate", certificateId=certificate_id, newStatus=status)

    for status in ("ACTIVE", "INACTIVE", "REVOKED"):
        update(status, status)
        update(f"{status} again", status)
        world.seen[f"update: described {status}"] = world.status(identity)
    update("REVOKED to ACTIVE", "ACTIVE")
    other = world.create()["certificateId"]
    update("an invented status", "INVENTED", other)
    update("a status of the service's own", "PENDING_TRANSFER", other)
    update("a certificate that is not there", "ACTIVE", "0" * 64)


def deletes(world: World) -> None:
    iot, made, other = world.iot, world.create(), world.create()
    identity, arn = made["certificateId"], made["certificateArn"]

    def delete(what: str, certificate_id: str, force: bool) -> None:
        world.attempt(f"delete: {what}", "delete_certificate", certificateId=certificate_id, forceDelete=force)

    iot.create_thing(thingName="t")
    world.policy("p")
    iot.attach_thing_principal(thingName="t", principal=arn)
    iot.attach_policy(policyName="p", target=arn)
    delete("with a thing", identity, True)
    world.attempt("delete: a thing that is attached", "delete_thing", thingName="t")
    world.attempt("delete: a policy that is attached", "delete_policy", policyName="p")
    iot.detach_thing_principal(thingName="t", principal=arn)
    delete("with a policy", identity, False)
    iot.update_certificate(certificateId=identity, newStatus="ACTIVE")
    delete("ACTIVE", identity, True)
    iot.update_certificate(certificateId=identity, newStatus="INACTIVE")
    delete("with a policy by force", identity, True)
    delete("again", identity, True)
    world.attempt("delete: described after", "describe_certificate", certificateId=identity)
    world.seen["delete: the policy's targets after forceDelete"] = len(
        iot.list_targets_for_policy(policyName="p")["targets"]
    )
    delete("another certificate after forceDelete", other["certificateId"], False)


def attachments(world: World) -> None:
    iot, arn = world.iot, world.create()["certificateArn"]
    iot.create_thing(thingName="t")
    world.policy("p")
    world.policy("q")
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("attach: a policy", "attach_policy", {"policyName": "p", "target": arn}),
        ("attach: a policy again", "attach_policy", {"policyName": "p", "target": arn}),
        ("attach: a policy that is not there", "attach_policy", {"policyName": "x", "target": arn}),
        (
            "attach: a policy to a certificate that is not there",
            "attach_policy",
            {"policyName": "p", "target": NO_CERTIFICATE},
        ),
        ("attach: a policy to what is no ARN", "attach_policy", {"policyName": "p", "target": "nothing"}),
        ("attach: a thing", "attach_thing_principal", {"thingName": "t", "principal": arn}),
        ("attach: a thing again", "attach_thing_principal", {"thingName": "t", "principal": arn}),
        ("attach: a thing that is not there", "attach_thing_principal", {"thingName": "x", "principal": arn}),
        (
            "attach: a thing to a certificate that is not there",
            "attach_thing_principal",
            {"thingName": "t", "principal": NO_CERTIFICATE},
        ),
        ("attach: a thing to what is no ARN", "attach_thing_principal", {"thingName": "t", "principal": "nothing"}),
        ("detach: a policy that is not attached", "detach_policy", {"policyName": "q", "target": arn}),
        ("detach: a policy that is not there", "detach_policy", {"policyName": "x", "target": arn}),
        (
            "detach: a policy from a certificate that is not there",
            "detach_policy",
            {"policyName": "p", "target": NO_CERTIFICATE},
        ),
        ("list: policies of a certificate that is not there", "list_attached_policies", {"target": NO_CERTIFICATE}),
        ("list: things of a certificate that is not there", "list_principal_things", {"principal": NO_CERTIFICATE}),
        ("list: principals of a thing that is not there", "list_thing_principals", {"thingName": "x"}),
        ("list: targets of a policy that is not there", "list_targets_for_policy", {"policyName": "x"}),
    ]
    for what, operation, arguments in calls:
        world.attempt(what, operation, **arguments)
    attached = iot.list_attached_policies(target=arn)["policies"]
    world.seen["attached: policies"] = [each["policyArn"] for each in attached]
    world.seen["attached: targets"] = iot.list_targets_for_policy(policyName="p")["targets"] == [arn]
    world.seen["attached: principals"] = iot.list_thing_principals(thingName="t")["principals"] == [arn]
    world.seen["attached: things"] = iot.list_principal_things(principal=arn)["things"]
    for what in ("detach: a thing", "detach: a thing that is not attached"):
        world.attempt(what, "detach_thing_principal", thingName="t", principal=arn)
    world.attempt("detach: a thing that is not there", "detach_thing_principal", thingName="x", principal=arn)
    world.attempt("detach: a policy", "detach_policy", policyName="p", target=arn)
    world.seen["detached: policies"] = iot.list_attached_policies(target=arn)["policies"]
    world.seen["detached: principals"] = iot.list_thing_principals(thingName="t")["principals"]


def registry(world: World) -> None:
    iot = world.iot
    thing, policy = iot.create_thing(thingName="t"), {"policyName": "p", "policyDocument": "{}"}
    world.seen["thing: ARN"] = thing["thingArn"]
    world.attempt("policy: made", "create_policy", **policy)
    world.attempt("policy: made again", "create_policy", **policy)
    world.attempt("policy: a name with a space", "create_policy", policyName="a b", policyDocument="{}")
    world.attempt("policy: a document that is not JSON", "create_policy", policyName="q", policyDocument="{")
    world.attempt("policy: not there", "get_policy", policyName="x")
    got = iot.get_policy(policyName="p")
    world.seen["policy: got"] = [got[key] for key in ("policyArn", "policyDocument", "defaultVersionId")]
    again, other = iot.create_thing(thingName="t"), {"attributes": {"a": "b"}}
    world.seen["thing: the same again is the same"] = again["thingId"] == thing["thingId"]
    told = iot.describe_thing(thingName="t")
    world.seen["thing: described"] = [told[key] for key in ("thingName", "thingArn", "attributes", "version")]
    world.attempt("thing: again with other attributes", "create_thing", thingName="t", attributePayload=other)
    world.attempt("thing: a name with a dot", "create_thing", thingName="a.b")
    world.attempt("thing: not there", "describe_thing", thingName="x")
    world.attempt("thing: deleted", "delete_thing", thingName="t")
    world.attempt("thing: deleted twice", "delete_thing", thingName="t")
    world.attempt("policy: deleted", "delete_policy", policyName="p")
    world.attempt("policy: deleted twice", "delete_policy", policyName="p")

    hosts = [iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"] for _ in range(3)]
    world.seen["endpoint: hosts of three calls"] = len(set(hosts))
    world.seen["endpoint: form"] = hosts[0][14:]
    world.seen["endpoint: the default type is ATS"] = "-ats." in iot.describe_endpoint()["endpointAddress"]
    world.attempt("endpoint: an invented type", "describe_endpoint", endpointType="iot:Invented")


def pages(world: World) -> None:
    iot = world.iot
    arn = world.create()["certificateArn"]
    for _ in range(4):
        world.create()
    for name in "abcde":
        world.policy(name)
        iot.create_thing(thingName=name)
        iot.attach_policy(policyName=name, target=arn)
    by_twos: dict[str, tuple[str, str, dict[str, str]]] = {
        "certificates": ("list_certificates", "certificates", {}),
        "policies": ("list_policies", "policies", {}),
        "attached policies": ("list_attached_policies", "policies", {"target": arn}),
        "things": ("list_things", "things", {}),
    }
    for what, (operation, member, arguments) in by_twos.items():
        answers = iot.get_paginator(operation).paginate(**arguments, PaginationConfig={"PageSize": 2})
        world.seen[f"pages: {what} asked for by twos"] = [len(answer[member]) for answer in answers]


def limits(world: World) -> None:
    arn = world.create()["certificateArn"]
    for number in range(11):
        world.policy(f"p{number}")
        world.attempt("limits: an eleventh policy", "attach_policy", policyName=f"p{number}", target=arn)


def lag(world: World) -> None:
    arn = world.create()["certificateArn"]
    world.policy("p")
    world.iot.attach_policy(policyName="p", target=arn)
    listed = world.iot.list_attached_policies(target=arn)["policies"]
    world.seen["limits: an attached policy is listed at once"] = bool(listed)


def unsigned(world: World) -> None:
    world.attempt("limits: an unsigned request", "describe_endpoint")


def quotas(world: World) -> None:
    csr, outcomes = world.make_csr(), set()
    for _ in range(40):
        world.attempt("limits: a create", "create_certificate_from_csr", certificateSigningRequest=csr)
        outcomes.add(world.seen.pop("limits: a create"))
    world.seen["limits: forty creates at once are throttled"] = "ThrottlingException" in outcomes


PLAIN = (csrs, certificates, keys, updates, deletes, attachments, registry, pages, limits, unsigned)
# Each step starts from nothing. What AWS always has and the stand-in on demand is asked for here.
STEPS: dict[Callable[[World], None], Settings] = {
    **dict.fromkeys(PLAIN, Settings()),
    lag: Settings(lag_s=3600),
    quotas: Settings(quotas=AWS_QUOTAS, burst_s=0.1),
}
