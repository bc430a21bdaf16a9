"""Bytes that nobody is to see (invariant 6)."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Bytes that must never be shown: a token, a private key, the master key. `repr` and `str` are blank."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves; call it only where they are used at once."""
        return self._value

    def __repr__(self) -> str:
        return "Secret()"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of a dictionary: its hash would leak into dumps

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied into a dump")
