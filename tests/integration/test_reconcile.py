"""`cvmd reconcile` as an operator runs it: beside certificates of others, and after a backup was restored."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from harness import MakeStack, device, with_products

from cvmd.store import Database
from tools.client import Done, MemoryFlash, Options, Refused, vend
from tools.stack import Stack


@pytest.fixture(params=["sqlite", "mariadb"])
def stack(request: pytest.FixtureRequest, make_stack: MakeStack) -> Stack:
    """One whose devices may have as many as they like."""
    settings: dict[str, Any] = {"deadlines__auth_delay_ms": 50, "disposal__poll_s": 0.05, "aws__read_timeout_s": 5}
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")
        settings["database_url"] = request.getfixturevalue("mariadb_url")
    return with_unlimited_products(make_stack(**settings))


def with_unlimited_products(stack: Stack) -> Stack:
    with_products(stack)
    for product in ("ec", "csr"):
        stack.cvmd("products", "set", product, "--reissue-limit", "unlimited")
    return stack


@pytest.fixture
def iot(stack: Stack) -> Iterator[Any]:
    """The account, as somebody else uses it."""
    client = boto3.client(
        "iot", endpoint_url=stack.aws.url, region_name="eu-west-1", aws_access_key_id="other",
        aws_secret_access_key="other",  # the stand-in asks for none
    )  # fmt: skip
    yield client
    client.close()


def foreign(iot: Any, *, active: bool, thing: str | None = None) -> str:  # boto3's client has no type
    """A certificate that somebody else made; its id."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else's")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    pem = csr.public_bytes(Encoding.PEM).decode()
    made = iot.create_certificate_from_csr(certificateSigningRequest=pem, setAsActive=active)
    if thing is not None:
        iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
    return str(made["certificateId"])


def reconcile(stack: Stack, *options: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and the report of the one account."""
    ran: CompletedProcess[str] = stack.cvmd("reconcile", "--json", "--rate", "100", *options, check=False)
    assert ran.stdout, ran.stderr
    (report,) = json.loads(ran.stdout)
    return ran.returncode, report


def kinds(report: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return sorted((it["kind"], it["name"], it["mended"]) for it in report["findings"])


def at_aws(stack: Stack) -> dict[str, str]:
    return {each["id"]: each["status"] for each in stack.aws.state()["certificates"]}


def vended(options: Options, flash: MemoryFlash) -> str:
    """The id of the certificate that the device has in the end."""
    result = vend(replace(options, attempts=20), flash)
    assert isinstance(result.outcome, Done), result.outcome
    assert result.meta is not None
    return result.meta.certificate_id


def orphans_of(stack: Stack, *known: str) -> set[str]:
    """What AWS has beside those known and those in a row."""
    database = Database(stack.database_url)
    with database.engine.connect() as connection:
        in_rows = {bytes(it).hex() for (it,) in connection.exec_driver_sql("SELECT certificate_id FROM certificates")}
    database.close()
    return set(at_aws(stack)) - set(known) - in_rows


def test_inv5_reconcile_removes_exactly_ours(stack: Stack, iot: Any) -> None:  # as foreign
    stack.aws.seed_things(["elsewhere"])
    theirs = {
        foreign(iot, active=active, thing=thing): "ACTIVE" if active else "INACTIVE"
        for active in (True, False)
        for thing in (None, "elsewhere")
    }
    own = []
    for number, product in enumerate(("ec", "csr", "ec")):
        stack.aws.fault("CreateCertificateFromCsr", "lost")
        own.append(vended(device(stack, f"SN-{number}", product), MemoryFlash()))
    ours = orphans_of(stack, *theirs)
    assert len(ours) == 3
    untouched = at_aws(stack)

    code, report = reconcile(stack)
    assert (code, report["foreign"], report["certificates"]) == (1, 4, 10)
    assert kinds(report) == sorted(("orphan", it, False) for it in ours)
    assert at_aws(stack) == untouched, "without --apply it only looks"

    code, report = reconcile(stack, "--apply")
    assert (code, kinds(report)) == (0, sorted(("orphan", it, True) for it in ours))
    assert at_aws(stack) == theirs | dict.fromkeys(own, "ACTIVE")

    for options in ((), ("--apply", "--deep")):
        code, report = reconcile(stack, *options)
        assert (code, report["findings"], report["foreign"]) == (0, [], 4)
    assert stack.cvmd("audit", "verify").returncode == 0


@pytest.fixture
def restored(make_stack: MakeStack) -> tuple[Stack, Path]:
    """A stack on SQLite, and where its backup is to lie."""
    stack = with_unlimited_products(make_stack(deadlines__auth_delay_ms=50, disposal__poll_s=0.05))
    return stack, stack.directory / "backup.db"


def database_file(stack: Stack) -> Path:
    return Path(stack.database_url.removeprefix("sqlite:///"))


def copy(of: Path, to: Path) -> None:
    with closing(sqlite3.connect(of)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def restore(stack: Stack, backup: Path) -> None:
    """The database as it was; the daemon runs on it."""
    stack.stop_daemon()
    for suffix in ("", "-wal", "-shm"):
        database_file(stack).with_name(database_file(stack).name + suffix).unlink(missing_ok=True)
    copy(backup, database_file(stack))
    stack.start_daemon()


def test_inv1_after_a_restore_nothing_is_made_twice_and_adopt_repairs_it(restored: tuple[Stack, Path]) -> None:
    stack, backup = restored
    before, after, new = (device(stack, serial) for serial in ("SN-1", "SN-2", "SN-3"))
    flash = {serial: MemoryFlash() for serial in ("SN-1", "SN-2", "SN-3")}
    old = vended(before, flash["SN-1"])
    copy(database_file(stack), backup)
    renewed = vended(replace(before, renew=True), flash["SN-1"])
    vended_since = vended(after, flash["SN-2"])
    restore(stack, backup)

    creates = stack.aws.calls("CreateCertificateFromCsr")
    # Who holds what no row knows keeps it; who comes with nothing, or asks for another, gets no second ACTIVE one.
    for options, held in ((before, "SN-1"), (after, "SN-2")):
        outcome = vend(replace(options, port=stack_port(stack)), flash[held]).outcome
        assert isinstance(outcome, Refused)
        assert (outcome.status, outcome.detail) == (0x31, 1)
    assert stack.aws.calls("CreateCertificateFromCsr") == creates

    code, report = reconcile(stack)
    assert code == 1
    assert [it for it in kinds(report) if it[0] == "unknown-active"] == sorted(
        ("unknown-active", it, False) for it in (renewed, vended_since)
    )
    assert {it["serial"] for it in report["findings"] if it["kind"] == "unknown-active"} == {"SN-1", "SN-2"}

    code, report = reconcile(stack, "--adopt", vended_since)
    assert ("unknown-active", vended_since, True) in kinds(report)
    assert ("unknown-active", renewed, False) in kinds(report)
    code, report = reconcile(stack, "--adopt", "--apply")
    assert ("unknown-active", renewed, True) in kinds(report)
    code, report = reconcile(stack, "--deep")
    assert (code, report["findings"]) == (0, []), report

    assert vended(replace(before, port=stack_port(stack)), flash["SN-1"]) == renewed
    assert vended(replace(after, port=stack_port(stack)), flash["SN-2"]) == vended_since
    vended(replace(new, port=stack_port(stack)), flash["SN-3"])
    active = [each for each in stack.aws.state()["certificates"] if each["status"] == "ACTIVE"]
    assert sorted(each["things"][0] for each in active) == ["thing-SN-1", "thing-SN-2", "thing-SN-3"]
    assert old not in {each["id"] for each in active}
    assert stack.cvmd("audit", "verify").returncode == 0


def test_inv1_a_device_without_its_certificate_gets_no_second_active_one(restored: tuple[Stack, Path]) -> None:
    stack, backup = restored
    options = device(stack, "SN-1")
    copy(database_file(stack), backup)
    vended(options, MemoryFlash())
    restore(stack, backup)
    outcome = vend(replace(options, port=stack_port(stack)), MemoryFlash()).outcome
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.detail) == (0x32, 3), "the thing has an ACTIVE certificate that no row knows"
    assert list(at_aws(stack).values()).count("ACTIVE") == 1


def stack_port(stack: Stack) -> int:
    """Where the daemon listens now."""
    return int(stack.port)
