"""Regions of protocol/SPEC.md between `<!-- generated:NAME -->` and `<!-- end generated -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from protocol import constants
from protocol.constants import (
    BODY_SIZES,
    CLEAR_STATUSES,
    FIRST_OVERHEAD,
    MAX_MAX_FRAME,
    MIN_MAX_FRAME,
    OVERHEAD,
    RETRY_S,
    Kind,
    MessageType,
    ProofFlag,
    Stage,
    Status,
    Suite,
)
from protocol.session import StateT
from protocol.states import DEVICE, SERVER, Cause, Signal
from tools.generate import example

_REGION: Final = re.compile(r"(<!-- generated:([a-z0-9-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)

# constant, unit, meaning
_LIMITS: Final = [
    ("DEFAULT_PORT", "", "TCP port, unless configured otherwise"),
    ("DEFAULT_TLS_PORT", "", "TCP port where a server offers TLS, unless configured otherwise"),
    ("DEFAULT_MAX_FRAME", "bytes", "max_frame of a device that has no reason for another"),
    ("MAX_SERIAL", "bytes", "longest serial"),
    ("MIN_TOKEN", "bytes", "shortest token (none under auth `serial`)"),
    ("MAX_TOKEN", "bytes", "longest token"),
    ("MAX_CSR", "bytes", "longest CSR"),
    ("MAX_BUNDLE", "bytes", "largest bundle"),
    ("MAX_SKIPPED_BY_SERVER", "bytes", "skipped by a server that hunts for HELLO"),
    ("MAX_SKIPPED_BY_DEVICE", "bytes", "skipped by a device that hunts for its nonce"),
    ("MAX_HELLOS", "", "HELLOs on one connection"),
    ("HANDSHAKE_DEADLINE_S", "s", "from accept to the end of the TLS handshake, from where the others count then"),
    ("HELLO_DEADLINE_S", "s", "from accept to HELLO"),
    ("PROOF_DEADLINE_S", "s", "from accept to PROOF"),
    ("SESSION_DEADLINE_S", "s", "a connection in all"),
    ("PROGRESS_DEADLINE_S", "s", "without progress, once PROOF is in"),
    ("ANSWER_DEADLINE_S", "s", "from a request to its answer, WAIT if need be"),
    ("MAX_TURN_S", "s", "largest turn in WAIT"),
    ("MAX_CLEAR_RETRY_S", "s", "clamp of retry_s in a clear REFUSE"),
    ("MAX_TAGGED_RETRY_S", "s", "clamp of retry_s in a tagged REFUSE"),
]


class SpecError(Exception):
    """SPEC.md is missing, or its markers are not those that are generated."""


def fill(text: str | None) -> str:
    """SPEC.md with every region as it should be. SpecError where a marker is missing, doubled or unknown."""
    if text is None:
        raise SpecError("is missing; its prose is written by hand")
    names = [found[1] for found in _REGION.findall(text)]
    for name in sorted(REGIONS.keys() ^ set(names)):
        problem = "lacks the marker" if name in REGIONS else "has the unknown marker"
        raise SpecError(f"{problem} <!-- generated:{name} --> … <!-- end generated -->")
    if len(names) != len(set(names)):
        raise SpecError("has a marker twice")
    return _REGION.sub(lambda found: found[1] + REGIONS[found[2]]() + found[3], text)


def _table(head: str, rows: Iterable[Iterable[object]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + " --- |" * columns]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _message_types() -> str:
    def row(each: MessageType) -> tuple[object, ...]:
        least, most = BODY_SIZES[each]
        name = "REFUSE" if each is MessageType.CLEAR_REFUSE else each.name
        sender = "server" if each.from_server else "device"
        cover = "tagged" if each.protected else "clear"
        return (
            f"{each:02X}",
            name,
            sender,
            cover,
            least if least == most else f"{least} to {most}",
            each.meaning,
        )

    return _table("type (hex) | name | sent by | | body, bytes | meaning", map(row, MessageType))


def _statuses() -> str:
    def row(each: Status) -> tuple[object, ...]:
        return f"{each:02X}", each.name, "yes" if each in CLEAR_STATUSES else "", RETRY_S[each], each.meaning

    return _table("status (hex) | name | in clear | usual retry_s | meaning", map(row, Status))


def _suites() -> str:
    head = "suite | name | max_frame | added to a body: first frame of an end, later ones | meaning"
    rows = (
        (
            each.value,
            f"`{each.name.lower()}`",
            f"{MIN_MAX_FRAME[each]} to {MAX_MAX_FRAME}",
            f"{FIRST_OVERHEAD[each]}, {OVERHEAD[each]}",
            each.meaning,
        )
        for each in Suite
    )
    return _table(head, rows)


def _limits() -> str:
    rows: list[tuple[object, ...]] = [
        (f"`{name}`", f"{getattr(constants, name)} {unit}".rstrip(), what) for name, unit, what in _LIMITS
    ]
    for suite, least in MIN_MAX_FRAME.items():
        rows.append(("`max_frame`", f"{least} to {MAX_MAX_FRAME} bytes", f"range in suite `{suite.name.lower()}`"))
    for each in filter(lambda each: not each.from_server, MessageType):
        if each.protected:
            caps = " or ".join(
                f"{BODY_SIZES[each][1] + extra} (`{suite.name.lower()}`)" for suite, extra in FIRST_OVERHEAD.items()
            )
        else:
            caps = str(BODY_SIZES[each][1])
        rows.append((f"cap of {each.name}", f"{caps} bytes", "longest length in its header at the server"))
    return _table("limit | value | meaning", rows)


def _numbered(members: Iterable[Kind | Stage | ProofFlag], head: str) -> str:
    return _table(f"{head} | name | meaning", ((each.value, each.name, each.meaning) for each in members))


def _transitions(table: Mapping[StateT, Mapping[Cause, StateT]], own: Callable[[MessageType], bool]) -> str:
    """One row a move; `own` tells what this end sends."""

    def cause_text(cause: Cause) -> str:
        if isinstance(cause, Signal):
            return str(cause.value)
        name = "clear REFUSE" if cause is MessageType.CLEAR_REFUSE else cause.name
        return ("sends " if own(cause) else "receives ") + name

    rows = []
    for state, moves in table.items():
        by_next: dict[StateT, list[str]] = {}
        for cause, after in moves.items():
            by_next.setdefault(after, []).append(cause_text(cause))
        rows += [(state.name, state.value, "; ".join(causes), after.name) for after, causes in by_next.items()]
        rows += [(state.name, state.value, "", "")] if not moves else []
    return _table("state | meaning | when | next", rows)


REGIONS: Final[Mapping[str, Callable[[], str]]] = {
    "message-types": _message_types,
    "statuses": _statuses,
    "stages": lambda: _numbered(Stage, "stage"),
    "suites": _suites,
    "kinds": lambda: _numbered(Kind, "kind"),
    "proof-flags": lambda: _numbered(ProofFlag, "flag"),
    "limits": _limits,
    "device-transitions": lambda: _transitions(DEVICE, lambda message: not message.from_server),
    "server-transitions": lambda: _transitions(SERVER, lambda message: message.from_server),
    "session-mac": lambda: example.text(example.MAC),
    "session-noise": lambda: example.text(example.NOISE),
    "session-pull48": lambda: example.text(example.PULL48),
}
