"""What an account holds, in memory: certificates, things, policies, and what is attached to what."""

import base64
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from tools.awsiot.errors import refusal

T = TypeVar("T")


@dataclass
class Certificate:
    """One certificate; `history` is what happened to it, each entry with its place in the account's order."""

    id: str
    arn: str
    pem: str
    status: str
    not_before: datetime
    not_after: datetime
    created_at: float  # seconds since 1970, as every time below
    modified_at: float
    version: int = 1
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Thing:
    name: str
    arn: str
    id: str
    type_name: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    name: str
    arn: str
    document: str
    created_at: float


class Catalog(Generic[T]):
    """Items by key, kept in order of creation and read in pages.

    A marker is the place of the next item, so a page costs its own length and survives what is removed
    between two pages.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._items: list[T | None] = []

    def __iter__(self) -> Iterator[T]:
        return (item for item in self._items if item is not None)

    def get(self, key: str) -> T | None:
        place = self._places.get(key)
        return None if place is None else self._items[place]

    def add(self, key: str, item: T) -> None:
        self._places[key] = len(self._items)
        self._items.append(item)

    def remove(self, key: str) -> None:
        self._items[self._places.pop(key)] = None

    def page(self, size: int, marker: str | None, ascending: bool = True) -> tuple[list[T], str | None]:
        """At most `size` items from `marker` on, and the marker of the next page or None."""
        step = 1 if ascending else -1
        place = read_marker(marker, 0 if ascending else len(self._items) - 1)
        found: list[T] = []
        while 0 <= place < len(self._items):
            item = self._items[place]
            if item is not None:
                if len(found) == size:
                    return found, write_marker(place)
                found.append(item)
            place += step
        return found, None


def page_of(items: list[str], size: int, marker: str | None) -> tuple[list[str], str | None]:
    """The same for a list that is made for each answer: what is attached to one thing or certificate."""
    start = read_marker(marker, 0)
    more = start + size < len(items)
    return items[start : start + size], write_marker(start + size) if more else None


def write_marker(place: int) -> str:
    return base64.b64encode(place.to_bytes(8, "big")).decode("ascii")


def read_marker(marker: str | None, default: int) -> int:
    if marker is None:
        return default
    try:
        place = base64.b64decode(marker, validate=True)
    except ValueError as error:
        raise refusal("InvalidRequestException", "the marker is none that an answer gave") from error
    if len(place) != 8:
        raise refusal("InvalidRequestException", "the marker is none that an answer gave")
    return int.from_bytes(place, "big")


@dataclass
class _Link:
    attached: bool
    changed_at: float


class Links:
    """Which certificates are attached to which names (things, or policies), looked up from both sides.

    Each change is seen by readers only `lag_s` seconds after it was made, as at AWS; 0 is at once.
    """

    def __init__(self, lag_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lag_s = lag_s
        self._clock = clock
        self._names: dict[str, dict[str, _Link]] = {}
        self._certificates: dict[str, dict[str, _Link]] = {}

    def attach(self, certificate_id: str, name: str) -> bool:
        """True if it was not attached before."""
        return self._change(certificate_id, name, True)

    def detach(self, certificate_id: str, name: str) -> bool:
        """True if it was attached before."""
        return self._change(certificate_id, name, False)

    def names(self, certificate_id: str) -> list[str]:
        """What readers see attached to the certificate."""
        return self._seen(self._names.get(certificate_id, {}))

    def certificates(self, name: str) -> list[str]:
        """The ids of the certificates that readers see attached to the name."""
        return self._seen(self._certificates.get(name, {}))

    def settled_names(self, certificate_id: str) -> list[str]:
        """What is attached once every change has come through."""
        return [name for name, link in self._names.get(certificate_id, {}).items() if link.attached]

    def drop(self, certificate_id: str) -> None:
        """Forget a deleted certificate."""
        for name in self._names.pop(certificate_id, {}):
            del self._certificates[name][certificate_id]

    def _change(self, certificate_id: str, name: str, attached: bool) -> bool:
        link = self._names.get(certificate_id, {}).get(name)
        if attached == (link is not None and link.attached):
            return False
        new = _Link(attached, self._clock())
        self._names.setdefault(certificate_id, {})[name] = new
        self._certificates.setdefault(name, {})[certificate_id] = new
        return True

    def _seen(self, links: dict[str, _Link]) -> list[str]:
        now = self._clock()
        return [key for key, link in links.items() if link.attached == (now - link.changed_at >= self._lag_s)]


class Store:
    """Everything of one account that a reset forgets."""

    def __init__(self, lag_s: float) -> None:
        self.certificates: Catalog[Certificate] = Catalog()
        self.things: Catalog[Thing] = Catalog()
        self.policies: Catalog[Policy] = Catalog()
        self.thing_links = Links(lag_s)
        self.policy_links = Links(lag_s)
        self.deleted: list[Certificate] = []
        self._order = itertools.count(1)

    def note(self, certificate: Certificate, what: str, value: str) -> None:
        """Write into the certificate's history: `what` is status, attached or detached."""
        certificate.history.append({"n": next(self._order), what: value})

    def delete(self, certificate: Certificate) -> None:
        """Take the certificate out, with all that it is attached to; its history stays readable."""
        self.certificates.remove(certificate.id)
        self.thing_links.drop(certificate.id)
        self.policy_links.drop(certificate.id)
        certificate.status = "DELETED"
        self.note(certificate, "status", "DELETED")
        self.deleted.append(certificate)

    def certificate(self, certificate_id: str) -> Certificate:
        found = self.certificates.get(certificate_id)
        if found is None:
            raise refusal("ResourceNotFoundException", f"Certificate {certificate_id} does not exist")
        return found

    def thing(self, name: str) -> Thing:
        found = self.things.get(name)
        if found is None:
            raise refusal("ResourceNotFoundException", f"Thing {name} does not exist")
        return found

    def policy(self, name: str) -> Policy:
        found = self.policies.get(name)
        if found is None:
            raise refusal("ResourceNotFoundException", f"Policy {name} does not exist")
        return found
