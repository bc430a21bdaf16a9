"""TLS to a real MariaDB, and to a stand-in for MySQL 8; and the passwords that do not leave without it."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import text

from cvmd.errors import ConfigError
from cvmd.model import Secret
from cvmd.ports import StoreDown
from cvmd.store import Database, connections
from cvmd.store.tls import NO_TLS, Tls, is_here, plugins
from tests.cvmd.store.mysql8 import PASSWORD, MySQL8, listening
from tools.mariadb import MariaDB, private_mariadb

FOR_US, FOR_ANOTHER = "IP:127.0.0.1", "DNS:db.example.com"


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def sign(directory: Path, name: str, host: str = "") -> None:
    """`name`.pem and its key; signed by `ca.pem` in the directory, which is made when there is none."""
    key, issuer = directory / f"{name}.key", directory / "ca"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj", f"/CN={name}"]
    if not issuer.with_suffix(".pem").exists():
        openssl("req", "-x509", *new[:-4], "-keyout", issuer.with_suffix(".key"), "-subj", "/CN=CA", "-out",
                issuer.with_suffix(".pem"))  # fmt: skip
    names = ["-addext", f"subjectAltName={host}"] if host else []
    openssl("req", "-x509", "-CA", issuer.with_suffix(".pem"), "-CAkey", issuer.with_suffix(".key"), *new, *names,
            "-addext", "basicConstraints=critical,CA:FALSE", "-out", directory / f"{name}.pem")  # fmt: skip


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; server.pem, which a test may sign anew; client.pem; and a stranger's CA in other/."""
    directory = tmp_path_factory.mktemp("tls")
    (directory / "other").mkdir()
    sign(directory, "server", FOR_US)
    sign(directory, "client")
    sign(directory / "other", "any")
    return directory


@pytest.fixture(scope="session")
def server_with_tls(papers: Path) -> Iterator[MariaDB]:
    files = [f"--ssl-{kind}={papers / name}" for kind, name in
             (("ca", "ca.pem"), ("cert", "server.pem"), ("key", "server.key"))]  # fmt: skip
    with private_mariadb(*files) as server:
        server.create_database("tls")
        yield server


def cipher(server: MariaDB, tls: Tls, url: str = "") -> str:
    """By which a connection is encrypted; empty: it is not."""
    database = Database(url or server.url("tls"), tls=tls, timeout_s=5)
    try:
        row = database.statement(lambda t: t.row(text("SHOW STATUS LIKE 'Ssl_cipher'")))
        assert row is not None
        return str(row[1])
    finally:
        database.close()


@pytest.mark.parametrize("host", [FOR_US, FOR_ANOTHER])
def test_each_mode_takes_the_certificates_that_it_should(server_with_tls: MariaDB, papers: Path, host: str) -> None:
    sign(papers, "server", host)
    server_with_tls.execute("FLUSH SSL")
    ca, stranger = papers / "ca.pem", papers / "other" / "ca.pem"

    assert cipher(server_with_tls, NO_TLS) == ""
    assert cipher(server_with_tls, Tls("required"))
    assert cipher(server_with_tls, Tls("verify-ca", ca))
    with pytest.raises(StoreDown, match=r"TLS: .*certificate.*tls_ca_file"):
        cipher(server_with_tls, Tls("verify-ca", stranger))
    with pytest.raises(StoreDown, match=r"TLS: .*certificate.*tls_ca_file"):
        cipher(server_with_tls, Tls("verify-ca"))  # nobody of this machine's own list signed it
    if host == FOR_US:
        assert cipher(server_with_tls, Tls("verify", ca))
    else:
        with pytest.raises(StoreDown, match=r"TLS: .*127\.0\.0\.1"):
            cipher(server_with_tls, Tls("verify", ca))


def test_our_certificate_is_shown_to_who_wants_it(server_with_tls: MariaDB, papers: Path) -> None:
    server_with_tls.execute(
        "CREATE OR REPLACE USER known@127.0.0.1 REQUIRE SUBJECT '/CN=client'",
        "GRANT SELECT ON tls.* TO known@127.0.0.1",
    )
    url = f"mysql+pymysql://known@127.0.0.1:{server_with_tls.port}/tls"
    with_ours = Tls("required", certificate=papers / "client.pem", key=papers / "client.key")
    assert cipher(server_with_tls, with_ours, url)
    for without in (Tls("required"), NO_TLS):
        with pytest.raises(StoreDown, match=r"has to come by TLS \(database.tls\)"):
            cipher(server_with_tls, without, url)


def test_a_server_without_tls_is_not_talked_to_in_clear(mariadb: MariaDB, mariadb_url: str) -> None:
    with pytest.raises(StoreDown, match=r"the server offers no TLS \(database.tls\)"):
        cipher(mariadb, Tls("required"), mariadb_url)


def test_files_that_cannot_be_used_are_named(papers: Path, tmp_path: Path) -> None:
    no_pem, locked = tmp_path / "no.pem", tmp_path / "locked.key"
    no_pem.write_text("no PEM")
    openssl("pkey", "-in", papers / "client.key", "-aes256", "-passout", "pass:word", "-out", locked)
    for tls, problem in (
        (Tls("verify", tmp_path / "absent.pem"), "tls_ca_file: .*absent.pem: cannot be read: No such file"),
        (Tls("verify", no_pem), "tls_ca_file: .*no.pem: cannot be used"),
        (
            Tls("verify", papers / "ca.pem", papers / "client.pem", locked),
            "tls_cert_file: .*client.pem: cannot be used",
        ),
        (Tls("required", None, papers / "client.pem", papers / "server.key"), "tls_cert_file: .* cannot be used"),
    ):
        with pytest.raises(ConfigError, match=f"^database.{problem}"):
            Database("mysql+pymysql://u@db.example.com/d", tls=tls)


@pytest.mark.parametrize(("host", "here"), [
    (None, True), ("", True), ("localhost", True), ("127.0.0.1", True), ("::1", True),
    ("10.0.0.1", False), ("db.example.com", False), ("127.0.0.1.example.com", False),
])  # fmt: skip
def test_what_is_this_machine(host: str | None, here: bool) -> None:
    assert is_here(host) is here


# A stand-in for MySQL 8.


def ask(server: MySQL8, tls: Tls = NO_TLS) -> None:
    """One question to it."""
    database = Database(
        f"mysql+pymysql://cvmd@127.0.0.1:{server.port}/cvmd", password=Secret(PASSWORD), tls=tls, timeout_s=5
    )
    try:
        database.statement(lambda t: t.row(text("SELECT 1")))
    finally:
        database.close()


def let_in(server: MySQL8, *, exposed: bool, context: ssl.SSLContext | None = None) -> bool:
    """Whether a connection as ours ends well: it has no answers to the questions that SQLAlchemy asks next."""
    pymysql.connect(
        host="127.0.0.1", port=server.port, user="cvmd", password=PASSWORD.decode(), ssl=context,
        ssl_disabled=context is None, auth_plugin_map=plugins(exposed=exposed),  # type: ignore[arg-type]  # bytes or str
    ).close()  # fmt: skip
    return server.let_in == 1


def its_tls(papers: Path) -> ssl.SSLContext:
    """Of a server that is who it says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    sign(papers, "server", FOR_US)
    context.load_cert_chain(papers / "server.pem", papers / "server.key")
    return context


@pytest.mark.parametrize("remembers", [True, False])
def test_caching_sha2_password_on_this_machine(remembers: bool) -> None:
    with listening(MySQL8(remembers=remembers)) as server:
        assert let_in(server, exposed=False)
    assert server.offered_key is not remembers


@pytest.mark.parametrize("remembers", [True, False])
def test_caching_sha2_password_by_tls(remembers: bool, papers: Path) -> None:
    with listening(MySQL8(remembers=remembers, tls=its_tls(papers))) as server:
        assert let_in(server, exposed=False, context=Tls("verify", papers / "ca.pem").context())
    assert not server.offered_key


def test_caching_sha2_password_in_clear_to_another_machine_as_far_as_it_is_a_hash() -> None:
    with listening(MySQL8(remembers=True)) as server:
        assert let_in(server, exposed=True)


@pytest.mark.parametrize(
    "plugin",
    ["caching_sha2_password", "sha256_password", "mysql_clear_password", "dialog", "mysql_old_password"],
)
@pytest.mark.parametrize("tls", [NO_TLS, Tls("required")], ids=["clear", "by TLS to anybody"])
def test_inv6_no_readable_password_leaves_for_whoever_answers(
    plugin: str, tls: Tls, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor under a public key that whoever answers has sent along."""
    monkeypatch.setattr(connections, "is_here", lambda _: False)
    refused = pytest.raises(StoreDown, match=r'readable for whoever answers: set database.tls = "verify" \(2061\)')
    with listening(MySQL8(plugin, tls=None if tls is NO_TLS else its_tls(papers))) as server, refused:
        ask(server, tls)
    assert not server.offered_key
    assert PASSWORD not in b"".join(server.received)
    requests = 1 if tls is NO_TLS else 2  # one of which asks for TLS
    assert len(server.received) == requests, "nothing follows the client's first answer"


@pytest.mark.parametrize("tls", [NO_TLS, Tls("required")], ids=["clear", "by TLS to anybody"])
def test_inv6_nor_for_a_server_that_names_such_a_plugin_at_once(
    tls: Tls, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's answer to a greeting asks no plugin of ours."""
    monkeypatch.setattr(connections, "is_here", lambda _: False)
    server = MySQL8("sha256_password", "sha256_password", tls=None if tls is NO_TLS else its_tls(papers))
    with listening(server), pytest.raises(StoreDown, match=r'set database.tls = "verify" \(2061\)'):
        ask(server, tls)
    assert PASSWORD not in b"".join(server.received)


def test_ed25519_says_what_it_lacks() -> None:
    with listening(MySQL8("client_ed25519")) as server, pytest.raises(StoreDown, match="install PyNaCl"):
        ask(server)
