"""Errors and examples for types other than the daemon's own."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct, field

from cvmd import config_text


class Colour(Struct, frozen=True, forbid_unknown_fields=True):
    """What it looks like."""

    name: Annotated[Literal["red", "blue"], Meta(description="of the door")] = "red"
    depth: Annotated[float, Meta(gt=0, le=2, description="of the paint")] = 1.0


class House(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    colour: Colour = field(default_factory=Colour)


def test_the_example_has_doc_choices_and_bounds() -> None:
    assert config_text.example(House()) == (
        "# Configuration of cvmd. Every key may be left out; these are the defaults.\n"
        "\n"
        "# What it looks like.\n"
        "[colour]\n"
        "# of the door (of red, blue)\n"
        'name = "red"\n'
        "# of the paint (more than 0, up to 2)\n"
        "depth = 1.0\n"
    )


@pytest.mark.parametrize("key", ["a - at `$.x`", "a` - at `$.x`", "a`", "", "[0]", "a.b"])
def test_no_key_however_odd_breaks_the_explanation(key: str) -> None:
    for value in ({key: 1}, {"colour": {key: 1}}):
        with pytest.raises(msgspec.ValidationError) as refused:
            msgspec.convert(value, House)

        assert config_text.explain(refused.value, House)
