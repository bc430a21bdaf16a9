"""From a configuration to a database."""

from pathlib import Path

import pytest

from cvmd import config
from cvmd.database import configured, connections, logged_in
from cvmd.errors import ConfigError

REMOTE = '[database]\nurl = "mysql+pymysql://cvmd@db.example.com/cvmd"\n'


def test_a_connection_for_every_thread_that_asks() -> None:
    sizes = config.parse("[database]\npool = 3\n[worker]\nconcurrency = 4\n[disposal]\nconcurrency = 5\n", "test")
    assert connections(sizes) == 3 + 4 + 5 + 3
    assert configured(sizes, pool=7).engine.pool.size() == 7  # type: ignore[attr-defined]  # the pool that it makes


def test_inv6_a_key_of_tls_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "tls.key"
    key.write_text("a key")
    key.chmod(0o644)
    text = f'{REMOTE}tls = "verify"\ntls_cert_file = "{key}"\ntls_key_file = "{key}"'
    with pytest.raises(ConfigError, match=r"tls\.key: others may read or write this secret"):
        configured(config.parse(text, "test"))


def test_a_file_of_tls_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    text = f'{REMOTE}tls = "verify-ca"\ntls_ca_file = "{tmp_path}/absent.pem"'
    with pytest.raises(ConfigError, match=r"database\.tls_ca_file: .*absent\.pem: cannot be read: No such file"):
        configured(config.parse(text, "test"))


@pytest.mark.parametrize(("written", "read"), [
    ("cvmd@db:3307/cvmd", "a%40b@db:3307/cvmd"),
    ("db/cvmd", "a%40b@db/cvmd"),
    ("/cvmd?unix_socket=/run/s", "a%40b@/cvmd?unix_socket=/run/s"),
])  # fmt: skip
def test_another_login_to_the_same_database(written: str, read: str) -> None:
    whole = config.parse(f'[database]\nurl = "mysql+pymysql://{written}"\npassword_file = "/one"\npool = 3', "test")
    other = logged_in(whole, "a@b", "/other").database
    assert (other.url, other.password_file, other.pool) == (f"mysql+pymysql://{read}", "/other", 3)
    assert logged_in(whole, None, None) == whole
    with pytest.raises(ConfigError, match=r"^database\.password_file: must be a file's path"):
        logged_in(whole, None, "pa55word")
