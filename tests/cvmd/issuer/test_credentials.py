"""Every way to credentials that a daemon in its sandbox has, and a role on top of them, in a herd."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.config import Config

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer import connection, credentials
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.credentials import Access
from cvmd.issuer.keys import P256KeyMaker
from cvmd.model import Account
from tools.awsiot import Control, Settings, run_in_thread

ROLE = "arn:aws:iam::123456789012:role/cvmd"
THREADS = 16
KEYS = "aws_access_key_id = {key}\naws_secret_access_key = secret\n"
PAIR = P256KeyMaker().make("A" * 52)


@contextmanager
def strict(**settings: object) -> Iterator[Control]:
    """A stand-in that takes the key AKIDGOOD, and what it has lent, alone."""
    with run_in_thread(Settings(ca_key="ec", access_keys=frozenset({"AKIDGOOD"}), **settings)) as standin:  # type: ignore[arg-type]  # the fields of Settings
        yield standin


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.fixture
def role(account: Account) -> Account:
    return replace(account, role_arn=ROLE)


def issuer_at(standin: Control, **settings: object) -> AwsIot:
    defaults = {"region": "us-east-1", "endpoint_url": standin.url, "sts_endpoint_url": standin.url}
    return AwsIot(AwsSettings(**(defaults | settings)))  # type: ignore[arg-type]  # the fields of AwsSettings


def refused(issuer: AwsIot, account: Account) -> IssuerError:
    with pytest.raises(IssuerError) as caught:
        issuer.describe_endpoint(account)
    assert caught.value.__cause__ is None
    return caught.value


def at_once(call: Callable[[], object]) -> list[object]:
    """What `call` gave, or raised, in each of many threads that begin together."""
    barrier = threading.Barrier(THREADS)

    def one(_: int) -> object:
        barrier.wait()
        try:
            return call()
        except IssuerError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


# Where AWS is asked


@pytest.mark.parametrize(
    ("region", "suffix"),
    [("eu-central-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn"), ("us-gov-west-1", "amazonaws.com")],
)
def test_each_partition_has_its_own_hosts_and_each_region_its_own_sts(
    account: Account, region: str, suffix: str
) -> None:
    access = Access(region=region)
    sts = access.sts(access.session(Config()), Config())
    assert sts.meta.endpoint_url == f"https://sts.{region}.{suffix}"
    iot = AwsIot(AwsSettings())._client(replace(account, region=region))
    assert iot.meta.endpoint_url == f"https://iot.{region}.{suffix}"


# A role


def test_a_herd_assumes_its_role_once(role: Account) -> None:
    with run_in_thread(Settings(ca_key="ec")) as standin:
        issuer = issuer_at(standin)
        assert all(isinstance(it, str) for it in at_once(lambda: issuer.describe_endpoint(role)))
        assert standin.calls("AssumeRole") == 1
        assert standin.calls("DescribeEndpoint") == THREADS


def test_a_role_is_renewed_in_a_herd_and_nobody_notices(role: Account) -> None:
    """Sessions of 3 s and many calls in each: fewer AssumeRoles than threads, and no call is refused."""
    with run_in_thread(Settings(ca_key="ec", session_s=3)) as standin:
        issuer = issuer_at(standin)

        def calls() -> int:
            made = 0
            while standin.calls("AssumeRole") < 4:
                for _ in range(10):
                    issuer.describe_endpoint(role)
                made += 10
            return made

        done = at_once(calls)
        assert not [it for it in done if isinstance(it, IssuerError)]
        counters = standin.counters()
    assert counters["DescribeEndpoint"] == {"ok": sum(it for it in done if isinstance(it, int))}
    assert counters["AssumeRole"].keys() == {"ok"}
    assert counters["AssumeRole"]["ok"] < THREADS


def test_a_herd_whose_role_is_refused_asks_once_and_all_are_told(
    role: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_AGAIN_S", 60.0)
    monkeypatch.setattr(connection, "_RENEW_S", 60.0)
    with run_in_thread(Settings(ca_key="ec", external_id="right")) as standin:
        issuer = issuer_at(standin)
        told = at_once(lambda: issuer.describe_endpoint(replace(role, external_id="wrong")))
        for error in told:
            assert isinstance(error, IssuerError)
            assert (error.fault, error.operation, error.code) == (IssuerFault.ACCOUNT, "AssumeRole", "AccessDenied")
            assert f"sts:AssumeRole on resource: {ROLE}" in str(error)
        assert standin.calls("AssumeRole") == 1
        assert issuer.describe_endpoint(replace(role, external_id="right"))


def test_sts_that_does_not_answer_leaves_no_create_in_doubt(role: Account) -> None:
    """The Create was not sent: an attempt that is unknown would be looked for at AWS."""
    with run_in_thread(Settings(ca_key="ec")) as standin:
        standin.fault("AssumeRole", "lost", count=None)
        with pytest.raises(IssuerError) as caught:
            issuer_at(standin).create(role, PAIR.csr_der)
        assert (caught.value.fault, caught.value.operation) == (IssuerFault.UNREACHABLE, "AssumeRole")
        assert standin.calls("CreateCertificateFromCsr") == 0


# Other credentials


@pytest.mark.parametrize("section", ["[profile fleet]", "[fleet]"], ids=["of config", "of credentials"])
@pytest.mark.usefixtures("unset")
def test_a_profile_of_a_file_of_either_form(account: Account, tmp_path: Path, section: str) -> None:
    file = tmp_path / "aws"
    file.write_text(f"{section}\n" + KEYS.format(key="AKIDGOOD") + "[default]\n" + KEYS.format(key="AKIDBAD"))
    with strict() as standin:
        issuer = issuer_at(standin, config_file=file)
        assert issuer.describe_endpoint(replace(account, profile="fleet"))
        assert refused(issuer, account).code == "UnrecognizedClientException"
        missing = refused(issuer, replace(account, profile="none"))
        assert (missing.fault, missing.code) == (IssuerFault.ACCOUNT, "ProfileNotFound")


@pytest.mark.usefixtures("unset")
def test_keys_that_are_mended_are_taken_up_without_a_restart(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "aws"
    file.write_text("[default]\n" + KEYS.format(key="AKIDBAD"))
    with strict() as standin:
        issuer = issuer_at(standin, config_file=file)
        assert refused(issuer, account).fault is IssuerFault.ACCOUNT
        file.write_text("[default]\n" + KEYS.format(key="AKIDGOOD"))
        monkeypatch.setattr(connection, "_RENEW_S", 0.0)  # as after a while
        assert issuer.describe_endpoint(account)


@pytest.mark.usefixtures("unset")
def test_a_fault_of_the_account_makes_no_storm_of_clients(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_RENEW_S", 60.0)
    file = tmp_path / "aws"
    file.write_text("[default]\n" + KEYS.format(key="AKIDBAD"))
    with strict() as standin:
        issuer = issuer_at(standin, config_file=file)
        refused(issuer, account)
        (made,) = issuer._clients.values()
        refused(issuer, account)
        assert list(issuer._clients.values()) == [made]
        monkeypatch.setattr(connection, "_RENEW_S", 0.0)
        refused(issuer, account)
        (anew,) = issuer._clients.values()
        assert anew.client is not made.client


@pytest.mark.usefixtures("unset")
def test_a_credential_process_gives_credentials_and_gives_them_anew(account: Account, tmp_path: Path) -> None:
    """It counts how often it runs, and says that what it gives ends in 5 s: it is asked again for the next calls."""
    runs, script, file = tmp_path / "runs", tmp_path / "process.py", tmp_path / "aws"
    script.write_text(
        "import datetime, json, pathlib\n"
        f"runs = pathlib.Path({str(runs)!r})\n"
        "runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')\n"
        "ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=5)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'AKIDGOOD', 'SecretAccessKey': 's',"
        " 'SessionToken': 't', 'Expiration': ends.isoformat()}))\n"
    )
    file.write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    with strict() as standin:
        issuer = issuer_at(standin, config_file=file)
        assert issuer.describe_endpoint(account)
        first = len(runs.read_text())
        assert issuer.describe_endpoint(account)
        assert len(runs.read_text()) > first


PROGRAMS = {
    "fails": "/bin/false",
    "is not there": "/no/such/program",
    "says nothing": "/bin/true",
    "says garbage": "/bin/echo garbage",
    "gives what has ended": '/bin/echo \'{"Version": 1, "AccessKeyId": "AKIDGOOD", "SecretAccessKey": "s",'
    ' "SessionToken": "t", "Expiration": "2020-01-01T00:00:00Z"}\'',
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.usefixtures("unset")
def test_a_credential_process_that_fails_leaves_no_create_in_doubt(
    account: Account, tmp_path: Path, program: str
) -> None:
    """It is the account's fault: after five attempts in doubt an issuance would have failed."""
    file = tmp_path / "aws"
    file.write_text(f"[default]\ncredential_process = {program}\n")
    with strict() as standin:
        issuer = issuer_at(standin, config_file=file)
        for _ in range(2):  # to make the client fails, or the first call with it
            with pytest.raises(IssuerError) as caught:
                issuer.create(account, PAIR.csr_der)
            assert (caught.value.fault, caught.value.operation) == (IssuerFault.ACCOUNT, "credentials")
        assert standin.calls("CreateCertificateFromCsr") == 0


@pytest.mark.usefixtures("unset")
def test_a_role_whose_callers_keys_are_mended_goes_on(
    role: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_AGAIN_S", 0.0)
    monkeypatch.setattr(connection, "_RENEW_S", 0.0)
    file = tmp_path / "aws"
    file.write_text("[default]\n" + KEYS.format(key="AKIDBAD"))
    with strict() as standin:
        issuer = issuer_at(standin, config_file=file)
        assert refused(issuer, role).operation == "AssumeRole"
        file.write_text("[default]\n" + KEYS.format(key="AKIDGOOD"))
        assert issuer.describe_endpoint(role)


@pytest.mark.usefixtures("unset")
def test_the_role_of_a_container(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ECS, and EKS by its agent, give it: at an address that a variable names."""
    with metadata_service("AKIDGOOD") as url, strict() as standin:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/container")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a-token")
        assert issuer_at(standin).describe_endpoint(account)


@contextmanager
def metadata_service(key: str) -> Iterator[str]:
    """A machine's IMDSv2 with a role: a token by PUT, and nothing without it. And a container's, at /container."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.answer("a-token" if self.headers.get("x-aws-ec2-metadata-token-ttl-seconds") else "")

        def do_GET(self) -> None:
            ends = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
            given = {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": ends}
            path = "/latest/meta-data/iam/security-credentials/"
            pages = {path: "machine", f"{path}machine": json.dumps(given), "/container": json.dumps(given)}
            known = "a-token" in (self.headers.get("x-aws-ec2-metadata-token"), self.headers.get("Authorization"))
            self.answer(pages.get(self.path, "") if known else "")

        def answer(self, body: str) -> None:
            self.send_response(200 if body else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.usefixtures("unset")
def test_the_machines_own_role(account: Account, role: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, and as who assumes an account's role."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    with metadata_service("AKIDGOOD") as url, strict(external_id="id") as standin:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        issuer = issuer_at(standin)
        assert issuer.describe_endpoint(account)
        assert issuer.describe_endpoint(replace(role, external_id="id"))
        assert standin.calls("AssumeRole", "ok") == 1


@pytest.mark.usefixtures("unset")
def test_no_credentials_at_all_are_the_accounts_fault_until_there_are_some(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with strict() as standin:
        issuer = issuer_at(standin)
        error = refused(issuer, account)
        assert (error.fault, error.code) == (IssuerFault.ACCOUNT, "NoCredentialsError")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDGOOD")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert issuer.describe_endpoint(account)
