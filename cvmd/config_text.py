"""Between a configuration's types and people: the example file, and errors that say key and problem."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct, ValidationError

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": 'text in "quotes"',
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
}


def example(defaults: Struct) -> str:
    """TOML with a table a section of `defaults`, and above every key its doc and what it may be."""
    lines = ["# Configuration of cvmd. Every key may be left out; these are the defaults."]
    for name in defaults.__struct_fields__:
        section = getattr(defaults, name)
        lines += ["", f"# {(type(section).__doc__ or '').strip()}", f"[{name}]"]
        for key, hint in _hints(type(section)).items():
            lines += [f"# {_doc(hint)}", f"{key} = {json.dumps(getattr(section, key))}"]
    return "\n".join(lines) + "\n"


def explain(error: ValidationError, root: type[Struct]) -> str:
    """msgspec's error as one line: the key's path, what is wrong with it, what it may be. Never the value."""
    problem, _, place = str(error).partition(" - at `$")
    path = re.findall(r"\w+", re.sub(r"\[.*", "", place))  # an item of a list is named by its list
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        return _unknown_key(unknown[1], path, root)
    if isinstance(error.__cause__, ValueError):
        return ".".join([*path, problem])
    where = ".".join(path)
    if problem.startswith("Invalid enum value"):
        return f"{where}: must be one of {', '.join(_choices(_hint(path, root)))}"
    plain = re.sub(r"`(\w+)`", lambda match: _WORDS.get(match[1], match[1]), problem)
    return f"{where}: {plain[0].lower()}{plain[1:]}"


def _unknown_key(key: str, path: list[str], root: type[Struct]) -> str:
    sections = _hints(root)
    known = _hints(sections[path[0]]) if path and path[0] in sections else sections
    where = ".".join([*path, key])
    if close := difflib.get_close_matches(key, known, n=1):
        return f"{where}: unknown key; did you mean {close[0]}?"
    if homes := [name for name, section in sections.items() if key in _hints(section)]:
        return f"{where}: unknown key here; it belongs into [{homes[0]}]"
    return f"{where}: unknown key; known are {', '.join(known)}"


def _hints(struct: type[Struct]) -> dict[str, Any]:
    return get_type_hints(struct, include_extras=True)


def _hint(path: list[str], root: type[Struct]) -> Any:  # noqa: ANN401  # a type as typing holds it
    hint: Any = root
    for part in path:
        hint = _hints(hint)[part]
    return hint


def _doc(hint: Any) -> str:  # noqa: ANN401  # a type as typing holds it
    """The key's line of doc, with its choices or bounds."""
    (meta,) = (extra for extra in get_args(hint) if isinstance(extra, Meta))
    choices = list(_choices(hint))
    if choices:
        return f"{meta.description} (of {', '.join(choices)})"
    if meta.le is None:
        return str(meta.description)
    low = f"more than {meta.gt}" if meta.gt is not None else f"{meta.ge}"
    return f"{meta.description} ({low}, up to {meta.le})"


def _choices(hint: Any) -> Iterator[str]:  # noqa: ANN401  # a type as typing holds it
    """The words of every Literal inside `hint`."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
        return
    for inner in get_args(hint):
        yield from _choices(inner)
