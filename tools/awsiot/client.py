"""For tests and the demo: a stand-in in a thread, and its control path as methods."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, cast
from urllib.parse import urlsplit

from tools.awsiot.control import CONTROL
from tools.awsiot.server import Settings, StandIn

_SEEDED_AT_ONCE = 5000


class Control:
    """A running stand-in, in this process or another: `url` for boto3, the methods for who directs it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def counters(self) -> dict[str, dict[str, int]]:
        """How many calls by operation and outcome: ok, an error's code,
        or a fault's kind (reset, lost, html, fields)."""
        return cast(dict[str, dict[str, int]], self._json("GET", "counters"))

    def calls(self, operation: str, outcome: str | None = None) -> int:
        """How many calls of the operation came (with that outcome)."""
        outcomes = self.counters().get(operation, {})
        return sum(outcomes.values()) if outcome is None else outcomes.get(outcome, 0)

    def state(self) -> dict[str, Any]:
        """certificates, deleted, things and policies: see README.md."""
        return cast(dict[str, Any], self._json("GET", "state"))

    def reset(self) -> None:
        self._json("POST", "reset")

    def seed_things(self, names: Sequence[str]) -> None:
        self._seed("things", names)

    def seed_policies(self, names: Sequence[str]) -> None:
        self._seed("policies", names)

    def fault(self, operation: str, kind: str, **rule: object) -> None:
        """Add one rule, with the fields of faults.Fault."""
        self._json("POST", "faults", [{"operation": operation, "kind": kind, **rule}])

    def clear_faults(self) -> None:
        self._json("DELETE", "faults")

    def allow(self, document: object) -> None:
        """Judge every call from now on by this IAM policy; None: allow all."""
        self._json("POST", "iam", document)

    def end_sessions(self) -> None:
        """The credentials that AssumeRole has lent until now have expired."""
        self._json("DELETE", "sessions")

    def ca_pem(self) -> bytes:
        return self._call("GET", "ca.pem", None)

    def _seed(self, what: str, names: Sequence[str]) -> None:
        for start in range(0, len(names), _SEEDED_AT_ONCE):
            self._json("POST", what, list(names[start : start + _SEEDED_AT_ONCE]))

    def _json(self, method: str, what: str, value: object = None) -> object:
        return json.loads(self._call(method, what, value))

    def _call(self, method: str, what: str, value: object) -> bytes:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, CONTROL + what, None if value is None else json.dumps(value))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"{method} {CONTROL}{what}: {response.status} {body.decode('utf-8', 'replace')}")
        return body


@contextmanager
def run_in_thread(settings: Settings | None = None) -> Iterator[Control]:
    """A stand-in with an event loop and a thread of its own, ended with the block."""
    started: Future[tuple[str, Callable[[], object]]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with StandIn(settings or Settings()) as standin:
            started.set_result((standin.url, lambda: loop.call_soon_threadsafe(end.set)))
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="awsiot", daemon=True)
    thread.start()
    url, end = started.result()
    try:
        yield Control(url)
    finally:
        end()
        thread.join()
