"""`cvmd doctor` against set-ups that are broken, each in its own way: each is named, with what to do."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cvmd.issuer.permissions import iam_policy
from tools.mariadb import MariaDB
from tools.stack import Stack


@dataclass
class SetUp:
    """A stack on MariaDB without its daemon, and what breaks it."""

    stack: Stack
    mariadb: MariaDB
    database: str
    standin: list[str] = field(default_factory=list)

    def doctor(self, *options: str, code: int) -> dict[tuple[str, str], dict[str, Any]]:
        """What it says: each check by what it is of, and its name."""
        done = self.stack.cvmd("doctor", "--json", *options, check=False)
        assert (done.returncode, done.stderr) == (code, "")
        return {(it["of"], it["check"]): it for it in json.loads(done.stdout)}

    def configure(self, **settings: object) -> None:
        """Change the configuration."""
        self.stack.write_config(**settings)

    def execute(self, statement: str) -> None:
        """As the database server's administrator."""
        self.mariadb.execute(statement)


@pytest.fixture
def set_up(tmp_path: Path, mariadb: MariaDB, mariadb_url: str) -> Iterator[SetUp]:
    """Whole and well: a product of which all three devices have thing and policy."""
    stack = Stack(tmp_path, database_url=mariadb_url, standin=["--ca-key", "ec"])
    try:
        stack.start_standin()
        stack.set_up()
        stack.add_product("sensor")
        for number in range(3):
            stack.add_device(f"SN-{number}", "sensor", thing=f"thing-{number}", policy="fleet")
        yield SetUp(stack, mariadb, mariadb_url.rpartition("/")[2])
    finally:
        stack.close()


def certificate(directory: Path, name: str, *, days: int = 30) -> Path:
    """A self-signed certificate that expires in so many days, and its key beside it."""
    key, now, who = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC), x509.Name([])
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{name}.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    file.with_suffix(".key").touch(mode=0o600)
    file.with_suffix(".key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def test_all_is_well(set_up: SetUp) -> None:
    said = set_up.doctor(code=0)
    assert "failed" not in {it["result"] for it in said.values()}, said
    assert {of for of, _ in said} == {"configuration", "database", "account default", "product sensor"}
    assert said["product sensor", "policies"]["detail"] == "AWS IoT has them; looked at: 1 of 1"
    assert said["product sensor", "things"]["detail"] == "AWS IoT has them; looked at: 3 of 3"
    assert {of for of, _ in set_up.doctor("--config-only", code=0)} == {"configuration"}
    assert ("product sensor", "things") in set_up.doctor("--product", "sensor", code=0)


def test_a_person_reads_tables_and_a_count(set_up: SetUp) -> None:
    done = set_up.stack.cvmd("doctor")
    assert "account default" in done.stdout
    assert " passed, " in done.stdout.splitlines()[-1]


def test_a_product_that_is_not_there_is_refused(set_up: SetUp) -> None:
    done = set_up.stack.cvmd("doctor", "--product", "nothing", check=False)
    assert (done.returncode, "nothing" in done.stderr) == (1, True)


def readable_by_all(it: SetUp) -> None:
    (it.stack.directory / "master.key").chmod(0o644)


def another_master_key(it: SetUp) -> None:
    it.stack.cvmd("secrets", "new", str(it.stack.directory / "other.key"), config=False)
    it.configure(secrets__master_key_file=str(it.stack.directory / "other.key"))


def no_master_key(it: SetUp) -> None:
    (it.stack.directory / "master.key").unlink()


def wrong_password(it: SetUp) -> None:
    it.execute(f"ALTER USER '{it.database}'@'127.0.0.1' IDENTIFIED BY 'another'")


def database_down(it: SetUp) -> None:
    it.mariadb.stop()


def too_few_grants(it: SetUp) -> None:
    it.execute(f"REVOKE UPDATE ON `{it.database}`.* FROM '{it.database}'@'127.0.0.1'")


def no_tables(it: SetUp) -> None:
    it.execute(f"UPDATE `{it.database}`.alembic_version SET version_num = '0000'")


def no_tls_at_the_database(it: SetUp) -> None:
    it.configure(database__tls="required")


def too_few_connections(it: SetUp) -> None:
    it.configure(database__pool=200)


def clock_off(it: SetUp) -> None:
    assert it.stack.standin is not None
    it.stack.standin.end()
    it.stack._standin_options = ["--ca-key", "ec", "--clock", "3600"]
    it.stack.start_standin()
    it.configure()


def a_permission_less(it: SetUp) -> None:
    policy = iam_policy("aws")
    for statement in policy["Statement"]:
        if isinstance(statement["Action"], list) and "iot:AttachPolicy" in statement["Action"]:
            statement["Action"].remove("iot:AttachPolicy")
    it.stack.aws.allow(policy)


def aws_unreachable(it: SetUp) -> None:
    it.configure(aws__endpoint_url="http://127.0.0.1:1", aws__connect_timeout_s=1.0)


def no_policy(it: SetUp) -> None:
    it.stack.add_device("SN-8", "sensor", thing="thing-8", policy="forgotten", aws=False)


def no_thing(it: SetUp) -> None:
    it.stack.add_device("SN-9", "sensor", thing="thing-9", policy="fleet", aws=False)


def rules_of_an_insider(it: SetUp) -> None:
    it.stack.add_product("open", "--auth", "serial", "--key-source", "device-csr", "--window", "1h")
    it.execute(f"UPDATE `{it.database}`.products SET window_until_us = window_until_us * 2 WHERE name = 'open'")


def root_ca_gone(it: SetUp) -> None:
    it.configure(aws__root_ca=str(it.stack.directory / "gone.pem"))


def tls_of_another_key(it: SetUp) -> None:
    ours, other = (certificate(it.stack.directory, name) for name in ("ours", "other"))
    it.configure(tls__certificate_file=str(ours), tls__key_file=str(other.with_suffix(".key")))


def tls_expired(it: SetUp) -> None:
    ours = certificate(it.stack.directory, "ours", days=-1)
    it.configure(tls__certificate_file=str(ours), tls__key_file=str(ours.with_suffix(".key")))


@pytest.mark.parametrize(
    ("break_it", "of", "check", "found", "to_do"),
    [
        (readable_by_all, "configuration", "master key", "cannot be used", "chmod 0400"),
        (no_master_key, "configuration", "master key", "cannot be used", "No such file"),
        (another_master_key, "database", "master key", "is not the one of this database", "put that one back"),
        (wrong_password, "database", "database server", "the password is wrong", "database.password_file"),
        (database_down, "database", "database server", "cannot be reached", "database.url"),
        (too_few_grants, "database", "database grants", "UPDATE", "grants.sql"),
        (no_tables, "database", "database tables", "0000", "cvmd db migrate"),
        (no_tls_at_the_database, "database", "database server", "TLS", "database.tls"),
        (too_few_connections, "database", "database connections", "151", "database.pool"),
        (clock_off, "account default", "clock", "s behind AWS's", "NTP"),
        (a_permission_less, "account default", "iot:AttachPolicy", "AttachPolicy", "cvmd accounts policy default"),
        (aws_unreachable, "account default", "endpoint", "EndpointConnectionError", "network"),
        (no_policy, "product sensor", "policies", "forgotten", "create them"),
        (no_thing, "product sensor", "things", "thing-9", "devices retry"),
        (rules_of_an_insider, "product open", "seal", "not those that the operator has set", "cvmd products set"),
        (root_ca_gone, "configuration", "AWS settings", "cannot be used", "gone.pem"),
        (tls_of_another_key, "configuration", "TLS listener", "cannot begin", "tls.key_file"),
        (tls_expired, "configuration", "TLS listener", "good until", "renew it"),
    ],
)  # fmt: skip
def test_each_broken_set_up_is_named_with_what_to_do(
    set_up: SetUp, break_it: Callable[[SetUp], None], of: str, check: str, found: str, to_do: str
) -> None:
    break_it(set_up)
    it = set_up.doctor(code=1)[of, check]
    assert it["result"] == "failed", it
    assert found in it["detail"], it
    assert to_do in it["to_do"], it


def test_rules_that_contradict_each_other_are_a_warning(set_up: SetUp) -> None:
    set_up.stack.add_product("open", "--auth", "serial", "--key-source", "device-csr")
    it = set_up.doctor(code=0)["product open", "rules"]
    assert (it["result"], "window" in it["to_do"]) == ("warning", True), it
