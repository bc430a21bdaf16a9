"""What integration tests share: how a device is made and calls, what openssl and the database themselves say."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import make_url

from cvmd.model import Secret
from cvmd.sealing import Sealer, load_master_key
from cvmd.seals import seal_token
from cvmd.store import AdminStore, Database, Trail
from cvmd.store.accounts import AccountRules
from cvmd.store.intake import NewDevice
from tools.awsiot import Control
from tools.client import Cut, Done, MemoryFlash, Options, Result, vend
from tools.stack import READY_WITHIN_S, Stack

MakeStack = Callable[..., Stack]


KEY_SOURCES = {"ec": "ec-p256", "csr": "device-csr", "rsa": "rsa2048", "aws": "aws-rsa2048"}
"""By product."""
ACK_AND_DONE = 51 + 25
"""Bytes at the end of a vend in suite mac."""
CREATES = ("CreateCertificateFromCsr", "CreateKeysAndCertificate")


def creates(aws: Control) -> int:
    """How many certificates it was asked for, by either call."""
    return sum(aws.calls(each) for each in CREATES)


def active_at_once(certificates: Iterable[dict[str, Any]]) -> set[int]:
    """How many of these were ACTIVE after each change of a status, from the first ACTIVE one on."""
    changes = sorted(
        (entry["n"], it["id"], entry["status"]) for it in certificates for entry in it["history"] if "status" in entry
    )
    now: dict[str, str] = {}
    counts = []
    for _, certificate_id, status in changes:
        now[certificate_id] = status
        counts.append(list(now.values()).count("ACTIVE"))
    return set(dropwhile(lambda count: not count, counts))


def with_products(stack: Stack) -> Stack:
    """A product for each key source."""
    for product, key_source in KEY_SOURCES.items():
        stack.add_product(product, "--auth", "token", "--key-source", key_source)
    return stack


def device(stack: Stack, serial: str, product: str = "ec", **options: Any) -> Options:
    """A new device with thing and policy of its own, and how it calls."""
    token_file = stack.add_device(serial, product, thing=f"thing-{serial}", policy=f"policy-{serial}")
    return caller(stack, serial, bytes.fromhex(token_file.read_text()), product, **options)


Fleet = Iterable[tuple[str, bytes, str, str, str]]


def seed(stack: Stack, fleet: Fleet) -> None:
    """(serial, token, thing, policy, product) of many, at AWS and in rows; the account is cvmd's, its quota wide.

    The token is empty where the product's auth is not `token`.
    """
    sealer = Sealer(load_master_key(stack.directory / "master.key"))
    database = Database(stack.database_url)
    store = AdminStore(database, Trail(sealer.audit_mac, "test"))
    store.set_account("default", AccountRules(creates_per_s=1000, exclusive=True))
    by_product: dict[str, list[NewDevice]] = {}
    for serial, token, thing, policy, product in fleet:
        row = serial.encode()
        sealed = seal_token(Secret(token), row, sealer) if token else b""
        by_product.setdefault(product, []).append(NewDevice(row, thing, policy, sealed))
    for product, devices in by_product.items():
        store.add_devices(product, devices)
        stack.aws.seed_things([each.thing for each in devices])
        stack.aws.seed_policies(sorted({each.policy for each in devices}))
    database.close()


def caller(stack: Stack, serial: str, token: bytes, product: str = "ec", **options: Any) -> Options:
    """How a device of this product calls the stack's daemon."""
    options.setdefault("key_source", KEY_SOURCES[product])
    options.setdefault("backoff_s", 0.01)
    return Options(host="127.0.0.1", port=stack.port or stack.tls_port, serial=serial, token=token, **options)


def wait_for_log(stack: Stack, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first line of the running daemon's log that is wanted, as soon as it is there."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        for line in stack.log_lines():
            if wanted(line):
                return line
        time.sleep(0.02)
    raise AssertionError(f"no such line in {stack.log_lines()}")


def wait_for_line(stack: Stack, serial: str) -> dict[str, Any]:
    """The canonical line of this device's connection; it is written when the connection is gone."""
    return wait_for_log(stack, lambda line: (line.get("event"), line.get("serial")) == ("connection", serial))


def vend_in_memory(options: Options) -> tuple[Result, MemoryFlash]:
    """One vend, and the flash afterwards."""
    flash = MemoryFlash()
    return vend(options, flash), flash


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """What openssl prints; fails the test with its word if it refuses."""
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True)
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def rows(url: str, statement: str) -> list[dict[str, Any]]:
    """What the database itself says."""
    parsed = make_url(url)
    connection = pymysql.connect(
        host=parsed.host, port=parsed.port or 3306, user=parsed.username, password=parsed.password or "",
        database=parsed.database, cursorclass=pymysql.cursors.DictCursor,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def reconcile(stack: Stack, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code, and the findings."""
    ran = stack.cvmd("reconcile", "--json", "--rate", "100", *options, check=False)
    assert ran.stdout, ran.stderr
    (report,) = json.loads(ran.stdout)
    return ran.returncode, report["findings"]


def vended(options: Options, flash: MemoryFlash, stack: Stack) -> str:
    """The id of the certificate that the device has in the end."""
    result = vend(replace(options, port=stack.port, attempts=20), flash)
    assert isinstance(result.outcome, Done), result.outcome
    assert result.meta is not None
    return result.meta.certificate_id


def begin(options: Options, flash: MemoryFlash, stack: Stack) -> None:
    """Take the whole bundle, and lose the line before the ACK."""
    alike = "x" * len(options.serial)
    whole = vend(device(stack, alike, "csr" if options.key_source == "device-csr" else "ec"), MemoryFlash())
    cut_after = whole.traffic.bytes_up + whole.traffic.bytes_down - ACK_AND_DONE - 1
    assert isinstance(vend(replace(options, cut_after=cut_after), flash).outcome, Cut)


def active_of(stack: Stack, thing: str) -> list[str]:
    certificates = stack.aws.state()["certificates"]
    return [it["id"] for it in certificates if it["status"] == "ACTIVE" and thing in it["things"]]
