"""What the benchmarks share. Imported first: run as a script, a benchmark finds neither the checkout nor harness.py."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

_ROOT = Path(__file__).resolve().parents[2]
sys.path[1:1] = [str(_ROOT), str(_ROOT / "tests" / "integration")]

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, all its threads together; proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def rss_kb(pid: int) -> int:
    """Resident memory of a process; proc(5), smaps_rollup, which is exact where status may lag behind."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def spread(values: Sequence[float]) -> str:
    """Median, and from where to where."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(*rows: Sequence[str]) -> str:
    """Markdown, the first row its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
