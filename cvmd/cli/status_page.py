"""The page of `cvmd status`: tables for people, each line with what is to be done."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table

from cvmd.cli.output import table, time
from cvmd.errors import IssuerFault
from cvmd.model import US, Fault, State
from cvmd.store.nodes import SILENT_US
from cvmd.store.overview import NodeRow, OpenBreaker, Queue, Status

_STATES = (None, *State)

TO_DO_FOR_BREAKER = {
    IssuerFault.THROTTLED: "nothing; if it lasts, lower the account's creates_per_s or have AWS raise its quota",
    IssuerFault.UNREACHABLE: "see that this machine reaches AWS IoT: network, DNS, aws.endpoint_url",
    IssuerFault.UNKNOWN: "see the network to AWS IoT, and AWS's own status",
    IssuerFault.ACCOUNT: "mend credentials, permissions or clock: `cvmd accounts test` says which",
    IssuerFault.QUOTA: "have AWS raise the limit in the detail, or remove what uses it up",
    IssuerFault.POLICY_MISSING: "create the policy at AWS IoT; its devices go on by themselves",
}
TO_DO_FOR_FAILED = {
    Fault.CSR_REFUSED: "AWS refuses the CSR: `cvmd devices history`",
    Fault.CSR_UNSEALED: "see who writes to the database; the devices begin anew by themselves",
    Fault.THING_MISSING: "create the things, then `cvmd devices retry`",
    Fault.THING_OCCUPIED: (
        "see whose certificate the thing has: another device's, `cvmd devices set SERIAL --thing`; nobody's, detach "
        "it, then `cvmd devices retry`"
    ),
    Fault.ATTEMPTS_EXHAUSTED: "see the attempts in `cvmd devices history`, then `cvmd devices retry`",
    Fault.KEY_MISMATCH: "AWS answered for another key: report it, then `cvmd devices retry`",
    Fault.REFUSED: "AWS refuses a call: `cvmd devices history`, then `cvmd devices retry`",
}


def page(status: Status) -> Group:
    """All that there is to say; a table of nothing is left out."""
    return Group(*_tables(status))


def _tables(status: Status) -> Iterator[Table]:
    if status.breakers:
        yield table(
            ("account", "policy", "fault", "since", "asks again", "detail", "to do"),
            (_breaker(it, status.now_us) for it in status.breakers),
            title="what holds up more than one device",
        )
    yield _devices(status)
    if status.queues:
        yield table(
            ("account", "waiting", "oldest for", "creates a second", "made within"),
            (_queue(it, status.now_us) for it in status.queues),
            title="certificates to be made",
        )
    yield table(
        ("", "last minute", "last hour", "last day"),
        ((it.what, *it.counts) for it in status.rates),
        title="certificates made and activated, issuances failed",
    )
    yield table(
        ("state", "issuances", "oldest since", "to do"),
        ([it.state, it.count, time(it.oldest_us), _to_do_for_failed(it.state, it.fault)] for it in status.issuances),
        title="issuances",
    )
    yield table(
        ("status", "why", "certificates", "to do"),
        ([it.status, it.reason, it.count, _to_do_for_stuck(it.stuck)] for it in status.certificates),
        title="certificates",
    )
    yield table(
        ("node", "host", "pid", "version", "up for", "last seen"),
        (_node(it, status.now_us) for it in status.nodes),
        title="nodes, of the last day",
    )


def _devices(status: Status) -> Table:
    """A row a product; of the states those in which there is a device."""
    shown = [state for state in _STATES if any(it.newest[state] for it in status.products)]
    return table(
        ("product", "devices", "with certificate", "disabled", *(state or "never asked" for state in shown)),
        (
            [it.product, it.devices, it.certified, it.disabled, *(it.newest[state] for state in shown)]
            for it in status.products
        ),
        title="devices, by their newest issuance",
    )


def _queue(it: Queue, now_us: int) -> list[object]:
    oldest, needs = _span((now_us - it.oldest_us) // US), _span(-(-it.length // it.creates_per_s))
    return [it.account, it.length, oldest, it.creates_per_s, needs]


def _node(it: NodeRow, now_us: int) -> list[object]:
    silent_us = now_us - it.seen_us
    seen = "now"
    if it.stopped_us is not None:
        seen = f"stopped {time(it.stopped_us)}"
    elif silent_us > SILENT_US:
        seen = f"silent for {_span(silent_us // US)}: see whether it runs, and reaches the database"
    return [it.id[:4].hex(), it.host, it.pid, it.version, _span((it.seen_us - it.started_us) // US), seen]


def _to_do_for_failed(state: State, fault: str | None) -> str | None:
    if state is not State.FAILED or fault is None:
        return None
    return f"{fault}: {TO_DO_FOR_FAILED[Fault(fault)]}"


def _to_do_for_stuck(count: int) -> str | None:
    return f"AWS refuses to end {count}: `cvmd accounts test`, and see the log" if count else None


def _breaker(it: OpenBreaker, now_us: int) -> list[object]:
    breaker = it.breaker
    rest_s = max(0, -(-(breaker.until_us - now_us) // US))
    again = f"in {rest_s} s" if rest_s else "with the next device"
    return [
        it.account, breaker.policy or None, breaker.fault, time(it.opened_us), again, breaker.detail,
        TO_DO_FOR_BREAKER[IssuerFault(breaker.fault)],
    ]  # fmt: skip


def _span(seconds: int) -> str:
    """Seconds as people say them, in the two largest units."""
    days, seconds = divmod(max(0, seconds), 86_400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
