"""The C header says what protocol/constants.py says, to a C compiler and to a C++ one."""

import subprocess
from pathlib import Path

import pytest

from protocol import constants
from tools.generate import header

INCLUDE = Path(__file__).resolve().parents[3] / "protocol" / "c" / "include"


@pytest.mark.parametrize(
    ("compiler", "assertion"), [("gcc -std=c11", "_Static_assert"), ("g++ -std=c++11", "static_assert")]
)
def test_every_macro_has_its_number(tmp_path: Path, compiler: str, assertion: str) -> None:
    numbers = dict(header.values())
    assert numbers["CVM_STATUS_STALE"] == constants.Status.STALE
    assert numbers["CVM_MAX_BUNDLE"] == 65535
    source = tmp_path / "check.c"
    checks = [f'{assertion}({name} == {number}, "{name}");' for name, number in numbers.items()]
    source.write_text("\n".join(['#include "cvm.h"', f'{assertion}(sizeof CVM_MAGIC == 4, "");', *checks, ""]))
    command = [*compiler.split(), "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
