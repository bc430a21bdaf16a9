"""What the tools say about the whole tree: style, types, import rules, generated files."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent

CHECKS = {
    "ruff": [TOOLS / "ruff", "check", "--no-cache"],
    "format": [TOOLS / "ruff", "format", "--check", "--no-cache"],
    "types": [TOOLS / "mypy"],
    "imports": [TOOLS / "lint-imports", "--no-cache"],
    "generated": [sys.executable, "-m", "tools.generate", "--check"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_finds_nothing(name: str) -> None:
    done = subprocess.run(CHECKS[name], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
