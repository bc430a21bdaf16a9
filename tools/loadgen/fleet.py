"""The devices file: CSV with a header, or JSON Lines.

serial, token (hex; empty: auth `serial`), thing (the thing name that must come back; empty: not checked)
key_source (its product's; missing: the command line's)         other columns are not read
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.client import OptionError


@dataclass(frozen=True)
class Device:
    """One line of the devices file."""

    serial: str
    token: bytes = field(repr=False)
    thing: str | None
    key_source: str | None


def read_fleet(path: Path) -> list[Device]:
    """All devices of the file. OptionError names the line that cannot be used."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = map(json.loads, filter(str.strip, file)) if path.suffix == ".jsonl" else csv.DictReader(file)
            return list(_devices(rows, path))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot read {path}: {error}") from error


def _devices(rows: Iterator[Any], path: Path) -> Iterator[Device]:
    number = 0
    try:
        for number, row in enumerate(rows, 1):  # noqa: B007  # named in the error
            yield _device(row)
    except (KeyError, TypeError, ValueError):
        # `from None`: the error could carry the token.
        raise OptionError(f"{path}: device {number} needs serial, token in hex, thing") from None


def _device(row: Mapping[str, str | None]) -> Device:
    token = bytes.fromhex(row["token"] or "")
    serial = row["serial"]
    if not serial:
        raise ValueError("no serial")
    return Device(serial, token, row["thing"] or None, row.get("key_source") or None)
