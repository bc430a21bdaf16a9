"""The configuration: one TOML file as frozen types, each key with default, bounds and a line of doc.

Secrets are never in it, only paths of files that hold them. An unknown key is an error. What `load` gives has
passed every rule; `example` writes the file that says all defaults.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta, Struct, field

from cvmd import config_text
from cvmd.errors import ConfigError
from cvmd.model import Secret
from protocol import constants as wire
from protocol.constants import Suite

DEFAULT_PATH: Final = Path("/etc/cvmd/cvmd.toml")
CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY"
_CREDENTIALS_PREFIXES: Final = (CREDENTIALS + "/", "${CREDENTIALS_DIRECTORY}/")
_MAX_SECRET: Final = 4096
ENDPOINT_URL: Final = re.compile(
    r"(?a)(https://(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63}){0,8}|http://(127\.\d+\.\d+\.\d+|localhost|\[::1\]))"
    r"(:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]))?/?"
)
"""Of AWS's control plane, or of who stands for it: never in clear to another machine."""


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where devices connect, and what they are offered there. Limits hold for the TLS listener too."""

    plain: Annotated[bool, Meta(description="listen without TLS; false: only as [tls] says")] = True
    host: Annotated[str, Meta(min_length=1, description="address to bind; an inherited socket wins over it")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0: any free one")] = wire.DEFAULT_PORT
    backlog: Annotated[int, Meta(ge=1, le=65535, description="connections not yet accepted")] = 1024
    trusted_network: Annotated[
        bool, Meta(description="nobody eavesdrops here: a server-made key may leave in suite mac")
    ] = False
    suites: Annotated[
        tuple[Literal["mac", "noise"], ...], Meta(min_length=1, description="suites offered to devices")
    ] = ("mac", "noise")
    max_connections: Annotated[
        int, Meta(ge=1, le=1_000_000, description="open connections in all; by TLS 110 KiB each")
    ] = 10_000
    max_per_source: Annotated[
        int, Meta(ge=1, le=1_000_000, description="open connections of one source address; mind NAT")
    ] = 256

    @property
    def offered(self) -> frozenset[Suite]:
        """`suites` as the protocol names them."""
        return frozenset(Suite[name.upper()] for name in self.suites)


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """The TLS listener. SIGHUP reads both files anew."""

    certificate_file: Annotated[
        str, Meta(description="PEM, the server's certificate and then the intermediate ones; empty: no TLS listener")
    ] = ""
    key_file: Annotated[str, Meta(description=f"its key in PEM without a password, absolute or {CREDENTIALS}/name")] = (
        ""
    )
    host: Annotated[
        str, Meta(min_length=1, description="address to bind; an inherited socket named tls wins over it")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0: any free one")] = wire.DEFAULT_TLS_PORT
    suites: Annotated[
        tuple[Literal["mac", "noise"], ...], Meta(min_length=1, description="suites offered inside of TLS")
    ] = ("mac", "noise")

    def __post_init__(self) -> None:
        _check_secret_path("certificate_file", self.certificate_file)
        _check_secret_path("key_file", self.key_file)
        if bool(self.certificate_file) is not bool(self.key_file):
            raise ValueError("certificate_file: goes with key_file; name both, or neither")

    @property
    def offered(self) -> frozenset[Suite]:
        """`suites` as the protocol names them."""
        return frozenset(Suite[name.upper()] for name in self.suites)


class Deadlines(Struct, frozen=True, forbid_unknown_fields=True):
    """How long anything may take. The upper bounds are SPEC.md's."""

    handshake_s: Annotated[
        float, Meta(gt=0, le=wire.HANDSHAKE_DEADLINE_S, description="of TLS, from accept; the others begin after it")
    ] = float(wire.HANDSHAKE_DEADLINE_S)
    hello_s: Annotated[float, Meta(gt=0, le=wire.HELLO_DEADLINE_S, description="from accept to HELLO")] = float(
        wire.HELLO_DEADLINE_S
    )
    proof_s: Annotated[float, Meta(gt=0, le=wire.PROOF_DEADLINE_S, description="from accept to PROOF")] = float(
        wire.PROOF_DEADLINE_S
    )
    session_s: Annotated[
        float, Meta(gt=0, le=wire.SESSION_DEADLINE_S, description="a whole connection, after PROOF")
    ] = float(wire.SESSION_DEADLINE_S)
    progress_s: Annotated[
        float, Meta(gt=0, le=wire.PROGRESS_DEADLINE_S, description="without progress, after PROOF")
    ] = float(wire.PROGRESS_DEADLINE_S)
    request_s: Annotated[
        float, Meta(gt=0, le=wire.ANSWER_DEADLINE_S, description="a request is held so long before WAIT")
    ] = float(wire.ANSWER_DEADLINE_S)
    auth_delay_ms: Annotated[
        int, Meta(ge=1, le=5000, description="from PROOF to the refusal AUTH, whatever its cause")
    ] = 250
    drain_s: Annotated[float, Meta(ge=0, le=600, description="a stopping daemon lets begun work end for so long")] = (
        30.0
    )


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """MySQL, MariaDB, or the embedded SQLite."""

    url: Annotated[
        str,
        Meta(description="sqlite:////path or mysql+pymysql://user@host/name?unix_socket=/path; no password"),
    ] = "sqlite:////var/lib/cvmd/cvmd.db"
    password_file: Annotated[
        str, Meta(description=f"file with the password, absolute or {CREDENTIALS}/name; empty: none")
    ] = ""
    tls: Annotated[
        Literal["off", "required", "verify-ca", "verify"],
        Meta(description="by TCP: encrypted; and who signed the server's certificate; and for which host"),
    ] = "off"
    tls_ca_file: Annotated[
        str, Meta(description="PEM: who may sign the server's certificate; empty: whom this machine trusts, for verify")
    ] = ""
    tls_cert_file: Annotated[str, Meta(description="PEM: our certificate, where the server wants one; empty: none")] = (
        ""
    )
    tls_key_file: Annotated[
        str, Meta(description=f"PEM: the key of tls_cert_file, absolute or {CREDENTIALS}/name; empty: none")
    ] = ""
    pool: Annotated[int, Meta(ge=1, le=256, description="connections, each with its thread")] = 8
    timeout_s: Annotated[
        float, Meta(gt=0, le=120, description="of a statement; Galera stalls 6.4 s when it loses a node")
    ] = 10.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("sqlite:///", "mysql+pymysql://")):
            raise ValueError("url: must begin with sqlite:/// or mysql+pymysql://")
        if re.match(r"[a-z+]+://[^:/@]*:.*@", self.url) or re.search(r"[?&]passw", self.url, re.IGNORECASE):
            raise ValueError("url: has a password in it; put that into a file, named in password_file")
        if self.url.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("url: names no file; write sqlite:////absolute/path (four slashes)")
        try:
            urlsplit(self.url).port  # noqa: B018  # which raises
        except ValueError:
            raise ValueError("url: its host or port is none; write user@host:3306, an IPv6 address in [ ]") from None
        _check_secret_path("password_file", self.password_file)
        _check_secret_path("tls_key_file", self.tls_key_file)
        self._check_transport()

    def _check_transport(self) -> None:
        options = dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))
        if unknown := options.keys() - {"unix_socket"}:
            raise ValueError(f"url: {min(unknown)} cannot be set there, only unix_socket can; for TLS see database.tls")
        by_tcp = self.url.startswith("mysql") and "unix_socket" not in options
        if self.tls != "off" and not by_tcp:
            raise ValueError("tls: is for TCP; a file or a Unix socket crosses no network, so leave it off")
        files = [key for key in ("tls_ca_file", "tls_cert_file", "tls_key_file") if getattr(self, key)]
        if self.tls == "off" and files:
            raise ValueError(f"{files[0]}: is set, and tls is off; set tls to required, verify-ca or verify")
        if self.tls == "required" and self.tls_ca_file:
            raise ValueError("tls_ca_file: is looked at by verify-ca and verify only, and tls is required")
        if self.tls == "verify-ca" and not self.tls_ca_file:
            # Whom this machine trusts signs a certificate for everybody: that is proof only with the host's name.
            raise ValueError("tls_ca_file: is empty, and verify-ca asks for no host: name who signs, or set verify")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file: goes with tls_key_file; set both or none")

    def password(self) -> Secret | None:
        """What `password_file` holds, read now; None if it is empty. Raises ConfigError."""
        return read_secret(self.password_file) if self.password_file else None


class Secrets(Struct, frozen=True, forbid_unknown_fields=True):
    """What seals tokens and keys in the database."""

    master_key_file: Annotated[
        str, Meta(description="made by `cvmd secrets new`; keep a copy apart from the database's backups")
    ] = f"{CREDENTIALS}/master.key"

    def __post_init__(self) -> None:
        _check_secret_path("master_key_file", self.master_key_file)
        if not self.master_key_file:
            raise ValueError("master_key_file: is empty; make one with `cvmd secrets new FILE`")

    @property
    def master_key_path(self) -> Path:
        """Where `master_key_file` is here and now, for sealing.load_master_key."""
        return secret_path(self.master_key_file)


class Aws(Struct, frozen=True, forbid_unknown_fields=True):
    """AWS IoT, for accounts whose row does not say otherwise. Credentials come by boto3's own chain."""

    region: Annotated[str, Meta(description="empty: what boto3 finds (AWS_REGION, the profile)")] = ""
    profile: Annotated[str, Meta(description="of AWS's configuration file; empty: AWS_PROFILE, or default")] = ""
    config_file: Annotated[
        str,
        Meta(description=f"AWS's own: profiles, keys, credential_process; absolute or {CREDENTIALS}/name; empty: none"),
    ] = ""
    endpoint_url: Annotated[str, Meta(description="of the control plane; empty: AWS's own")] = ""
    sts_endpoint_url: Annotated[
        str, Meta(description="where roles are assumed; empty: AWS's own in the account's region")
    ] = ""
    data_endpoint: Annotated[str, Meta(description="MQTT host for devices; empty: AWS IoT is asked")] = ""
    root_ca: Annotated[
        str, Meta(description="for devices: auto, amazon-root-ca-1, amazon-root-ca-3, or a file (PEM or DER)")
    ] = "auto"
    connect_timeout_s: Annotated[float, Meta(gt=0, le=60, description="of the TCP and TLS handshake")] = 5.0
    read_timeout_s: Annotated[float, Meta(gt=0, le=60, description="of one answer")] = 15.0

    def __post_init__(self) -> None:
        _check_secret_path("config_file", self.config_file)
        for key in ("endpoint_url", "sts_endpoint_url"):
            value = getattr(self, key)
            if value and not ENDPOINT_URL.fullmatch(value):
                raise ValueError(f"{key}: must be https://host[:port]; http only to this machine, for keys come by it")


class Worker(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the daemon that carries issuances on."""

    concurrency: Annotated[int, Meta(ge=1, le=1024, description="issuances in hand at once")] = 16
    lease_s: Annotated[float, Meta(gt=0, le=3600, description="of a claim; at least 3 x database.timeout_s")] = 60.0
    poll_ms: Annotated[int, Meta(ge=10, le=60_000, description="between looks at the database")] = 200
    rsa_pool: Annotated[
        int, Meta(ge=0, le=10_000, description="keys made ahead, once key source rsa2048 has made its first")
    ] = 64
    state_dir: Annotated[
        str,
        Meta(description="keeps this node's id: a restart goes on at once. One a node, local; empty: $STATE_DIRECTORY"),
    ] = ""


class Disposal(Struct, frozen=True, forbid_unknown_fields=True):
    """How certificates that ended are removed at AWS: made inert, detached, deleted. Claims last worker.lease_s."""

    concurrency: Annotated[
        int, Meta(ge=1, le=64, description="certificates at once; they share AWS's quotas with new ones")
    ] = 2
    poll_s: Annotated[float, Meta(gt=0, le=3600, description="between looks at the database")] = 5.0


class Reconcile(Struct, frozen=True, forbid_unknown_fields=True):
    """AWS's inventory held against the rows, by one node for all; `cvmd reconcile` does it at once, and more."""

    every_h: Annotated[float, Meta(ge=0, le=24 * 366, description="hours; 0: never")] = 24.0
    calls_per_s: Annotated[float, Meta(gt=0, le=100, description="of AWS's quota of 10 for each kind of call")] = 5.0


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics for Prometheus, and health, by HTTP on 127.0.0.1 alone: /metrics, /healthz, /readyz."""

    enabled: Annotated[bool, Meta(description="answer there")] = False
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0: any free one, which the log tells")] = 7435


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """The log, on stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="libraries stay at warning")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal, else JSON lines")
    ] = "auto"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections; each may be left out."""

    listen: Listen = field(default_factory=Listen)
    tls: Tls = field(default_factory=Tls)
    deadlines: Deadlines = field(default_factory=Deadlines)
    database: Database = field(default_factory=Database)
    secrets: Secrets = field(default_factory=Secrets)
    aws: Aws = field(default_factory=Aws)
    worker: Worker = field(default_factory=Worker)
    disposal: Disposal = field(default_factory=Disposal)
    reconcile: Reconcile = field(default_factory=Reconcile)
    metrics: Metrics = field(default_factory=Metrics)
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        # A worker still inside a call when its lease ends has a rival: the lease outlasts every single wait.
        database_s, lease_s = self.database.timeout_s, self.worker.lease_s
        if lease_s < 3 * database_s:
            raise ValueError(f"worker.lease_s: {lease_s:g} is below 3 x database.timeout_s ({database_s:g})")
        call_s = self.aws.connect_timeout_s + self.aws.read_timeout_s
        if lease_s < call_s + database_s:
            raise ValueError(
                f"worker.lease_s: {lease_s:g} is below aws.connect_timeout_s + aws.read_timeout_s + "
                f"database.timeout_s ({call_s + database_s:g})"
            )
        if self.listen.max_per_source > self.listen.max_connections:
            raise ValueError("listen.max_per_source: is more than listen.max_connections")
        if not self.listen.plain and not self.tls.certificate_file:
            raise ValueError("listen.plain: is false, and without tls.certificate_file there is no other listener")


def load(path: Path | None = None) -> Config:
    """The configuration in `path`, or in /etc/cvmd/cvmd.toml. Raises ConfigError, which says what to do."""
    file = DEFAULT_PATH if path is None else path
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file; make one with `cvmd config --example > {file}`"
            + (", or name another with --config" if path is None else "")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {_reason(error)}") from None
    return parse(text, str(file))


def parse(text: str, source: str) -> Config:
    """The configuration that `text` (TOML) says; `source` begins the message of a ConfigError."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from None
    if "\\u0000" in text or "\\U00000000" in text:  # which TOML allows, and no path, name or URL
        raise ConfigError(f"{source}: a value holds \\u0000: take it out")
    try:
        return msgspec.convert(tables, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {config_text.explain(error, Config)}") from None


def example() -> str:
    """A commented TOML file that says every default; `parse` of it gives `Config()`."""
    return config_text.example(Config())


def read_secret(value: str) -> Secret:
    """The content of the file that a `*_file` key names, without surrounding white space.

    `$CREDENTIALS_DIRECTORY` is systemd's, or /etc/cvmd where it is not set: one configuration serves the unit
    and the operator. Raises ConfigError if the file cannot be read, is open to others, or is empty.
    """
    path = secret_path(value)
    with _open_private(path) as file:
        content = file.read(_MAX_SECRET + 1).strip()
    if not content or len(content) > _MAX_SECRET:
        raise ConfigError(f"{path}: holds {'no secret' if not content else 'more than a secret'}")
    return Secret(content)


def check_private(path: Path) -> None:
    """Raises ConfigError if the file cannot be read, or is open to others."""
    with _open_private(path):
        pass


@contextmanager
def _open_private(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            # Group-readable passes: systemd gives credentials by an ACL, whose mask shows as group bits.
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise ConfigError(f"{path}: others may read or write this secret; do `chmod 0400 {path}`")
            yield file
    except OSError as error:
        raise ConfigError(f"{path}: this secret cannot be read: {_reason(error)}") from None


def secret_path(value: str) -> Path:
    """The path that a `*_file` key names here and now."""
    for prefix in _CREDENTIALS_PREFIXES:
        if value.startswith(prefix):
            directory = os.environ.get("CREDENTIALS_DIRECTORY") or DEFAULT_PATH.parent
            return Path(directory, value.removeprefix(prefix))
    return Path(value)


def _check_secret_path(key: str, value: str) -> None:
    if value and not value.startswith(("/", *_CREDENTIALS_PREFIXES)):
        raise ValueError(f"{key}: must be a file's path, absolute or {CREDENTIALS}/name, not the secret")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "not UTF-8"
