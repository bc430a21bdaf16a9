"""The command: a target is a path and a function from the text that is there to the one that should be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.generate import header, spec, vectors

_ROOT: Final = Path(__file__).resolve().parents[2]
_VECTORS: Final = Path("protocol/vectors")

TARGETS: Final[Mapping[Path, Callable[[str | None], str]]] = {
    Path("protocol/SPEC.md"): spec.fill,
    Path("protocol/c/include/cvm_constants.h"): header.render,
    **{_VECTORS / f"{name}.json": render for name, render in vectors.FILES.items()},
}


def main(arguments: list[str] | None = None) -> int:
    """Bring every target up to date, or say which is not. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description="Write the files that are computed.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    stale = [path for path, render in TARGETS.items() if not _up_to_date(path, render, check)]
    if check and stale:
        print("run: python -m tools.generate", file=sys.stderr)
    return 1 if stale else 0


def _up_to_date(path: Path, render: Callable[[str | None], str], check: bool) -> bool:
    """Whether the file is, or now is, as it should be."""
    file = _ROOT / path
    there = file.read_text(encoding="utf-8") if file.exists() else None
    try:
        wanted = render(there)
    except spec.SpecError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return False
    if there == wanted:
        return True
    if check:
        print(f"{path}: out of date", file=sys.stderr)
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(wanted, encoding="utf-8")
    print(f"{path}: written")
    return True


if __name__ == "__main__":
    sys.exit(main())
