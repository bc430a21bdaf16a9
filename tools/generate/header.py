"""protocol/c/include/cvm_constants.h: every number of protocol.constants, for C."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import Final

from protocol import constants
from protocol.constants import (
    BODY_SIZES,
    FIRST_OVERHEAD,
    MAGIC,
    MIN_MAX_FRAME,
    OVERHEAD,
    Kind,
    MessageType,
    ProofFlag,
    Stage,
    Status,
    Suite,
)

_ENUMS: Final[tuple[tuple[str, str, type[IntEnum | IntFlag]], ...]] = (
    ("TYPE", "Types of frames.", MessageType),
    ("SUITE", "Suites.", Suite),
    ("KIND", "Kinds of objects; bit n of `want` asks for kind n.", Kind),
    ("PROOF", "Flags of PROOF.", ProofFlag),
    ("STATUS", "Why a request was refused; the high nibble says what to do.", Status),
    ("STAGE", "How far a vend had come.", Stage),
)


def values() -> Iterator[tuple[str, int]]:
    """Every macro of the header and its number, but for CVM_MAGIC."""
    for _, part in _parts():
        yield from part


def render(_there: str | None) -> str:
    """The whole header."""
    lines = [
        "/* Written by tools/generate out of protocol/constants.py: change that, and run python -m tools.generate. */",
        "#ifndef CVM_CONSTANTS_H",
        "#define CVM_CONSTANTS_H",
        "",
        f'#define CVM_MAGIC "{MAGIC.decode()}"',
    ]
    for title, part in _parts():
        lines += ["", f"/* {title} */", *(f"#define {name} {number}u" for name, number in part)]
    return "\n".join([*lines, "", "#endif", ""])


def _parts() -> Iterator[tuple[str, list[tuple[str, int]]]]:
    numbers = vars(constants).items()
    yield (
        "Limits and sizes: bytes, seconds.",
        [(f"CVM_{name}", each) for name, each in numbers if name.isupper() and type(each) is int],
    )
    for prefix, title, enum in _ENUMS:
        yield title, [(f"CVM_{prefix}_{member.name}", member.value) for member in enum]
    yield (
        "The smallest and the largest body of each type.",
        [
            (f"CVM_{bound}_{name.name}", size)
            for name, sizes in BODY_SIZES.items()
            for bound, size in zip(("SHORTEST", "LONGEST"), sizes, strict=True)
        ],
    )
    for suite in Suite:
        yield (
            f"Suite {suite.name.lower()}: what it adds to a body, to an end's first one, and its least max_frame.",
            [
                (f"CVM_{suite.name}_OVERHEAD", OVERHEAD[suite]),
                (f"CVM_{suite.name}_FIRST_OVERHEAD", FIRST_OVERHEAD[suite]),
                (f"CVM_{suite.name}_MIN_MAX_FRAME", MIN_MAX_FRAME[suite]),
            ],
        )
