"""The daemon of the crash tests: the real one, its two ports and its database driver wrapped, forked ready to run.

Every call of a port is a step, and so is every SQL statement in it: `queue#1` is the first call of that method in this
process, `queue/2#1` the first time that a call of it sends a second statement. So whatever one vend does, more vends
do again, and come to the same step. They are traced, in their order, one line each; and at the one step that a Plan
names, something happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection

from cvmd import app, aws, cli
from cvmd.errors import IssuerError, IssuerFault
from tools.stack import ENVIRONMENT

_CONNECTION_GONE = {2003, 2006, 2013}
_LAG_EVERY_S = 0.01


@dataclass(frozen=True)
class Plan:
    """At `step`, once, `what` happens.

    die-before, die-after: SIGKILL · stop-before, stop-after: SIGSTOP · lose-answer: of AWS, after the effect; of the
    database (a statement's step), the same · a number: the database's error of that number, instead of the statement
    """

    step: str = ""
    what: str = ""


NOTHING = Plan()


@dataclass(frozen=True)
class Orders:
    """What to run: the arguments of `cvmd`, where its output goes, and for the daemon the plan and the trace."""

    arguments: tuple[str, ...]
    log: Path
    trace: Path
    plan: Plan = NOTHING


def run(orders: Orders) -> None:
    """In the child: be `cvmd`."""
    os.environ.update(ENVIRONMENT)
    output = os.open(orders.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if orders.arguments[0] == "serve":
        _wrap(Tracer(orders.plan, orders.trace))
    code = cli.main(orders.arguments)
    sys.stdout.flush()
    os._exit(code)  # no handlers of the test's process, whose copy this is


class Tracer:
    """Counts and writes down the steps, and carries the plan out."""

    def __init__(self, plan: Plan, trace: Path) -> None:
        self._plan = plan
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._steps: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._here = threading.local()
        self._done = False

    def note(self, *words: object) -> None:
        """One line of the trace; what was written outlives the process."""
        os.write(self._trace, (" ".join(map(str, words)) + "\n").encode())

    def call(self, port: str, method: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call of a port."""
        step = self._step(method)
        self._here.method, self._here.step, self._here.statements = method, step, 0
        self.note(port, step)
        self._perhaps(step, "before")
        try:
            answer = real(*args, **kwargs)
        finally:
            self._here.step = None
        self._perhaps(step, "after")
        if self._is(step, "lose-answer"):
            raise IssuerError(IssuerFault.UNKNOWN, method, "ConnectionClosedError")
        return answer

    def statement(self, real: Callable[..., Any], connection: Connection[Any], sql: str | bytes, *args: Any) -> Any:
        """A statement that the driver sends."""
        verb = (sql if isinstance(sql, str) else sql.decode("ascii", "replace")).split(None, 1)[0]
        if getattr(self._here, "step", None) is None or verb == "SET":  # SET: of a new connection
            return real(connection, sql, *args)
        self._here.statements += 1
        step = self._step(f"{self._here.method}/{self._here.statements}")
        self.note("sql", step, verb, self._here.step)
        self._perhaps(step, "before")
        if self._plan.what.isdigit() and self._is(step, self._plan.what):
            raise _error(connection, int(self._plan.what))
        answer = real(connection, sql, *args)
        self._perhaps(step, "after")
        if self._is(step, "lose-answer"):
            raise _error(connection, 2013)
        return answer

    def _step(self, what: str) -> str:
        with self._counting:
            self._steps[what] += 1
            return f"{what}#{self._steps[what]}"

    def _perhaps(self, step: str, when: str) -> None:
        for what, number in (("die", signal.SIGKILL), ("stop", signal.SIGSTOP)):
            if self._is(step, f"{what}-{when}"):
                # To this very thread: of a stop for the process it hears once another thread has run to take it.
                signal.pthread_kill(threading.get_ident(), number)

    def _is(self, step: str, what: str) -> bool:
        if self._done or (step, what) != (self._plan.step, self._plan.what):
            return False
        self._done = True
        self.note("hit", step, what)
        return True


class Port:
    """A port whose calls are steps."""

    def __init__(self, name: str, real: object, tracer: Tracer) -> None:
        self._name, self._real, self._tracer = name, real, tracer

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._tracer.call, self._name, method, getattr(self._real, method))


def _wrap(tracer: Tracer) -> None:
    for module, made, port in ((app, "CountedStore", "Store"), (aws, "AwsIot", "AwsIot")):
        real = getattr(module, made)
        setattr(module, made, lambda *args, _port=port, _real=real: Port(_port, _real(*args), tracer))
    query = Connection.query
    Connection.query = lambda *args: tracer.statement(query, *args)  # type: ignore[method-assign]  # the very point
    work = app.Node.work
    app.Node.work = lambda node: [*work(node), _watch_lag(tracer)]  # type: ignore[method-assign]  # as above


def _error(connection: Connection[Any], number: int) -> pymysql.err.Error:
    if number in _CONNECTION_GONE:
        connection._force_close()
    kind = pymysql.err.error_map.get(number, pymysql.err.OperationalError)
    return kind(number, "as the plan has it")  # type: ignore[no-any-return]  # a table without annotations


async def _watch_lag(tracer: Tracer) -> None:
    """How late the loop came to a timer, whenever it was later than ever before."""
    worst_s = 0.0
    while True:
        due_s = time.monotonic() + _LAG_EVERY_S
        await asyncio.sleep(_LAG_EVERY_S)
        if (lag_s := time.monotonic() - due_s) > worst_s:
            worst_s = lag_s
            tracer.note("lag", f"{lag_s:.4f}")
