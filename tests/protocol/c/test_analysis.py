"""The C client under compilers' warnings, analyzers, MISRA's rules, and valgrind: nothing is found."""

import re
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
    found = said("clang-tidy", "--quiet", *files, "--", "-std=c99", *INCLUDES, *OPTIONS[option])
    assert re.findall(r"^.*(?:warning|error): .*$", found, re.MULTILINE) == []


def test_cppcheck_finds_the_listed_deviations_from_misra_and_nothing_else() -> None:
    listed = re.findall(r"^\| (\d+\.\d+) \|", (C / "MISRA.md").read_text(), re.MULTILINE)
    found: set[str] = set()
    for options in OPTIONS.values():
        found |= set(
            said(
                "cppcheck", "--std=c99", "--enable=warning,performance,portability,style", "--addon=misra", "--quiet",
                "--template={id} {file}:{line} {message}", "--suppress=variableScope",
                "-UCVM_OPTIONS_FILE", "-UCVM_SHA256_HEADER", *INCLUDES, *options, *map(str, FIRMWARE),
            ).splitlines()
        )  # fmt: skip
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
