"""The types of command-line arguments: text in, the daemon's value out, or a sentence that says the rule."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from cvmd import networks as cidr
from cvmd.config import ENDPOINT_URL
from cvmd.errors import ConfigError
from cvmd.issuer.permissions import ROLE_ARN
from protocol.constants import MAX_SERIAL

E = TypeVar("E", bound=StrEnum)

UNLIMITED: Final = "unlimited"
NONE: Final = "none"
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_LIFETIME_S: Final = 3650 * 86_400
_MAX_LIMIT: Final = 1_000_000


def _matching(what: str, pattern: str, rule: str) -> Callable[[str], str]:
    expression = re.compile(pattern, re.ASCII)

    def parse(text: str) -> str:
        if not expression.fullmatch(text):
            raise ArgumentTypeError(f"{text!r} is no {what}: {rule}")
        return text

    return parse


serial = _matching("serial", rf"[A-Za-z0-9:_.-]{{1,{MAX_SERIAL}}}", f"1 to {MAX_SERIAL} of letters, digits and : _ . -")
thing = _matching("thing name", r"[a-zA-Z0-9:_-]{1,128}", "1 to 128 of letters, digits and : _ -")
policy = _matching("policy name", r"[\w+=,.@-]{1,128}", "1 to 128 of letters, digits and _ + = , . @ -")
partition = _matching("partition", r"aws[a-z-]{0,28}", "aws, aws-cn, aws-us-gov, …")
region = _matching("region", r"[a-z]{2,8}(-[a-z]{2,12}){1,3}-\d{1,2}", "such as eu-central-1")
role_arn = _matching("role", ROLE_ARN.pattern, "such as arn:aws:iam::123456789012:role/cvmd")
principal_arn = _matching(
    "ARN of an identity", r"arn:aws[a-z-]*:iam::\d{12}:(root|(user|role)/[\w+=,.@/-]{1,576})",
    "such as arn:aws:iam::123456789012:role/machine",
)  # fmt: skip
external_id = _matching("external id", r"[\w+=,.@:/-]{2,1224}", "2 to 1224 of letters, digits and _ + = , . @ : / -")
host = _matching(
    "host name", r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63}){1,8}", "such as x-ats.iot.REGION.amazonaws.com"
)
endpoint_url = _matching("endpoint", ENDPOINT_URL.pattern, "https://host[:port]; http only to this machine")
name = _matching("name", r"[A-Za-z0-9_.-]{1,64}", "1 to 64 of letters, digits and _ . -")


def number(text: str) -> float:
    """The number that it says; else NaN, which is within no bounds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def file(text: str) -> Path:
    """A path that ends with a name: others can be put beside it."""
    path = Path(text)
    if not path.name:
        raise ArgumentTypeError(f"{text!r} names no file")
    return path


def or_none(parse: Callable[[str], str]) -> Callable[[str], str | None]:
    """The same, and `none` for no value of one's own."""
    return lambda text: None if text == "none" else parse(text)


def duration(low_s: int, high_s: int = _MAX_LIFETIME_S) -> Callable[[str], int]:
    """Seconds from 90, 90s, 15m, 12h or 7d, between the bounds."""

    def parse(text: str) -> int:
        found = re.fullmatch(r"(\d{1,12})([smhd]?)", text, re.ASCII)
        if found is None:
            raise ArgumentTypeError(f"{text!r} is no duration: write 90s, 15m, 12h or 7d")
        seconds = int(found[1]) * _UNITS[found[2]]
        if not low_s <= seconds <= high_s:
            raise ArgumentTypeError(f"{text!r} is out of bounds: from {low_s}s to {high_s}s")
        return seconds

    return parse


def networks(text: str) -> str | None:
    """CIDR networks, separated by commas, as they are written to a row; None for `none`."""
    if text == NONE:
        return None
    try:
        return ",".join(str(network) for network in cidr.parse(text))
    except ConfigError as error:
        raise ArgumentTypeError(str(error)) from None


def reissue_limit(text: str) -> int | None:
    """How many new certificates after the first; None is unlimited."""
    if text == UNLIMITED:
        return None
    if not re.fullmatch(r"\d{1,7}", text, re.ASCII) or int(text) > _MAX_LIMIT:
        raise ArgumentTypeError(f"{text!r} is no limit: a number from 0 to {_MAX_LIMIT}, or {UNLIMITED}")
    return int(text)


def one_of(kind: type[E]) -> Callable[[str], E]:
    """A member of `kind`."""

    def parse(text: str) -> E:
        if text not in list(kind):
            raise ArgumentTypeError(f"{text!r} is unknown; it is one of {', '.join(kind)}")
        return kind(text)

    return parse
