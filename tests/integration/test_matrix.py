"""What is vended and what is refused: auth by key source by suite by listener, each cell once, as SECURITY.md says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from harness import MakeStack, creates, openssl, seed, wait_for_line

from cvmd.model import US, Auth, KeySource
from cvmd.sealing import Sealer, load_master_key
from cvmd.seals import seal_access, seal_product_key
from cvmd.secret import Secret
from cvmd.store import AdminStore, Database
from cvmd.store.products import ProductRules
from protocol.constants import Stage, Status, Suite
from tests.pki import Pki
from tools.client import DirectoryFlash, Done, Options, Outcome, Refused, vend
from tools.stack import Stack

SECURITY = Path(__file__).parents[2] / "protocol" / "SECURITY.md"
AUTHS: dict[str, dict[str, Any]] = {
    "`token`": {"auth": Auth.TOKEN},
    "`derived`": {"auth": Auth.DERIVED},
    "`serial`, from a source network": {"auth": Auth.SERIAL, "source_networks": "127.0.0.0/8"},
    "`serial`, window open": {"auth": Auth.SERIAL, "window_until_us": 4_000_000_000 * US},
    "`serial`, server keys allowed": {"auth": Auth.SERIAL, "source_networks": "127.0.0.0/8", "allow_server_keys": True},
    "`serial`, from elsewhere": {"auth": Auth.SERIAL, "source_networks": "192.0.2.0/24"},
}
"""What the products of each row say."""
PRODUCT_KEY = bytes(range(32))
LISTENERS = ("plain", "trusted", "TLS")

DONE, CHANNEL, AUTH = "DONE", "CHANNEL", "AUTH"


@dataclass(frozen=True)
class Cell:
    """One way to call."""

    auth: str
    key_source: KeySource
    listener: str
    suite: Suite

    @property
    def serial(self) -> str:
        """Of its own device."""
        number = list(AUTHS).index(self.auth)
        return f"{number}-{self.key_source}-{self.listener}-{self.suite.name}"

    @property
    def product(self) -> str:
        """Of its auth and key source."""
        return f"{list(AUTHS).index(self.auth)}-{self.key_source}"

    @property
    def answer(self) -> str:
        """As SPEC.md 12.1 and 12.3 have it."""
        return self._answer_and_reason[0]

    @property
    def reason(self) -> str:
        """A word of the log's line, if it is refused."""
        return self._answer_and_reason[1]

    @property
    def _answer_and_reason(self) -> tuple[str, str]:
        if "elsewhere" in self.auth:
            return AUTH, "in no source network"
        if not self.key_source.makes_key:
            return DONE, ""
        if AUTHS[self.auth]["auth"] is Auth.SERIAL and "allowed" not in self.auth:
            return CHANNEL, "proves nothing"
        return (CHANNEL, "use noise or TLS") if (self.suite, self.listener) == (Suite.MAC, "plain") else (DONE, "")


CELLS = [Cell(*each) for each in product(AUTHS, KeySource, LISTENERS, Suite)]

REFUSALS = {
    AUTH: Refused(Status.AUTH, Stage.PROOF, 60, 0, tagged=False),
    CHANNEL: Refused(Status.CHANNEL, Stage.PROOF, 3600, 0, tagged=True),
}


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
def stack(make_stack: MakeStack, mariadb_url: str, pki: Pki) -> Stack:
    """With a plain listener that is not trusted, one of TLS, a product for each auth and key source, all devices."""
    files = pki.server()
    made = make_stack(
        database_url=mariadb_url,
        listen__trusted_network=False,
        tls__certificate_file=str(files.certificate),
        tls__key_file=str(files.key),
        deadlines__auth_delay_ms=20,
    )
    add_products(made)
    seed(made, [(it.serial, token_of(it), f"thing-{it.serial}", "policy", it.product) for it in CELLS])
    return made


def add_products(stack: Stack) -> None:
    """One for each auth and key source; not by the command line, which would take most of the test's time."""
    sealer = Sealer(load_master_key(stack.directory / "master.key"))
    database = Database(stack.database_url)
    store = AdminStore(database)
    for auth, key_source in product(AUTHS, KeySource):
        rules = ProductRules(key_source=key_source, **AUTHS[auth])
        name = Cell(auth, key_source, "", Suite.MAC).product
        sealed = {
            Auth.TOKEN: None,
            Auth.DERIVED: seal_product_key(Secret(PRODUCT_KEY), name, sealer),
            Auth.SERIAL: seal_access(rules.access(), name, sealer),
        }
        store.add_product(name, rules, sealed_auth=sealed[rules.auth])
    database.close()


def token_of(cell: Cell) -> bytes:
    """What the database has of the device itself."""
    return cell.serial.encode().ljust(32, b".") if AUTHS[cell.auth]["auth"] is Auth.TOKEN else b""


def calls(stack: Stack, cell: Cell, pki: Pki) -> Options:
    """How the cell's device calls."""
    token = token_of(cell)
    if AUTHS[cell.auth]["auth"] is Auth.DERIVED:
        hmac = ["-mac", "HMAC", "-macopt", f"hexkey:{PRODUCT_KEY.hex()}"]
        token = openssl("dgst", "-sha256", *hmac, "-binary", stdin=cell.serial.encode())
    options = Options(
        host="127.0.0.1", port=stack.port, serial=cell.serial, token=token, key_source=cell.key_source,
        suite=cell.suite, max_wait_s=60,
    )  # fmt: skip
    return replace(options, port=stack.tls_port, tls=True, ca=pki.ca) if cell.listener == "TLS" else options


def openssl_agrees(stack: Stack, out: Path) -> None:
    """Its CA signed it, and the key is its own."""
    pem = out / "cert.pem"
    pem.write_bytes(openssl("x509", "-inform", "DER", "-in", out / "cert.der"))
    openssl("verify", "-CAfile", stack.ca, pem)
    key = openssl("pkey", "-inform", "DER", "-in", out / "key.der", "-pubout")
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == key


def answered(stack: Stack, cell: Cell, outcome: Outcome, out: Path) -> str:
    """The word for how it ended, all of it checked: the refusal and its reason in the log, or the certificate."""
    if isinstance(outcome, Done):
        openssl_agrees(stack, out)
        return DONE
    word = next((word for word, refusal in REFUSALS.items() if refusal == outcome), str(outcome))
    line = wait_for_line(stack, cell.serial)
    assert line["status"] == word, (cell, line)
    assert cell.reason in line["reason"], (cell, line)
    return word


def table(answers: dict[Cell, str]) -> Iterator[str]:
    """SECURITY.md's, of what was answered: a column's cell is one word, or server-made keys / device-csr."""
    columns = list(product(LISTENERS, Suite))
    yield f"| auth | {' | '.join(f'{listener}, {suite.name.lower()}' for listener, suite in columns)} |"
    yield "|" + " --- |" * (len(columns) + 1)
    for auth in AUTHS:
        cells = []
        for listener, suite in columns:
            words = {made: {answers[Cell(auth, it, listener, suite)] for it in KeySource if it.makes_key is made}
                     for made in (True, False)}  # fmt: skip
            both = [" and ".join(sorted(words[made])) for made in (True, False)]
            cells.append(both[0] if both[0] == both[1] else " / ".join(both))
        yield f"| {auth} | {' | '.join(cells)} |"


def test_inv6_what_is_vended_and_what_is_refused(
    stack: Stack, pki: Pki, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    answers: dict[Cell, str] = {}
    for trusted in (False, True):
        if trusted:
            stack.stop_daemon()
            stack.write_config(listen__trusted_network=True)
            stack.start_daemon()
        for cell in CELLS:
            if (cell.listener == "trusted") is trusted:
                out = tmp_path / cell.serial
                with DirectoryFlash(out) as flash:
                    outcome = vend(calls(stack, cell, pki), flash).outcome
                answers[cell] = answered(stack, cell, outcome, out)
    assert answers == {cell: cell.answer for cell in CELLS}
    counts = {word: list(answers.values()).count(word) for word in (DONE, CHANNEL, AUTH)}
    assert creates(stack.aws) == counts[DONE]  # nothing is made for who is refused
    active = [each for each in stack.aws.state()["certificates"] if each["status"] == "ACTIVE"]
    assert len(active) == counts[DONE]
    assert "\n".join(table(answers)) in SECURITY.read_text()
    record_property("counts", f"{len(answers)} cells of auth, key source, listener and suite: {counts}")
