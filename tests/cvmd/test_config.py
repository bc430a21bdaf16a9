"""The configuration file: what it may say, and what the operator is told where it may not."""

import re
import stat
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from cvmd import config
from cvmd.config import Aws, Config, Database, Worker
from cvmd.errors import ConfigError
from protocol import constants as wire
from protocol.constants import Suite

TCP = '[database]\nurl = "mysql+pymysql://cvmd@db.example.com/cvmd"'
SOCKET = '[database]\nurl = "mysql+pymysql://cvmd@/cvmd?unix_socket=/run/mysqld.sock"'
REFUSED = {
    "unknown key": ("[listen]\nprot = 1", "listen.prot: unknown key; did you mean port?"),
    "unknown section": ("[lisen]", "lisen: unknown key; did you mean listen?"),
    "key of another section": ("[aws]\nbacklog = 1", "aws.backlog: unknown key here; it belongs into"),
    "key without section": ("port = 1", "port: unknown key here; it belongs into [listen]"),
    "key like no other": ("[log]\nzzz = 1", "log.zzz: unknown key; known are level, format"),
    "text for a number": ('[listen]\nport = "1"', "listen.port: expected a whole number"),
    "number for text": ("[listen]\nhost = 1", 'listen.host: expected text in "quotes", got a whole number'),
    "no address": ('[listen]\nhost = ""', 'listen.host: expected text in "quotes" of length >= 1'),
    "truth for a number": ("[listen]\nport = true", "listen.port: expected a whole number, got true"),
    "number for a section": ("listen = 1", "listen: expected a table"),
    "port too high": ("[listen]\nport = 65536", "listen.port: expected a whole number <= 65535"),
    "port negative": ("[listen]\nport = -1", "listen.port: expected a whole number >= 0"),
    "no such suite": ('[listen]\nsuites = ["mac", "tls"]', "listen.suites: must be one of mac, noise"),
    "no suite at all": ("[listen]\nsuites = []", "listen.suites: expected a list of length >= 1"),
    "no such level": ('[log]\nlevel = "loud"', "log.level: must be one of debug, info, warning, error"),
    "a certificate without its key": ('[tls]\ncertificate_file = "/c"', "tls.certificate_file: goes with key_file"),
    "a key without its certificate": ('[tls]\nkey_file = "/k"', "tls.certificate_file: goes with key_file"),
    "a key in its file's place": (
        '[tls]\ncertificate_file = "/c"\nkey_file = "-----BEGIN"',
        "tls.key_file: must be a file's path",
    ),
    "no listener": ("[listen]\nplain = false", "listen.plain: is false, and without tls.certificate_file"),
    "deadline beyond SPEC": ("[deadlines]\nhello_s = 11", "deadlines.hello_s: expected a number <= 10"),
    "time that never ends": ("[database]\ntimeout_s = inf", "database.timeout_s: expected a number <= 120"),
    "time that is no number": ("[database]\ntimeout_s = nan", "database.timeout_s: expected a number > 0"),
    "time of nothing": ("[worker]\nlease_s = 0", "worker.lease_s: expected a number > 0"),
    "lease against the database": (
        "[worker]\nlease_s = 29.9",
        "worker.lease_s: 29.9 is below 3 x database.timeout_s (10)",
    ),
    "lease against AWS": ("[aws]\nread_timeout_s = 50", "worker.lease_s: 60 is below aws.connect_timeout_s"),
    "source above all": ("[listen]\nmax_connections = 9", "listen.max_per_source: is more than"),
    "another database": ('[database]\nurl = "postgresql://h/d"', "database.url: must begin with sqlite:///"),
    "database in memory": ('[database]\nurl = "sqlite:///:memory:"', "database.url: names no file"),
    "no file of the database": ('[database]\nurl = "sqlite:///"', "database.url: names no file"),
    "no port of the database": (
        '[database]\nurl = "mysql+pymysql://u@h:port/d"',
        "database.url: its host or port is none",
    ),
    "half an address": ('[database]\nurl = "mysql+pymysql://u@[::1/d"', "database.url: its host or port is none"),
    "option in the URL": (
        '[database]\nurl = "mysql+pymysql://h/d?ssl_ca=f"',
        "database.url: ssl_ca cannot be set there",
    ),
    "no such TLS": ('[database]\ntls = "on"', "database.tls: must be one of off, required, verify-ca, verify"),
    "TLS to a file": ('[database]\ntls = "verify"', "database.tls: is for TCP"),
    "TLS to a socket": (f'{SOCKET}\ntls = "verify"', "database.tls: is for TCP"),
    "a CA without TLS": (f'{TCP}\ntls_ca_file = "/ca.pem"', "database.tls_ca_file: is set, and tls is off"),
    "a CA that nobody asks": (f'{TCP}\ntls = "required"\ntls_ca_file = "/ca"', "database.tls_ca_file: is looked at"),
    "any public CA, for whatever host": (f'{TCP}\ntls = "verify-ca"', "database.tls_ca_file: is empty, and verify-ca"),
    "half a certificate": (f'{TCP}\ntls = "verify"\ntls_cert_file = "/c"', "database.tls_cert_file: goes with"),
    "a key for its file": (f'{TCP}\ntls = "verify"\ntls_key_file = "PEM"', "database.tls_key_file: must be a file"),
    "empty master key path": ('[secrets]\nmaster_key_file = ""', "secrets.master_key_file: is empty"),
    "a port of 65536": ('[aws]\nendpoint_url = "https://h:65536"', "aws.endpoint_url: must be https://host[:port]"),
    "a host that is none": ('[aws]\nendpoint_url = "https://-"', "aws.endpoint_url: must be https://host[:port]"),
    "AWS in clear": ('[aws]\nendpoint_url = "http://iot.example.com"', "aws.endpoint_url: must be https://host[:port]"),
    "STS in clear": ('[aws]\nsts_endpoint_url = "sts"', "aws.sts_endpoint_url: must be https://host[:port]"),
    "AWS's keys by a relative path": ('[aws]\nconfig_file = "aws.config"', "aws.config_file: must be a file's path"),
    "not TOML": ("[listen", "not TOML: "),
    "a NUL": ('[worker]\nstate_dir = "/a\\u0000"', "a value holds \\u0000: take it out"),
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_names_file_key_and_problem(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse(text, "cvmd.toml")

    assert str(refused.value).startswith(f"cvmd.toml: {problem}")
    assert "\n" not in str(refused.value)


SECRET = "5ec7e7" * 8
WITH_SECRET = {
    "password in the URL": f'[database]\nurl = "mysql+pymysql://cvmd:{SECRET}@db/cvmd"',
    "password with a slash in the URL": f'[database]\nurl = "mysql+pymysql://cvmd:a/{SECRET}@db/cvmd"',
    "password in the URL's query": f'[database]\nurl = "mysql+pymysql://cvmd@db/cvmd?password={SECRET}"',
    "URL of an unknown scheme": f'[database]\nurl = "mysql://cvmd:{SECRET}@db/cvmd"',
    "password for its file": f'[database]\npassword_file = "{SECRET}"',
    "password": f'[database]\npassword = "{SECRET}"',
    "master key for its file": f'[secrets]\nmaster_key_file = "{SECRET}"',
    "master key": f'[secrets]\nmaster_key = "{SECRET}"',
    "TOML that breaks": f'[secrets]\nmaster_key = "{SECRET}',
}


@pytest.mark.parametrize("text", WITH_SECRET.values(), ids=WITH_SECRET.keys())
def test_inv6_a_secret_in_the_file_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse(text, "cvmd.toml")

    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_password_in_the_url_is_answered_with_where_to_put_it() -> None:
    with pytest.raises(ConfigError, match="password_file"):
        config.parse(WITH_SECRET["password in the URL"], "cvmd.toml")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////var/lib/cvmd/cvmd.db",
        "mysql+pymysql://cvmd@db.internal:3306/cvmd",
        "mysql+pymysql://cvmd@localhost/cvmd?unix_socket=/run/mysqld/mysqld.sock",
    ],
)
def test_a_url_without_password_is_taken(url: str) -> None:
    assert config.parse(f'[database]\nurl = "{url}"', "cvmd.toml").database.url == url


def test_the_example_says_every_default_and_only_those() -> None:
    text = config.example()

    assert config.parse(text, "example") == Config()
    said = {section: set(keys) for section, keys in tomllib.loads(text).items()}
    assert said == {name: set(getattr(Config(), name).__struct_fields__) for name in Config.__struct_fields__}


def test_every_key_of_the_example_has_its_line_of_doc() -> None:
    lines = config.example().splitlines()

    for before, line in pairwise(lines):
        if re.match(r"\w+ = ", line):
            assert re.match(r"# \S", before), line


def test_an_empty_file_is_the_defaults_which_are_the_protocols() -> None:
    loaded = config.parse("", "cvmd.toml")

    assert loaded == Config()
    assert loaded.listen.port == wire.DEFAULT_PORT
    assert loaded.listen.offered == set(Suite)
    assert not loaded.listen.trusted_network


def test_only_ratios_bind_the_lease() -> None:
    short = Config(
        worker=Worker(lease_s=2),
        database=Database(timeout_s=0.5),
        aws=Aws(connect_timeout_s=0.5, read_timeout_s=1),
    )

    assert short.worker.lease_s == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_load_reads_the_named_file(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "cvmd.toml"
    file.write_text("[listen]\nport = 7000\n", encoding=encoding)

    assert config.load(file).listen.port == 7000


def test_a_missing_file_is_answered_with_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "cvmd.toml")

    with pytest.raises(ConfigError, match=r"no such file; make one with `cvmd config --example > .*--config"):
        config.load()
    with pytest.raises(ConfigError, match=r"other\.toml: no such file"):
        config.load(tmp_path / "other.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cvmd.toml"
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"cvmd\.toml: cannot be read: not UTF-8"):
        config.load(file)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("  correct horse\n")
    file.chmod(0o600)
    return file


def test_a_password_is_read_from_its_file_without_white_space(secret_file: Path) -> None:
    password = Database(password_file=str(secret_file)).password()

    assert password is not None
    assert password.reveal() == b"correct horse"
    assert Database().password() is None


@pytest.mark.parametrize("written", ["$CREDENTIALS_DIRECTORY/password", "${CREDENTIALS_DIRECTORY}/password"])
def test_a_credential_is_where_systemd_put_it(written: str, secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret_file.parent))

    assert config.read_secret(written).reveal() == b"correct horse"


def test_a_credential_without_systemd_is_beside_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert Config().secrets.master_key_path == Path("/etc/cvmd/master.key")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620])
def test_inv6_a_secret_that_others_can_reach_is_refused(secret_file: Path, mode: int) -> None:
    secret_file.chmod(mode)

    with pytest.raises(ConfigError, match="chmod 0400"):
        config.read_secret(str(secret_file))


def test_a_secret_that_systemd_hands_over_is_group_readable(secret_file: Path) -> None:
    secret_file.chmod(stat.S_IRUSR | stat.S_IRGRP)

    assert config.read_secret(str(secret_file)).reveal() == b"correct horse"


@pytest.mark.parametrize(("content", "problem"), [("\n", "no secret"), ("x" * 5000, "more than a secret")])
def test_a_secret_of_the_wrong_size_is_refused(secret_file: Path, content: str, problem: str) -> None:
    secret_file.write_text(content)

    with pytest.raises(ConfigError, match=problem):
        config.read_secret(str(secret_file))


def test_a_secret_that_is_not_there_is_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing: this secret cannot be read: No such file"):
        config.read_secret(str(tmp_path / "nothing"))
