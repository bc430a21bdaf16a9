"""What a login may do in the database against what the daemon needs, as grants.sql has it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

NEEDED: Final = frozenset({"SELECT", "INSERT", "UPDATE"})
_ALL: Final = "ALL PRIVILEGES"
_NOTHING: Final = "USAGE"
_NAME = r"(?:`(?:[^`]|``)+`|\*)"
_LINE: Final = re.compile(
    rf"GRANT (?P<what>.+?) ON (?:TABLE )?(?P<database>{_NAME})\.(?P<table>{_NAME}) TO (?P<rest>.*)"
)
_COMMA: Final = re.compile(r",\s*(?![^()]*\))")
"""Between privileges, and not between the columns of one."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of SHOW GRANTS. `database` is a pattern as LIKE has it, `table` a name; `*` is any."""

    privileges: frozenset[str]
    database: str
    table: str

    def covers(self, database: str, table: str) -> bool:
        """Whether it is about that table."""
        return (self.database == "*" or _like(self.database, database)) and self.table in ("*", table)

    def __str__(self) -> str:
        return f"{', '.join(sorted(self.privileges))} on {self.database}.{self.table}"


def parse(lines: Sequence[str]) -> list[Grant]:
    """The grants in what SHOW GRANTS says. Roles and proxies are left out: what an active role grants is listed too."""
    return [_grant(found) for line in lines if (found := _LINE.fullmatch(line))]


def missing(grants: Sequence[Grant], database: str, tables: Collection[str]) -> list[str]:
    """What the daemon cannot do without: `UPDATE`, or `UPDATE on audit` where it is only some tables."""
    lacking = {
        privilege: [it for it in sorted(tables) if not _may(grants, privilege, database, it)]
        for privilege in sorted(NEEDED)
    }
    return [
        privilege if len(names) == len(tables) else f"{privilege} on {', '.join(names)}"
        for privilege, names in lacking.items()
        if names
    ]


def excess(grants: Sequence[Grant], database: str) -> list[str]:
    """What it could do without: other privileges, and any of them outside of the database."""
    return [str(it) for it in _beyond(grants, database)]


def _beyond(grants: Sequence[Grant], database: str) -> Iterator[Grant]:
    for it in grants:
        inside = it.database != "*" and _like(it.database, database)
        if more := it.privileges - {_NOTHING} - (NEEDED if inside else frozenset()):
            yield Grant(more, it.database, it.table)


def _may(grants: Sequence[Grant], privilege: str, database: str, table: str) -> bool:
    return any(it.privileges & {privilege, _ALL} and it.covers(database, table) for it in grants)


def _grant(found: re.Match[str]) -> Grant:
    privileges = set(_COMMA.split(found["what"].upper()))
    if "WITH GRANT OPTION" in found["rest"].upper():
        privileges.add("GRANT OPTION")
    return Grant(frozenset(privileges), _plain(found["database"]), _plain(found["table"]))


def _plain(name: str) -> str:
    return name.strip("`").replace("``", "`")


def _like(pattern: str, name: str) -> bool:
    """As LIKE compares: `_` is any character, `%` any number of them, unless a backslash is before."""
    parts = re.findall(r"\\.|.", pattern)
    wild = {"_": ".", "%": ".*"}
    expression = "".join(wild.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.fullmatch(expression, name) is not None
