"""`cvmd devices import` as an operator runs it on a whole fleet: killed anywhere, and with lines of every kind.

The import is a process of its own, on the database with the shipped logins.
"""

import csv
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGKILL
from urllib.parse import urlsplit

import pytest

from cvmd.sealing import Sealer, load_master_key
from cvmd.seals import unseal_token
from cvmd.store import AdminStore, Database
from tools.mariadb import login

HEADER = ["serial", "token", "product", "thing", "policy"]
TOKEN = bytes(range(32)).hex()
KILLED = """
import os, signal, sys
from cvmd import cli
from cvmd.cli import intake, records
from cvmd.store import AdminStore

point, batch, number, intake._BATCH = sys.argv[1], int(sys.argv[2]), getattr(signal, sys.argv[3]), 50
reached = {"write": 0, "commit": 0}

def at(call, before, after):
    real = getattr(*call)
    def wrapped(*args):
        reached[after] += 1
        hit = reached[after] == batch
        if hit and point == "half-written":
            args[0]._file.write(b"A0-half,00ff")
            args[0]._file.flush()
        if hit and point in ("half-written", "before-" + after):
            os.kill(os.getpid(), number)
        answer = real(*args)
        if hit and point == "after-" + after:
            os.kill(os.getpid(), number)
        return answer
    setattr(*call, wrapped)

at((records.Minted, "add"), "", "write")
at((AdminStore, "add_devices"), "", "commit")
raise SystemExit(cli.main(sys.argv[4:]))
"""
POINTS = [
    (point, batch)
    for point in ("before-write", "half-written", "after-write", "before-commit", "after-commit")
    for batch in (1, 4)
]


@dataclass
class Office:
    """Where an operator works: a directory with configuration, master key and the fleet's CSV."""

    directory: Path
    url: str

    @property
    def config(self) -> Path:
        return self.directory / "cvmd.toml"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def cvmd(self, *arguments: str | Path, script: Sequence[str] = ("-m", "cvmd")) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *script, *map(str, arguments), "--config", str(self.config)]
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self.environment, check=False
        )

    def set_up(self) -> None:
        parts = urlsplit(self.url)
        url, password = self.url, parts.password
        lines = []
        if password:
            url = url.replace(f":{password}@", "@")
            (self.directory / "password").write_text(password)
            (self.directory / "password").chmod(0o600)
            lines.append(f'password_file = "{self.directory / "password"}"')
        text = ["[database]", f'url = "{url}"', *lines, "[secrets]", f'master_key_file = "{self.directory}/master.key"']
        self.config.write_text("\n".join(text) + "\n")
        subprocess.run(
            [sys.executable, "-m", "cvmd", "secrets", "new", str(self.directory / "master.key")],
            env=self.environment, check=True,
        )  # fmt: skip
        as_migrate = ("--login", urlsplit(login(self.url, "migrate")).username or "") if password else ()
        assert self.cvmd("db", "migrate", *as_migrate).returncode == 0
        assert self.cvmd("products", "add", "meter").returncode == 0

    def fleet(self, rows: Sequence[Sequence[str]], name: str = "fleet.csv") -> Path:
        path = self.directory / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
        return path

    def tokens(self) -> dict[str, str]:
        """By serial, as the database has them."""
        database = Database(self.url)
        sealer = Sealer(load_master_key(self.directory / "master.key"))
        store = AdminStore(database)
        found, after = {}, b""
        while page := store.serials(after=after, page=500):
            after = page[-1]
            for serial, known in store.there(page).items():
                found[serial.decode()] = unseal_token(known.sealed_token, serial, sealer).reveal().hex()
        database.close()
        return found


@pytest.fixture(params=["sqlite", "mariadb"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Office:
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")
        url = request.getfixturevalue("mariadb_url")
    else:
        url = f"sqlite:///{tmp_path / 'cvmd.db'}"
    made = Office(tmp_path, url)
    made.set_up()
    return made


def plain(number: int, token: str = "") -> list[str]:
    return [f"A{number:06}", token, "meter", f"thing-{number}", "policy"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_killed_at_ten_points_it_ends_the_same_and_no_token_is_lost(office: Office) -> None:
    ends = Counter[str]()
    for number, (point, batch) in enumerate(POINTS):
        fleet = office.fleet([plain(1000 * number + n, TOKEN if n == 7 else "") for n in range(200)])
        out = office.directory / f"out-{number}.csv"
        command = ("devices", "import", fleet, "--out", out)
        accept = ("--accept", "shared-tokens")
        signal = SIGINT if number % 5 == 2 else SIGKILL
        killed = office.cvmd(*command, *accept, script=("-c", KILLED, point, str(batch), signal.name))
        assert killed.returncode == (130 if signal is SIGINT else -SIGKILL), (point, killed.stderr)
        again = office.cvmd(*command, *accept)
        assert again.returncode == 0, (point, again.stderr)
        ends[again.stdout.split(":")[1].split(",")[1]] += 1
        minted = {it["serial"]: it["token"] for it in read(out)}
        assert len(minted) == 199
        tokens = office.tokens()
        assert len(tokens) == 200 * (number + 1)
        assert {serial: tokens[serial] for serial in minted} == minted
        assert tokens[f"A{1000 * number + 7:06}"] == TOKEN
    assert set(ends) == {" 0 were there already", " 50 were there already", " 150 were there already",
                         " 200 were there already"}  # fmt: skip
    assert office.cvmd("audit", "verify").returncode == 0


WRONG: dict[str, list[str]] = {
    "fields": ["x"],
    "more fields": ["x", "", "meter", "t", "p", "more"],
    "no serial": ["", "", "meter", "t-{n}", "p"],
    "space before": [" B{n}", "", "meter", "t-{n}", "p"],
    "space behind": ["B{n} ", "", "meter", "t-{n}", "p"],
    "space within": ["B {n}", "", "meter", "t-{n}", "p"],
    "umlaut": ["\u00c4{n}", "", "meter", "t-{n}", "p"],
    "too long": ["B{n}" + "x" * 64, "", "meter", "t-{n}", "p"],
    "NUL": ["B{n}\0", "", "meter", "t-{n}", "p"],
    "control": ["B{n}\x1b[31m", "", "meter", "t-{n}", "p"],
    "SQL": ["B{n}' OR 1=1 --", "", "meter", "t-{n}", "p"],
    "slash": ["B/{n}", "", "meter", "t-{n}", "p"],
    "serial in use": ["A{n:06}", TOKEN, "meter", "thing-{n}", "policy"],
    "other thing": ["A{n:06}", "", "meter", "elsewhere-{n}", "policy"],
    "other policy": ["A{n:06}", "", "meter", "thing-{n}", "another"],
    "lower case": ["a{n:06}", "", "meter", "t-{n}", "p"],
    "thing in use": ["B{n}", "", "meter", "thing-{n}", "p"],
    "no product": ["B{n}", "", "", "t-{n}", "p"],
    "unknown product": ["B{n}", "", "pump", "t-{n}", "p"],
    "product in capitals": ["B{n}", "", "METER", "t-{n}", "p"],
    "no thing": ["B{n}", "", "meter", "", "p"],
    "thing with a dot": ["B{n}", "", "meter", "t.{n}", "p"],
    "thing too long": ["B{n}", "", "meter", "t" * 129, "p"],
    "no policy": ["B{n}", "", "meter", "t-{n}", ""],
    "policy with a space": ["B{n}", "", "meter", "t-{n}", "p q"],
    "short": ["B{n}", "00ff" * 7, "meter", "t-{n}", "p"],
    "long": ["B{n}", "00ff" * 33, "meter", "t-{n}", "p"],
    "no hex": ["B{n}", "zz" * 16, "meter", "t-{n}", "p"],
    "odd": ["B{n}", TOKEN[1:], "meter", "t-{n}", "p"],
    "0x": ["B{n}", "0x" + TOKEN, "meter", "t-{n}", "p"],
    "spreadsheet": ["B{n}", "1.23E+45", "meter", "t-{n}", "p"],
    "text": ["B{n}", b"correct horse battery".hex(), "meter", "t-{n}", "p"],
    "hex of hex": ["B{n}", TOKEN[:32].encode().hex(), "meter", "t-{n}", "p"],
    "one byte": ["B{n}", "07" * 32, "meter", "t-{n}", "p"],
    "token for none": ["B{n}", TOKEN, "listed", "t-{n}", "p"],
}
EACH = 30
MENDED = {"serial": "M{n:06}", "token": "", "product": "meter", "thing": "mended-{n}", "policy": "p"}


def test_lines_of_every_kind_come_back_with_reasons_and_mended_are_imported(
    office: Office, counts: Callable[[str], None]
) -> None:
    office.cvmd("products", "add", "listed", "--auth", "serial", "--source-networks", "10.0.0.0/8")
    out = office.directory / "out.csv"
    first = office.fleet([plain(n) for n in range(1, 100)])
    assert office.cvmd("devices", "import", first, "--out", out).returncode == 0
    there = len(office.tokens())
    wrong = [
        [cell.format(n=number if kind in OF_ANOTHER else 1000 * place + number) for cell in cells]
        for number in range(1, EACH + 1)
        for place, (kind, cells) in enumerate(WRONG.items(), 1)
    ]
    fleet = office.fleet([*wrong, *(plain(n) for n in range(5000, 5300))], "wrong.csv")
    ran = office.cvmd("devices", "import", fleet, "--out", out)
    assert (ran.returncode, ran.stdout) == (
        1, f"import: 300 imported, 0 were there already, {len(wrong)} failed: see {office.directory}/wrong.failed.csv\n"
    )  # fmt: skip
    failed = read(office.directory / "wrong.failed.csv")
    assert len(failed) == len(wrong) == EACH * len(WRONG)
    assert all(it["reason"].startswith(f"line {number}: ") for number, it in enumerate(failed, 2))
    of_five = [it for it in wrong if len(it) == 5]
    assert [list(it.values())[:5] for it in failed if "fields" not in it["reason"]] == of_five
    reasons = {re.sub(r"^line \d+: |\d+|'.*'", "", it["reason"]) for it in failed}
    mended = [[MENDED[column].format(n=number) for column in HEADER] for number in range(len(failed))]
    ran = office.cvmd("devices", "import", office.fleet(mended, "wrong.failed.csv"), "--out", out)
    assert ran.stdout == f"import: {len(failed)} imported, 0 were there already, 0 failed\n"
    tokens = office.tokens()
    assert len(tokens) == there + 300 + len(failed)
    assert {it["serial"]: it["token"] for it in read(out)} == tokens
    counts(f"{len(failed)} bad lines of {len(WRONG)} kinds: {len(reasons)} reasons; mended and imported")


OF_ANOTHER = {"serial in use", "other thing", "other policy", "lower case", "thing in use"}
"""Whose number is that of a device that is there."""


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_hundred_thousand(office: Office, counts: Callable[[str], None]) -> None:
    out = office.directory / "out.csv"
    fleet = office.fleet([plain(n) for n in range(100_000)])
    said = []
    for expected in ("import: 100000 imported, 0 were", "import: 0 imported, 100000 were"):
        began_s = time.monotonic()
        ran = office.cvmd("devices", "import", fleet, "--out", out, script=("-c", MEASURED))
        assert ran.stdout.startswith(expected), ran.stderr
        said.append(f"{time.monotonic() - began_s:.1f} s, {int(ran.stderr) // 1024} MiB")
    counts(f"100,000 lines on {urlsplit(office.url).scheme}: {said[0]}; again {said[1]}")
    assert len({it["token"] for it in read(out)}) == 100_000


MEASURED = """
import resource, sys
from cvmd import cli
code = cli.main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
raise SystemExit(code)
"""
