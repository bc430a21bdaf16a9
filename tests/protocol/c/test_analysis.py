"""The C client under compilers' warnings, analyzers, MISRA's rules, and valgrind: nothing is found."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cdevice import STRICT, C, CDevice, Driver, End, Flash
from test_session import BUNDLE, PULL, PUSH, Server

OPTIONS = {
    "mac": [],
    "all": ["-DCVM_CSR=1", "-DCVM_NONCE_COUNTERS=1", "-DCVM_TRUST_SERIAL=1"],
    "noise": ["-DCVM_SUITE=CVM_SUITE_NOISE", "-DCVM_CSR=1"],
}
FIRMWARE = [C / "src", C / "ports" / "uart", C / "ports" / "modem"]
INCLUDES = [f"-I{C / 'include'}", *(f"-I{C / 'ports' / each}" for each in ("uart", "modem", "posix"))]


def sources(*directories: Path) -> list[str]:
    return [str(path) for each in directories for path in sorted(each.glob("*.c"))]


def said(*command: str) -> str:
    """All that it prints; it may fail."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


each_option = pytest.mark.parametrize("option", OPTIONS)


@each_option
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_warn_of_nothing(compiler: str, option: str, tmp_path: Path) -> None:
    """gcc with its analyzer too."""
    more = ["-O2", "-fanalyzer"] if compiler == "gcc" else ["-O1", "-Wshadow", "-Wcast-align"]
    posix = [C / "ports" / "posix"] if option != "noise" else []  # cvm-vend is of suite mac

    def compiled(source: str) -> str:
        made = str(tmp_path / Path(source).with_suffix(".o").name)
        return said(compiler, *STRICT, *INCLUDES, *more, *OPTIONS[option], "-c", source, "-o", made)

    with ThreadPoolExecutor(2) as pool:
        assert "".join(pool.map(compiled, sources(*FIRMWARE, *posix))) == ""


@each_option
def test_clang_tidy_finds_nothing(option: str) -> None:
    """By the checks of protocol/c/.clang-tidy."""
    files = sources(*FIRMWARE, *([C / "ports" / "posix"] if option == "mac" else []))
    command = ["clang-tidy", "--quiet", *files, "--", "-std=c99", *INCLUDES, *OPTIONS[option]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # each warning is an error


@pytest.mark.timeout(300)
def test_cppcheck_finds_the_listed_deviations_from_misra_and_nothing_else(tmp_path: Path) -> None:
    """On copies: it leaves files beside what it reads."""
    listed = re.findall(r"^\| (\d+\.\d+) \|", (C / "MISRA.md").read_text(), re.MULTILINE)

    def judged(option: str) -> set[str]:
        copy = shutil.copytree(C, tmp_path / option)
        firmware = [str(copy / each.relative_to(C)) for each in FIRMWARE]
        more = ["-UCVM_OPTIONS_FILE", "-UCVM_SHA256_HEADER", f"-I{copy / 'include'}", *OPTIONS[option], *firmware]
        found = said(
            "cppcheck", "--std=c99", "--enable=warning,performance,portability,style", "--addon=misra", "--quiet",
            "--template={id} {file}:{line} {message}", "--suppress=variableScope",
            f"-I{copy / 'ports' / 'uart'}", *more,
        )  # fmt: skip
        return set(found.splitlines())

    with ThreadPoolExecutor(2) as pool:
        found = set[str]().union(*pool.map(judged, ["all", "noise"]))  # between them, every line
    rules = {line.split()[0].removeprefix("misra-c2012-"): line for line in sorted(found)}
    assert {rule: line for rule, line in rules.items() if rule not in listed} == {}
    assert sorted(set(listed) - set(rules)) == [], "MISRA.md lists what is not so any more"


def test_valgrind_sees_whole_sessions_and_nothing_wrong(programs: dict[str, Path]) -> None:
    """What the sanitizers cannot: bytes that were never written and are decided on."""
    driver = Driver(programs["plain"], plain=True, under=["valgrind", "--quiet", "--error-exitcode=9"])
    for settings in (PUSH, PULL):
        server, flash = Server(waits=1), Flash()
        device = CDevice(driver, settings, flash)
        for left in (700, None):
            server.connect(left)
            end = device.run(server.talk).end
        assert end is End.ACTIVE
        assert flash.data[: BUNDLE.total] == BUNDLE.data
    assert driver.close() == 0
