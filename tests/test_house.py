"""The rules of the house that no other tool checks, over the files that git knows."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE, LONGEST_TEST = 400, 500

UNTESTED_BY_NAME = {
    "cvmd/app.py": "the whole daemon; tests/integration runs it",
    "cvmd/cli/common.py": "exit codes and how verbs are added; every test of a verb goes through them",
    "cvmd/cli/database.py": "opens store and sealer for the verbs; tests/cvmd/cli runs them",
    "cvmd/ports.py": "interfaces; the tests of store and issuer hold the implementations to them",
    "protocol/c/src/cvm_answer.c": "a state of the session; test_session.py and test_vectors.py run it",
    "protocol/c/src/cvm_bundle.c": "a state of the session; test_session.py and test_vectors.py run it",
    "protocol/c/src/cvm_bytes.c": "integers of frames; test_vectors.py reads and writes each",
    "protocol/c/src/cvm_mac.c": "a suite; test_vectors.py runs it",
    "protocol/c/src/cvm_objects.c": "a walk over what is stored; test_session.py and test_vectors.py call it",
    "protocol/c/src/cvm_send.c": "a state of the session; test_session.py and test_vectors.py run it",
    "protocol/errors.py": "two exceptions; the tests of both ends assert them",
    "protocol/events.py": "plain data; the tests of both ends assert them",
    "protocol/session.py": "what both ends share; the tests of server.py and client.py run it",
}
"""Modules without a test file of their own, and where they are tested instead."""

ACROSS = {
    "tests/cvmd/cli/test_cli.py": "the command line as a whole",
    "tests/protocol/c/test_analysis.py": "the C library under compilers and checkers",
    "tests/protocol/c/test_cuts.py": "the C library, its line lost anywhere",
    "tests/protocol/c/test_int16.py": "the C library where int has 16 bits",
    "tests/protocol/c/test_options.py": "the C library, other builds of it",
    "tests/protocol/c/test_package.py": "the C library as a CMake package",
    "tests/protocol/c/test_seeded.py": "the C library's tests themselves",
    "tests/protocol/c/test_vectors.py": "the C library as a whole",
    "tests/protocol/test_flips.py": "both ends, every bit flipped",
    "tests/protocol/test_fuzz.py": "both ends, whatever bytes arrive",
    "tests/protocol/test_vend.py": "both ends against each other",
    "tests/tools/awsiot/test_differential.py": "the stand-in beside moto",
    "tests/tools/awsiot/test_process.py": "the stand-in as a process",
    "tests/tools/generate/test_generate.py": "the generator as a whole",
}
"""Tests of more than one module, and of what."""


def tracked(*patterns: str) -> list[Path]:
    """The files that git knows or would take, below ROOT; text only."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for name in sorted(set(listed)) if (path := ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_with(pattern: str, paths: list[Path]) -> list[str]:
    """`file:line: text` of every line that the pattern is found in."""
    found = re.compile(pattern)
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in paths
        if path != Path(__file__)
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), 1)
        if found.search(line)
    ]


def has_test(module: Path) -> bool:
    """cvmd/store/rows.py is tested by tests/cvmd/store/test_rows.py or, with its kin, test_rows_….py."""
    mirror = ROOT / "tests" / module.parent.relative_to(ROOT)
    return bool([*mirror.glob(f"test_{module.stem}.py"), *mirror.glob(f"test_{module.stem}_*.py")])


def test_every_module_has_its_test() -> None:
    modules = [
        path
        for path in tracked("cvmd/*.py", "protocol/*.py")
        if not path.stem.startswith("__") and "migrations" not in path.parts
    ]
    lacking = {name_of(module) for module in modules if not has_test(module)}
    lacking |= {
        name_of(source)
        for source in tracked("protocol/c/src/*.c")
        if not (ROOT / "tests" / "protocol" / "c" / f"test_{source.stem.removeprefix('cvm_')}.py").exists()
    }
    assert sorted(lacking) == sorted(UNTESTED_BY_NAME)


def test_every_test_of_a_package_mirrors_a_module() -> None:
    strays = []
    for test in tracked("tests/cvmd/*.py", "tests/protocol/*.py", "tests/tools/*.py"):
        if not test.name.startswith("test_"):
            continue
        package = ROOT / test.parent.relative_to(ROOT / "tests")
        subject = test.stem.removeprefix("test_")
        words = subject.split("_")
        prefixes = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
        if not any(
            (package / f"{name}.py").exists()
            or (package / name).is_dir()
            or (package / "src" / f"cvm_{name}.c").exists()
            for name in prefixes
        ):
            strays.append(name_of(test))
    assert strays == sorted(ACROSS)


def test_tests_are_no_packages() -> None:
    assert tracked("tests/**/__init__.py") == []


@pytest.mark.parametrize(
    "mark",
    [
        r"#\s*noqa(?!: [A-Z]+\d+(, [A-Z]+\d+)*\s+(#|-)\s*\w)",
        r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s+#\s*\w)",
        r"#\s*pragma: no cover(?!\s+#\s*\w)",
        r"mark\.(skip|xfail)\b(?!.*reason=)",
    ],
)
def test_every_ignore_says_what_it_ignores_and_why(mark: str) -> None:
    assert lines_with(mark, tracked("*.py")) == []


def test_nothing_is_skipped_for_want_of_an_install() -> None:
    assert lines_with(r"importorskip|skipif\(.*(which|find_spec)", tracked("*.py")) == []


def test_no_file_holds_two_things() -> None:
    long = {
        name_of(path): count
        for path in tracked("*.py", "*.c", "*.h")
        if (count := len(path.read_text().splitlines()))
        > (LONGEST_TEST if path.is_relative_to(ROOT / "tests") else LONGEST_FILE)
    }
    assert long == {}


def test_nothing_is_left_for_later() -> None:
    assert lines_with(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", tracked("*.py", "*.c", "*.h", "*.sh")) == []


def test_no_path_of_a_machine_and_no_host_of_a_registry() -> None:
    elsewhere = tracked(":!LICENSE")
    assert lines_with(r"(?<![\w.])/(home|Users|root|work)/\w", elsewhere) == []
    assert lines_with(r"\b(pypi|pythonhosted)\.org\b|deb\.debian\.org|registry\.npmjs", elsewhere) == []


def test_production_and_tests_pin_the_same_versions() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("constraints.txt") <= pins("constraints-dev.txt")
    for name in ("constraints.txt", "constraints-dev.txt"):
        text = (ROOT / name).read_text()
        unhashed = [pin for pin in re.findall(r"^[\w.-]+==.*(?:\n[ \t].*)*", text, re.MULTILINE) if "--hash" not in pin]
        assert unhashed == []
