"""protocol/c/SIZES.md: what the C client takes on a Cortex-M, measured on real builds.

Beside tools.generate rather than in it: it needs the cross compiler, and its figures are those of one compiler.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "protocol" / "c" / "SIZES.md"
_C: Final = ROOT / "protocol" / "c"
_GCC: Final = "arm-none-eabi-gcc"
_FLAGS: Final = ("-std=c99", "-Os", "-mthumb", "-ffunction-sections", "-fdata-sections")
_LINK: Final = ("--specs=nano.specs", "-nostartfiles", "-Wl,--gc-sections")
_SESSION: Final = ("cvm_init", "cvm_start", "cvm_step", "cvm_lost", "cvm_pause_ms")
_PLATFORM_SHA256: Final = "struct cvm_sha256 { uint32_t words[25]; };\n"


@dataclass(frozen=True, slots=True)
class Row:
    """A build: its options, the functions that a program calls, and the most bytes of text that are wanted."""

    name: str
    options: tuple[str, ...] = ()
    calls: tuple[str, ...] = _SESSION
    goal: int | None = None


ROWS: Final = (
    Row("suite `mac`, complete", goal=2560),
    Row("the same with the platform's SHA-256", ('-DCVM_SHA256_HEADER="sha256.h"',)),
    Row("suite `mac`, `CVM_CSR` and `cvm_csr`", ("-DCVM_CSR=1",), (*_SESSION, "cvm_csr"), 3584),
    Row("suite `noise` without the platform's primitives", ("-DCVM_SUITE=CVM_SUITE_NOISE",), goal=3584),
    Row(
        "suite `noise`, `CVM_CSR` and `cvm_csr`", ("-DCVM_SUITE=CVM_SUITE_NOISE", "-DCVM_CSR=1"), (*_SESSION, "cvm_csr")
    ),
    Row("suite `mac`, `CVM_NONCE_COUNTERS`", ("-DCVM_NONCE_COUNTERS=1",)),
)
_EXTRAS: Final = {
    "`cvm_objects`": ("cvm_objects",),
    "`cvm_record_newer`": ("cvm_record_newer",),
    "PEM": ("cvm_pem_begin", "cvm_pem_add", "cvm_pem_end"),
    "units of flash": ("cvm_units_store", "cvm_units_remember"),
}
_PARTS: Final = {
    "sha256": "SHA-256; 288 bytes are its tables",
    "hmac": "HMAC and HKDF",
    "bytes": "integers on the wire, comparison, wiping",
    "mac": "suite `mac`: keys, seal, open",
    "noise": "suite `noise`: keys, seal, open",
    "send": "requests, piece by piece",
    "receive": "frames; the hunt for the first of them",
    "answer": "what each answer and refusal means",
    "bundle": "read-back of the flash, judgement of the objects",
    "record": "the resume record",
    "session": "start, end, dispatch, checks of the caller's values, back-off",
    "csr": "the CSR",
}


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a build: the library's parts by file, all of `text`, the C library's share beside it."""

    parts: Mapping[str, int]
    text: int
    libc: int
    session: int
    stack: int


def measure(row: Row, directory: Path, *more: str, cpu: str = "cortex-m0") -> Size:
    """Build that row below `directory`. Raises subprocess.CalledProcessError."""
    directory.mkdir()
    (directory / "sha256.h").write_text(_PLATFORM_SHA256)
    (directory / "probe.c").write_text('#include "cvm.h"\nchar probe[sizeof(struct cvm_session)];\n')
    sources = [*sorted((_C / "src").glob("*.c")), directory / "probe.c"]
    flags = (*_FLAGS, f"-mcpu={cpu}", *more, *row.options, "-fcallgraph-info=su", f"-I{_C / 'include'}", "-I.")
    _run(directory, _GCC, *flags, "-c", *map(str, sources))
    (directory / "calls.h").write_text(f'#include "cvm_extras.h"\n{" ".join(row.calls)}\n')
    calls = tuple(_run(directory, _GCC, *flags, "-E", "-P", "calls.h").split()[-len(row.calls) :])  # as they are linked
    roots = [f"-Wl,-u,{name}" for name in calls]
    ours = [f"{source.stem}.o" for source in sources[:-1]]
    undefined = "-Wl,--unresolved-symbols=ignore-all"  # the platform's SHA-256
    _run(directory, _GCC, *flags, *_LINK, undefined, "-Wl,-Map=map", f"-Wl,-e,{calls[0]}", *roots, *ours)
    linked = Counter[str]()
    for file, size in _linked((directory / "map").read_text()):
        linked[_part(file) if file in ours or ".ltrans" in file else ""] += size
    libc = linked.pop("", 0)
    return Size(linked, linked.total(), libc, _probe(directory), _worst_stack(directory, calls))


def _part(file: str) -> str:
    return file.removeprefix("cvm_").removesuffix(".o")


def _run(directory: Path, *command: str) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def _linked(text: str) -> Iterator[tuple[str, int]]:
    """Of a linker's map: file and bytes of each section that is in the image and takes flash."""
    section = re.compile(r"^ \.(?:text|rodata)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE)
    for size, file in section.findall(text.partition("Linker script and memory map")[2]):
        yield file, int(size, 16)


def _probe(directory: Path) -> int:
    return int(_run(directory, "arm-none-eabi-nm", "-S", "probe.o").split()[1], 16)


def _worst_stack(directory: Path, calls: tuple[str, ...]) -> int:
    """The deepest chain of calls within the library, in bytes. What the port's functions take comes on top."""
    frames: dict[str, int] = {}
    edges: dict[str, set[str]] = {}
    for file in directory.glob("*.ci"):
        text = file.read_text()
        for title, size in re.findall(r'node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes \(static\)"', text):
            frames[title] = int(size)
        for source, target in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text):
            edges.setdefault(source, set()).add(target)

    def depth(name: str) -> int:
        return frames.get(name, 0) + max((depth(target) for target in edges.get(name, ())), default=0)

    return max(depth(name) for name in calls)


def render() -> str:
    """The page. Raises subprocess.CalledProcessError."""
    with tempfile.TemporaryDirectory() as scratch:
        return "".join(_page(Path(scratch)))


def _page(scratch: Path) -> Iterator[str]:
    version = _run(scratch, _GCC, "--version").splitlines()[0]
    m0 = [measure(row, scratch / f"m0-{number}") for number, row in enumerate(ROWS)]
    m3 = [measure(row, scratch / f"m3-{number}", cpu="cortex-m3") for number, row in enumerate(ROWS)]
    yield f"""# Sizes of the C client

Written by tools/sizes.py on real builds: change the code, and run `python -m tools.sizes`.

Compiler: {version}, with
`{" ".join(_FLAGS)} -mcpu=cortex-m0` (M3: `-mcpu=cortex-m3`), linked with
`{" ".join(_LINK)}` for a program that calls
{", ".join(f"`{name}`" for name in _SESSION)}.

Bytes. There is no data, no bss and no heap. *text* is the library's code and constants, *C library* what it pulls
from newlib-nano (memcpy, memmove, helpers of the compiler), which most firmware has anyhow. *RAM* is
`struct cvm_session`; the frame buffer comes beside it. *stack* is the deepest chain of calls within the library, found
in the compiler's call graph; what the port's functions take comes on top.

| build | text, M0 | goal | text, M3 | C library, M0 | RAM | stack, M0 |
| --- | --- | --- | --- | --- | --- | --- |
"""
    for row, size, other in zip(ROWS, m0, m3, strict=True):
        yield (
            f"| {row.name} | {size.text:,} | {f'{row.goal:,}' if row.goal else ''} | {other.text:,} | {size.libc:,}"
            f" | {size.session} | {size.stack} |\n"
        )
    lto = [measure(row, scratch / f"lto-{number}", "-flto").text for number, row in enumerate(ROWS) if row.goal]
    yield f"\nWith `-flto` the rows that have a goal take {', '.join(f'{text:,}' for text in lto)} bytes on the M0.\n"
    yield "\nBeside the session, each only where it is called:\n\n| extra | text, M0 |\n| --- | --- |\n"
    for number, (name, calls) in enumerate(_EXTRAS.items()):
        more = measure(Row(name, calls=(*_SESSION, *calls)), scratch / f"extra-{number}")
        yield f"| {name} | {more.text - m0[0].text} |\n"
    yield _GOALS
    rows = [(row, size) for row, size in zip(ROWS, m0, strict=True) if row.goal]
    yield f"| what takes the room, M0 | {' | '.join(row.name for row, _ in rows)} |\n| --- |{' --- |' * len(rows)}\n"
    for part, words in _PARTS.items():
        yield f"| {words} | {' | '.join(str(size.parts.get(part, '')) for _, size in rows)} |\n"


_GOALS: Final = """
## Goals

Wanted: no heap, at most 256 bytes of RAM beside the frame buffer, at most 448 of stack, and the text of the table's
column *goal*. Heap, RAM and stack are within them, save 4 bytes of RAM for `CVM_NONCE_COUNTERS`; the text is not.

What takes the room is in the table below. SHA-256 and what is made of it take a quarter: a part with a SHA-256 in ROM
or in silicon gets most of that back. The rest are promises, none of which is an option: frames of any size through a
buffer of 48 bytes, a hunt among stale bytes, a bundle that is read back from flash and judged before it is
acknowledged, a resume record that survives a torn write, a plan for each refusal. In suite `noise` the handshake comes
on top.

"""


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or say that it is out of date. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.sizes", description="Write protocol/c/SIZES.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    check = parser.parse_args(arguments).check
    try:
        wanted = render()
    except FileNotFoundError:
        print(f"{_GCC} is missing; Debian has it in gcc-arm-none-eabi and libnewlib-arm-none-eabi", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    there = PAGE.read_text(encoding="utf-8") if PAGE.exists() else None
    if there == wanted:
        return 0
    if check:
        print(f"{PAGE.relative_to(ROOT)}: out of date; run: python -m tools.sizes", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
