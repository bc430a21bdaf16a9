"""`cvmd devices import`, run as a process: what is taken, what comes back, and that it may be run again."""

import csv
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
Row = Sequence[str]
HEADER = ["serial", "token", "product", "thing", "policy"]
TOKEN = bytes(range(32)).hex()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Makes a CSV of these rows."""

    def made(*rows: Row, name: str = "fleet.csv", header: Row = HEADER) -> Path:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return made


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def devices(admin: Cli) -> list[str]:
    return [it["serial"] for it in admin("devices", "list", "--json").json]


def row(serial: str, token: str = "", product: str = "meter") -> Row:
    return [serial, token, product, f"thing-{serial}", "p"]


def test_devices_are_imported_and_minted_tokens_kept(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    done = admin("devices", "import", write(row("A1"), row("A2", TOKEN)), "--out", tmp_path / "out.csv")
    assert (done.code, done.err) == (0, "")
    assert done.out == "import: 2 imported, 0 were there already, 0 failed\n"
    assert devices(admin) == ["A1", "A2"]
    (minted,) = rows_of(tmp_path / "out.csv")
    assert (minted["serial"], minted["thing"], len(bytes.fromhex(minted["token"]))) == ("A1", "thing-A1", 32)
    assert admin("audit", "verify").code == 0


def test_a_second_run_finds_all_there(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    command = ("devices", "import", write(row("A1"), row("A2", TOKEN)), "--out", tmp_path / "out.csv")
    admin(*command)
    kept = (tmp_path / "out.csv").read_text()
    assert admin(*command).out == "import: 0 imported, 2 were there already, 0 failed\n"
    assert (tmp_path / "out.csv").read_text() == kept
    # What was minted is a CSV of devices by itself.
    assert (
        admin("devices", "import", tmp_path / "out.csv").out == "import: 0 imported, 1 were there already, 0 failed\n"
    )


def test_what_is_there_as_another_one_comes_back(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    admin("products", "add", "valve")
    admin(
        "devices",
        "import",
        write(row("A1", TOKEN), row("A2"), row("A3", "ab" + TOKEN[2:]), row("A4")),
        "--out",
        tmp_path / "out.csv",
    )
    changed = [
        ["A1", TOKEN, "valve", "thing-A1", "p"],
        ["A1x", "", "meter", "thing-A4", "p"],
        ["a4", "", "meter", "thing-a4", "p"],
        ["A2", "", "meter", "thing-A2", "q"],
        ["A3", "cd" + TOKEN[2:], "meter", "thing-A3", "p"],
    ]
    ran = admin("devices", "import", write(*changed, name="again.csv"), "--out", tmp_path / "other.csv")
    assert ran.code == 1
    assert ran.out == f"import: 0 imported, 0 were there already, 5 failed: see {tmp_path}/again.failed.csv\n"
    failed = rows_of(tmp_path / "again.failed.csv")
    assert [list(it.values())[:5] for it in failed] == changed
    assert [it["reason"] for it in failed] == [
        "line 2: it is there already, with product meter: see `cvmd devices set`",
        "line 3: thing thing-A4 is that of device A4 (--accept shared-things takes it)",
        "line 4: a device is there whose serial differs in upper or lower case alone (--accept look-alikes takes both)",
        "line 5: it is there already, with policy p: see `cvmd devices set`",
        "line 6: it is there already, with another token",
    ]
    assert devices(admin) == ["A1", "A2", "A3", "A4"]


def test_a_device_that_is_there_and_whose_token_nobody_has_is_said(
    admin: Cli, product: str, write: Any, tmp_path: Path
) -> None:
    path = write(row("A1"))
    admin("devices", "import", path, "--out", tmp_path / "out.csv")
    (tmp_path / "out.csv").unlink()
    assert admin("devices", "import", path, "--out", tmp_path / "out.csv").code == 1
    (failed,) = rows_of(tmp_path / "fleet.failed.csv")
    assert "neither this line nor the file of --out has its token: give the --out" in failed["reason"]


def test_without_a_place_for_it_no_token_is_made(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    assert admin("devices", "import", write(row("A1"), row("A2", TOKEN))).code == 1
    (failed,) = rows_of(tmp_path / "fleet.failed.csv")
    assert "--out OUT.csv makes one" in failed["reason"]
    assert devices(admin) == ["A2"]


def test_failed_lines_mended_are_imported(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    assert admin("devices", "import", write(row("A 1", "cd" + TOKEN[2:]), row("B1", "zz"), row("C1", TOKEN))).code == 1
    failed = tmp_path / "fleet.failed.csv"
    mended = failed.read_text().replace("A 1", "A1").replace("zz", "ab" + TOKEN[2:])
    failed.write_text(mended)
    ran = admin("devices", "import", failed)
    assert (ran.code, ran.out) == (0, "import: 2 imported, 0 were there already, 0 failed\n")
    assert len(devices(admin)) == 3


def test_products_without_tokens_take_none(admin: Cli, write: Any, tmp_path: Path) -> None:
    admin("products", "add", "meter", "--auth", "derived", "--key-out", tmp_path / "product.key")
    ran = admin("devices", "import", write(row("A1"), row("A2", TOKEN)), "--out", tmp_path / "out.csv")
    assert (ran.code, devices(admin)) == (1, ["A1"])
    assert rows_of(tmp_path / "out.csv") == []
    assert admin("devices", "import", write(row("A1"))).out == "import: 0 imported, 1 were there already, 0 failed\n"


def test_columns_that_say_the_same_in_each_line_may_be_options(admin: Cli, product: str, write: Any) -> None:
    path = write(["A1", "t1", TOKEN], header=["serial", "thing", "token"])
    assert admin("devices", "import", path, "--product", "meter", "--policy", "p").code == 0
    (found,) = admin("devices", "list", "--json").json
    assert (found["product"], found["thing"], found["policy"]) == ("meter", "t1", "p")


def test_a_look_beforehand_imports_nothing(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    ran = admin("devices", "import", write(row("A1"), row("")), "--out", tmp_path / "out.csv", "--dry-run")
    assert (ran.code, devices(admin)) == (1, [])
    assert ran.out.startswith("import: 1 would be imported, 0 were there already, 1 failed")
    assert rows_of(tmp_path / "out.csv") == []


def test_what_is_meant_is_said(admin: Cli, product: str, write: Any) -> None:
    rows = (row("A1", TOKEN), ["a1", TOKEN, "meter", "thing-A1", "p"])
    assert admin("devices", "import", write(*rows)).code == 1
    accept = "look-alikes,shared-tokens,shared-things"
    assert admin("devices", "import", write(*rows), "--accept", accept).code == 0
    assert devices(admin) == ["A1", "a1"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nowhere.csv",), "nowhere.csv: cannot be read"),
        (("",), "'' names no file"),
        (("fleet.csv", "--out", "."), "'.' names no file"),
        (("fleet.csv", "--failed", ""), "'' names no file"),
        (("loop.csv",), "loop.csv: cannot be read: Too many levels of symbolic links"),
        (("empty.csv",), "its first line names no column serial"),
        (("fleet.csv", "--out", "fleet.csv"), "three files"),
        (("fleet.csv", "--out", "fleet.failed.csv"), "three files"),
        (("fleet.csv", "--out", "fleet.failed.csv.part"), "three files"),
        (("fleet.csv", "--out", "fleet.failed.csv~"), "three files"),
        (("fleet.csv~", "--failed", "fleet.csv"), "three files"),
        (("fleet.csv", "--out", "empty.csv"), "others may read or write it"),
        (("fleet.csv", "--accept", "all"), "'all' is unknown; it is one of textual-tokens"),
    ],
)
def test_what_cannot_be_begun_is_code_2(
    admin: Cli, write: Any, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    write(row("A1", TOKEN))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    ran = admin("devices", "import", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert problem in ran.err
    assert not (tmp_path / "fleet.failed.csv").exists()


def test_a_pipe_is_read_to_its_end(admin: Cli, product: str, write: Any, tmp_path: Path) -> None:
    pipe, text = tmp_path / "pipe", write(*(row(f"A{number}") for number in range(600))).read_text()
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_text, text)
        ran = admin("devices", "import", pipe, "--out", tmp_path / "out.csv")
    assert (ran.code, ran.out) == (0, "import: 600 imported, 0 were there already, 0 failed\n")


def test_a_database_that_does_not_answer_is_code_3_and_the_next_run_goes_on(
    admin: Cli, product: str, write: Any, tmp_path: Path, configuration: Path
) -> None:
    configuration.write_text(configuration.read_text().replace("[secrets]", "timeout_s = 0.3\n[secrets]"))
    command = ("devices", "import", write(row("A1"), row("A 2")), "--out", tmp_path / "out.csv")
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = admin(*command)
    assert "0 devices are imported: run the same command again" in ran.complaint(3)
    (minted,) = rows_of(tmp_path / "out.csv")
    assert not (tmp_path / "fleet.failed.csv").exists()
    assert admin(*command).out.startswith("import: 1 imported, 0 were there already, 1 failed")
    assert rows_of(tmp_path / "out.csv") == [minted]
    assert admin(*command).out.startswith("import: 0 imported, 1 were there already, 1 failed")
