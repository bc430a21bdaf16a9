"""`cvmd reconcile` as a process, against the stand-in: what it prints, what it leaves alone, how it ends."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.keys import P256KeyMaker
from cvmd.model import Account
from cvmd.sealing import Sealer, load_master_key
from tests.cvmd.cli.conftest import Cli, Ran
from tools.awsiot import Control
from tools.stack import ENVIRONMENT

ACCOUNT = Account(1, "default", None, None, None, None, 10)


@pytest.fixture
def aws(standin: Control, monkeypatch: pytest.MonkeyPatch) -> AwsIot:
    """The account, to make certificates in."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return AwsIot(AwsSettings(region="us-east-1", endpoint_url=standin.url))


@pytest.fixture
def reconcile(aws: AwsIot, standin: Control, admin: Cli, cli: Cli, configuration: Path) -> Callable[..., Ran]:
    """Runs it on a migrated database, and that account."""
    assert aws
    assert admin
    with configuration.open("a") as file:
        file.write(f'[aws]\nregion = "us-east-1"\nendpoint_url = "{standin.url}"\n[reconcile]\ncalls_per_s = 100\n')

    def run(*options: str) -> Ran:
        return cli("reconcile", "--config", configuration, *options)

    return run


@pytest.fixture
def orphan(aws: AwsIot, tmp_path: Path) -> Callable[[], str]:
    """Makes a certificate that is ours by its subject, and in no row."""
    sealer = Sealer(load_master_key(tmp_path / "master.key"))

    def make() -> str:
        return aws.create(ACCOUNT, P256KeyMaker().make(sealer.subject(os.urandom(16))).csr_der).certificate_id.hex()

    return make


def at_aws(standin: Control) -> list[str]:
    return [it["id"] for it in standin.state()["certificates"]]


def words(ran: Ran) -> list[list[str]]:
    """The cells' words of each line of the tables."""
    return [line.split() for line in ran.out.splitlines()]


def test_an_account_without_anything_is_well(reconcile: Callable[..., Ran]) -> None:
    ran = reconcile()
    assert (ran.code, ran.err) == (0, "")
    assert ["default", "0", "0", "0", "0", "0"] in words(ran)


def test_it_only_looks_unless_it_is_told_to_mend(
    reconcile: Callable[..., Ran], aws: AwsIot, orphan: Callable[[], str], standin: Control
) -> None:
    theirs = aws.create(ACCOUNT, P256KeyMaker().make("somebody else's").csr_der).certificate_id.hex()
    ours = orphan()
    looked = reconcile()
    assert looked.code == 1
    assert ["default", "2", "1", "0", "1", "1"] in words(looked)
    (line,) = [line for line in looked.out.splitlines() if ours in line]
    assert "orphan" in line
    assert "`cvmd reconcile --apply` deletes it" in line
    assert at_aws(standin) == [theirs, ours]

    mended = reconcile("--apply", "--json")
    assert (mended.code, mended.err) == (0, "")
    assert mended.json == [
        {
            "account": "default", "certificates": 2, "foreign": 1, "in_flight": 0,
            "findings": [
                {
                    "kind": "orphan", "name": ours, "serial": None, "detail": "INACTIVE, ours by its subject",
                    "mended": True, "to_do": None,
                }
            ],
        }
    ]  # fmt: skip
    assert at_aws(standin) == [theirs]
    assert (reconcile("--apply").code, at_aws(standin)) == (0, [theirs])


def test_inv5_many_are_deleted_although_aws_is_busy(
    reconcile: Callable[..., Ran], orphan: Callable[[], str], standin: Control
) -> None:
    for _ in range(5):
        orphan()
    standin.fault("ListCertificates", "throttle")
    standin.fault("DescribeCertificate", "throttle", after=1)
    ran = reconcile("--apply", "--rate", "100")
    assert ran.code == 0, ran
    assert at_aws(standin) == []


def test_what_one_account_refuses_is_said(reconcile: Callable[..., Ran], standin: Control) -> None:
    standin.fault("ListCertificates", "error", code="UnauthorizedException", count=None)
    told = reconcile().complaint(1)
    assert "account default: AWS IoT: ListCertificates: UnauthorizedException" in told


def test_an_account_that_fails_keeps_no_other_from_its_turn(
    reconcile: Callable[..., Ran], admin: Cli, orphan: Callable[[], str], standin: Control
) -> None:
    assert admin("accounts", "add", "before", "--region", "us-west-2", "--profile", "nobody").code == 0
    orphan()
    ran = reconcile("--apply")
    assert ran.code == 1
    assert "account before: AWS IoT: credentials" in ran.err
    assert ["default", "1", "0", "0", "1", "0"] in words(ran)
    assert at_aws(standin) == []


def test_a_certificate_whose_device_is_in_no_row_asks_for_its_import(
    reconcile: Callable[..., Ran], aws: AwsIot, orphan: Callable[[], str]
) -> None:
    aws.activate(ACCOUNT, bytes.fromhex(orphan()))
    ran = reconcile("--adopt", "--apply")
    assert ran.code == 1
    assert "import it again" in ran.out


def test_a_name_that_no_finding_has_is_no_success(reconcile: Callable[..., Ran]) -> None:
    ran = reconcile("--adopt", "NOPE", "--apply")
    assert (ran.code, ran.err) == (1, "cvmd: --adopt NOPE: no finding has that certificate id or serial\n")


def test_an_account_that_is_not_there(reconcile: Callable[..., Ran]) -> None:
    assert "no account 'another'; known: default" in reconcile("--account", "another").complaint(1)
    assert reconcile("--account", "default").code == 0


@pytest.mark.parametrize("options", [("--rate", "0"), ("--rate", "fast"), ("--adopt", "no/name"), ("--aply",)])
def test_what_it_does_not_understand(reconcile: Callable[..., Ran], options: tuple[str, ...]) -> None:
    ran = reconcile(*options)
    assert (ran.code, ran.out) == (2, "")


def test_another_master_key_proves_nothing_and_so_mends_nothing(
    reconcile: Callable[..., Ran], orphan: Callable[[], str], standin: Control, tmp_path: Path
) -> None:
    ours = orphan()
    (tmp_path / "master.key").chmod(0o600)
    (tmp_path / "master.key").write_text("0123456789abcdef" * 4)
    assert "not the master key" in reconcile("--apply").complaint(2)
    assert at_aws(standin) == [ours]


def test_who_watches_sees_how_far_it_is(
    reconcile: Callable[..., Ran], orphan: Callable[[], str], configuration: Path
) -> None:
    orphan()
    assert reconcile().err == "", "nobody watches"
    terminal, stderr = pty.openpty()
    command = [sys.executable, "-m", "cvmd", "reconcile", "--config", str(configuration), "--json"]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stderr, timeout=60, check=False)
    os.close(stderr)
    shown = os.read(terminal, 4096).decode()
    os.close(terminal)
    assert (ran.returncode, shown.strip()) == (1, "default: 1 certificates, 1 findings")
