"""A private MariaDB server on loopback: own data directory, own port, gone when it is closed."""

import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import pymysql

GRANTS = resources.files("cvmd.store") / "grants.sql"
ANSWERS_WITHIN_S = 60.0


class MariaDB:
    """One mariadbd. `stop`, `kill` and `start` may follow each other: data, port and password stay."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Lays the data directory in `directory`, which must be there; starts nothing. `options`: of mariadbd."""
        self.port = _free_port()
        self._options = options
        self._directory = directory
        self._password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        # In a directory of its own: a Unix socket's path ends at 107 bytes, and test directories are longer.
        self.socket = Path(tempfile.mkdtemp(prefix="mariadb-")) / "s"
        self._install()

    def start(self) -> None:
        """Returns once it answers; does nothing when it runs already."""
        if self._process is not None:
            return
        command = [
            _program("mariadbd"),
            "--no-defaults",
            *_as_user(),
            f"--datadir={self._data}",
            f"--socket={self.socket}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=2",  # outlives kill -9 of the server, which is all we do to it
            *self._options,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"mariadbd did not come up: {self._last_words()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it in order; open connections are cut."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)  # `start` takes a socket for a server that listens

    def close(self) -> None:
        """Stops it and takes its socket's directory away; its data stay in the directory it was given."""
        self.stop()
        shutil.rmtree(self.socket.parent)

    def create_database(self, name: str) -> str:
        """A new, empty database, with the logins of the shipped grants.sql and no others; the daemon's SQLAlchemy URL.

        They are named after the database, so that none has rights on another one.
        """
        self.execute(*_statements(GRANTS, name, self._password))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """The database is gone, with all in it, and its logins."""
        self.execute(f"DROP DATABASE `{name}`", *(f"DROP USER {login}" for login in self._logins(name)))

    def _logins(self, database: str) -> list[str]:
        with self.connected() as cursor:
            cursor.execute("SELECT User, Host FROM mysql.user")
            known = cursor.fetchall()
        return [f"'{user}'@'{host}'" for user, host in known if user == database or user.startswith(f"{database}-")]

    def url(self, database: str) -> str:
        """The daemon's SQLAlchemy URL of a database, password included, whether or not it is there."""
        return f"mysql+pymysql://{database}:{self._password}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def connected(self) -> Iterator[pymysql.cursors.Cursor]:
        """A connection of the server's administrator, open meanwhile."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user=getpass.getuser(), autocommit=True, connect_timeout=5
        )
        with connection, connection.cursor() as cursor:
            yield cursor

    def execute(self, *statements: str) -> None:
        """Runs statements as the server's administrator."""
        with self.connected() as cursor:
            for statement in statements:
                cursor.execute(statement)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It does nothing meanwhile, and its connections stay."""
        assert self._process is not None, "it runs"
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @property
    def _environment(self) -> dict[str, str]:
        """With a place of its own for temporary tables: a server that starts removes those it finds."""
        place = self._directory / "tmp"
        place.mkdir(exist_ok=True)
        return {**os.environ, "TMPDIR": str(place)}

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def _log(self) -> Path:
        return self._directory / "mariadbd.log"

    def _install(self) -> None:
        """System tables, and the administrator: this very user, known by the Unix socket."""
        installed = subprocess.run(
            [
                _program("mariadb-install-db"),
                "--no-defaults",
                "--force",  # where the machine's own name, or even localhost, is in no /etc/hosts
                *_as_user(),
                f"--datadir={self._data}",
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={getpass.getuser()}",
                "--skip-test-db",
            ],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if installed.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {installed.stdout[-2000:]}")

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def login(url: str, name: str) -> str:
    """The URL for another login of grants.sql: `migrate`. That of a SQLite file stays as it is."""
    return re.sub(r"//([^:@/]+):", rf"//\1-{name}:", url)


def _statements(script: Traversable, database: str, password: str) -> list[str]:
    """Those of a script of grants, as an operator adapts it: names, host, passwords."""
    text = re.sub(r"--.*", "", script.read_text())
    text = re.sub(r"'cvmd(-\w+)?'@'localhost'", rf"'{database}\1'@'127.0.0.1'", text)
    text = re.sub(r"IDENTIFIED BY '[^']*'", f"IDENTIFIED BY '{password}'", text)
    text = re.sub(r"\bcvmd(?=\.| CHARACTER)", f"`{database}`", text)
    return [statement for statement in text.split(";") if statement.strip()]


@contextmanager
def private_mariadb(*options: str) -> Iterator[MariaDB]:
    """A running server in a temporary directory that vanishes with it. `options`: more of mariadbd's."""
    with tempfile.TemporaryDirectory(prefix="cvmd-mariadb-") as directory:
        server = MariaDB(Path(directory), *options)
        try:
            server.start()
            yield server
        finally:
            server.close()


def _as_user() -> list[str]:
    """mariadbd refuses to run as root unless it is told so; its data directory is private to us anyway."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _program(name: str) -> str:
    """mariadbd lies in a directory that an ordinary user's PATH may lack."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed; tools/test installs what the tests need")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
