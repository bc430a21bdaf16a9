"""A CSV of devices, line by line: what can be imported, and why the rest cannot be.

Nothing is normalised: what is not written as it is to be used is refused, with the reason. Pure: lines in, candidates
out; `cvmd devices import` (cli/intake.py) looks them up, mints tokens and writes.
"""

from __future__ import annotations

import binascii
import csv
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cvmd.errors import ConfigError
from cvmd.model import Auth, Product, Secret
from protocol.constants import MAX_TOKEN, MIN_TOKEN

COLUMNS: Final = ("serial", "token", "product", "thing", "policy")
REASON: Final = "reason"
"""The further column of a CSV of failed lines, which is read past."""
MAX_LINE: Final = 8192
"""Bytes of a line; more are read as the end of a broken file."""

_NAMES: Final = {
    "serial": (re.compile(r"[A-Za-z0-9:_.-]{1,64}"), "1 to 64 of A-Z a-z 0-9 : _ . -"),
    "product": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"), "1 to 64 of A-Z a-z 0-9 _ . -"),
    "thing": (re.compile(r"[A-Za-z0-9:_-]{1,128}"), "1 to 128 of A-Z a-z 0-9 : _ -"),
    "policy": (re.compile(r"[\w+=,.@-]{1,128}", re.ASCII), "1 to 128 of A-Z a-z 0-9 _ + = , . @ -"),
}
MEANT: Final = "--accept look-alikes takes both"
_HEX: Final = re.compile(rb"[0-9A-Fa-f]+")
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]+")
_SPREADSHEET: Final = re.compile(r"[0-9][.,]?[0-9]*[eE][+-]?[0-9]+")


class Accept(StrEnum):
    """What is refused unless the operator says that it is meant."""

    TEXTUAL_TOKENS = "textual-tokens"
    """Tokens whose bytes are printable text."""
    SHARED_TOKENS = "shared-tokens"
    LOOK_ALIKES = "look-alikes"
    """Serials that differ from another one in upper and lower case alone."""
    SHARED_THINGS = "shared-things"


class Unfit(Exception):  # noqa: N818  # no error but an answer
    """A line that is not imported; the message says why, and repeats no token."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file. `cells`: those of COLUMNS, or of one that could not be split the whole line and nothing."""

    number: int
    cells: tuple[str, ...]
    problem: str = ""
    """Why it could not be split."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line that can be imported as far as it says itself. `token`: None where it gives none."""

    line: Line
    serial: bytes
    token: Secret | None
    product: Product
    thing: str
    policy: str


def read(raw: Iterable[bytes], defaults: Mapping[str, str]) -> Iterator[Line]:
    """The lines of a CSV (RFC 4180, UTF-8, no line breaks in fields) behind its first one, which names the columns.

    `defaults`: of empty cells and missing columns. Raises ConfigError where the first line will not do.
    """
    lines = iter(raw)
    return _lines(lines, _header(next(lines, b""), defaults), defaults)


def _lines(raw: Iterator[bytes], names: Sequence[str], defaults: Mapping[str, str]) -> Iterator[Line]:
    places = [names.index(column) if column in names else None for column in COLUMNS]
    for number, text in enumerate(raw, 2):
        if not text.strip():
            continue
        try:
            cells = _split(text)
            if len(cells) != len(names):
                raise Unfit(f"it has {len(cells)} fields, the first line of the file has {len(names)}")
        except Unfit as problem:
            whole = text.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
            yield Line(number, (whole, *[""] * (len(COLUMNS) - 1)), str(problem))
            continue
        found = ("" if place is None else cells[place] for place in places)
        yield Line(number, tuple(it or defaults.get(column, "") for it, column in zip(found, COLUMNS, strict=True)))


def _header(text: bytes, defaults: Mapping[str, str]) -> list[str]:
    try:
        names = _split(text.removeprefix(b"\xef\xbb\xbf"))
    except Unfit as problem:
        raise ConfigError(f"its first line is to name the columns ({','.join(COLUMNS)}): {problem}") from None
    known = {*COLUMNS, REASON}
    for name in names:
        if name not in known:
            hint = "; separate the columns by commas" if re.search(r"[;\t|]", name) else ""
            raise ConfigError(f"its first line names a column {name!r}: there are {', '.join(COLUMNS)}{hint}")
    if len(set(names)) != len(names):
        raise ConfigError("its first line names a column twice")
    missing = [name for name in COLUMNS if name not in {*names, *defaults, "token"}]
    if missing:
        raise ConfigError(f"its first line names no column {' and no '.join(missing)}")
    return names


def _split(text: bytes) -> list[str]:
    if len(text) > MAX_LINE:
        raise Unfit(f"it has more than {MAX_LINE} bytes")
    try:
        # A line at a time: a quote that is never closed spoils one line, and not all that follow.
        return next(csv.reader([text.rstrip(b"\r\n").decode("utf-8")], strict=True), [""])
    except UnicodeDecodeError:
        raise Unfit("it is not UTF-8") from None
    except csv.Error as error:
        raise Unfit(f"it is no line of CSV: {error}") from None


def token_of(text: str, accept: frozenset[Accept]) -> Secret | None:
    """The bytes of a token, which is written in hex; None: there is none. Raises Unfit, which does not repeat it."""
    if not text:
        return None
    try:
        token = binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        raise Unfit(_no_hex(text)) from None
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        what = "a shorter one can be guessed" if len(token) < MIN_TOKEN else "the protocol knows no longer ones"
        raise Unfit(f"the token has {len(token)} bytes, and is to have {MIN_TOKEN} to {MAX_TOKEN}: {what}")
    if len(set(token)) == 1:
        raise Unfit("the token is one byte again and again")
    if Accept.TEXTUAL_TOKENS not in accept and _PRINTABLE.fullmatch(token):
        if _HEX.fullmatch(token):
            raise Unfit("the token is hex digits written as hex digits: was it encoded twice?")
        raise Unfit("the token's bytes are text: a password can be guessed (--accept textual-tokens takes it)")
    return Secret(token)


def _no_hex(text: str) -> str:
    if text != text.strip():
        return "the token has white space around it"
    if _SPREADSHEET.fullmatch(text):
        return "the token is a number as a spreadsheet rounds it: import it there as text"
    if text[:2] in ("0x", "0X"):
        return "the token begins with 0x: leave that out"
    if re.fullmatch(r"[0-9A-Fa-f]+", text):
        return "the token has an odd number of hex digits: was a 0 lost at its beginning?"
    return "the token is not written as hex digits, two a byte"


class Checks:
    """What can be said of each line by itself, and beside those before it.

    `there`: fold() of each serial in the database, ascending.
    """

    def __init__(self, products: Mapping[str, Product], there: array[int], accept: frozenset[Accept]) -> None:
        self._products = products
        self._there = there
        self._accept = accept
        # By hash, since a file may have a million lines.
        self._serials: dict[int, int] = {}
        self._folded: dict[int, int] = {}
        self._tokens: dict[int, int] = {}
        self._things: dict[int, int] = {}

    def candidate(self, line: Line) -> Candidate:
        """Raises Unfit."""
        if line.problem:
            raise Unfit(line.problem)
        serial, token_text, product_name, thing, policy = line.cells
        name = _name("serial", serial).encode()
        product = self._products.get(_name("product", product_name))
        if product is None:
            raise Unfit(f"there is no product {product_name!r}: make it with `cvmd products add`")
        token = token_of(token_text, self._accept)
        if token is not None and product.auth is not Auth.TOKEN:
            raise Unfit(f"product {product.name} has auth {product.auth}: its devices have no tokens, leave it empty")
        found = Candidate(line, name, token, product, _name("thing", thing), _name("policy", policy))
        self._check_beside(found, line.number)
        return found

    def resembles(self, serial: bytes) -> bool:
        """Whether a device is there whose serial differs from this one, which is not, in case alone."""
        place = bisect_left(self._there, wanted := fold(serial))
        return not self.accepts(Accept.LOOK_ALIKES) and self._there[place : place + 1] == array("q", [wanted])

    def accepts(self, what: Accept) -> bool:
        """Whether the operator has said that it is meant."""
        return what in self._accept

    def _check_beside(self, it: Candidate, number: int) -> None:
        before = self._folded.setdefault(fold(it.serial), number)
        _first(self._serials, hash(it.serial), number, f"serial {it.serial.decode()}")
        if before != number and Accept.LOOK_ALIKES not in self._accept:
            raise Unfit(f"line {before} has this serial in other letters, upper or lower case ({MEANT})")
        if it.token is not None and Accept.SHARED_TOKENS not in self._accept:
            _first(self._tokens, hash(it.token.reveal()), number, "the token", Accept.SHARED_TOKENS)
        if not it.product.share_things and Accept.SHARED_THINGS not in self._accept:
            thing = hash((it.product.account.id, it.thing))
            _first(self._things, thing, number, f"thing {it.thing}", Accept.SHARED_THINGS)


def fold(serial: bytes) -> int:
    """The same for all serials that differ in case alone, in this process: 64 bits."""
    return hash(serial.lower())


def _first(seen: dict[int, int], value: int, number: int, what: str, accept: Accept | None = None) -> None:
    before = seen.setdefault(value, number)
    if before != number:
        raise Unfit(f"{what} is in line {before} already" + (f" (--accept {accept} takes it)" if accept else ""))


def _name(column: str, text: str) -> str:
    pattern, rule = _NAMES[column]
    if pattern.fullmatch(text):
        return text
    if not text:
        raise Unfit(f"it has no {column}")
    if pattern.fullmatch(text.strip()):
        raise Unfit(f"the {column} has white space around it")
    raise Unfit(f"{column} {text[:80]!a} is to be {rule}")
