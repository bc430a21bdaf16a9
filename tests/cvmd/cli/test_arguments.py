"""What an argument may be, and what its user is told where it may not."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest

from cvmd.cli import arguments
from cvmd.model import KeySource

TAKEN = [
    (arguments.serial, "A1:b_c.d-e", "A1:b_c.d-e"),
    (arguments.serial, "x" * 64, "x" * 64),
    (arguments.thing, "meter:7_a-b", "meter:7_a-b"),
    (arguments.thing, "x" * 128, "x" * 128),
    (arguments.policy, "p+=,.@-_", "p+=,.@-_"),
    (arguments.name, "meter.v2", "meter.v2"),
    (arguments.duration(0), "0", 0),
    (arguments.duration(0), "90", 90),
    (arguments.duration(0), "15m", 900),
    (arguments.duration(0), "7d", 604_800),
    (arguments.duration(0, 60), "60s", 60),
    (arguments.reissue_limit, "0", 0),
    (arguments.reissue_limit, "3", 3),
    (arguments.reissue_limit, "unlimited", None),
    (arguments.one_of(KeySource), "ec-p256", KeySource.EC_P256),
]

REFUSED = [
    (arguments.serial, "", "1 to 64"),
    (arguments.serial, "x" * 65, "1 to 64"),
    (arguments.serial, "A1\n", "no serial"),
    (arguments.serial, "Ä1", "no serial"),
    (arguments.serial, "A 1", "no serial"),
    (arguments.thing, "a.b", "no thing name"),
    (arguments.thing, "x" * 129, "1 to 128"),
    (arguments.policy, "a/b", "no policy name"),
    (arguments.policy, "é", "no policy name"),
    (arguments.name, "", "no name"),
    (arguments.duration(0), "7w", "write 90s, 15m, 12h or 7d"),
    (arguments.duration(0), "-1", "write 90s"),
    (arguments.duration(0), "1.5h", "write 90s"),
    (arguments.duration(0), "٣", "write 90s"),
    (arguments.duration(60), "59", "from 60s"),
    (arguments.duration(0, 60), "2m", "to 60s"),
    (arguments.duration(0), "999999999999d", "out of bounds"),
    (arguments.reissue_limit, "-1", "unlimited"),
    (arguments.reissue_limit, "1000001", "unlimited"),
    (arguments.reissue_limit, "none", "unlimited"),
    (arguments.one_of(KeySource), "ec-p384", "is unknown; it is one of ec-p256, rsa2048, "),
]


@pytest.mark.parametrize(("parse", "text", "value"), TAKEN)
def test_an_argument_becomes_the_daemons_value(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "problem"), REFUSED)
def test_a_refused_argument_says_the_rule(parse: Callable[[str], Any], text: str, problem: str) -> None:
    with pytest.raises(ArgumentTypeError, match=problem):
        parse(text)
