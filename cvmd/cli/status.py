"""`cvmd status`: what is being made, what waits and for what, what a person has to do."""

from __future__ import annotations

import argparse

from cvmd import config
from cvmd.cli.common import Exit, Subparsers, add_json, add_verb
from cvmd.cli.database import open_database
from cvmd.cli.output import print_json, print_table, time
from cvmd.errors import IssuerFault
from cvmd.model import US, Fault, State
from cvmd.store.overview import OpenBreaker, Status, read_status

_TO_DO_FOR_BREAKER = {
    IssuerFault.THROTTLED: "nothing; if it lasts, lower the account's creates_per_s or have AWS raise its quota",
    IssuerFault.UNREACHABLE: "see that this machine reaches AWS IoT: network, DNS, aws.endpoint_url",
    IssuerFault.UNKNOWN: "see the network to AWS IoT, and AWS's own status",
    IssuerFault.ACCOUNT: "mend credentials, permissions or clock, as the detail says",
    IssuerFault.QUOTA: "have AWS raise the limit in the detail, or remove what uses it up",
    IssuerFault.POLICY_MISSING: "create the policy at AWS IoT; its devices go on by themselves",
}
_TO_DO_FOR_FAILED = {
    Fault.CSR_REFUSED: "AWS refuses the CSR: `cvmd devices history`",
    Fault.THING_MISSING: "create the things, then `cvmd devices retry`",
    Fault.THING_OCCUPIED: "detach the foreign certificates, then `cvmd devices retry`",
    Fault.ATTEMPTS_EXHAUSTED: "see the attempts in `cvmd devices history`, then `cvmd devices retry`",
    Fault.KEY_MISMATCH: "AWS answered for another key: report it, then `cvmd devices retry`",
    Fault.REFUSED: "AWS refuses a call: `cvmd devices history`, then `cvmd devices retry`",
}


def add_to(nouns: Subparsers) -> None:
    """No verb: there is one thing to ask."""
    add_json(add_verb(nouns, "status", _status, "say what is being made, what waits, and what a person has to do"))


def _status(arguments: argparse.Namespace) -> Exit:
    with open_database(config.load(arguments.config)) as database:
        status = read_status(database)
    if arguments.json:
        print_json(_document(status))
        return Exit.DONE
    print_table(
        ("state", "issuances", "oldest since", "to do"),
        ([it.state, it.count, time(it.oldest_us), _to_do_for_failed(it.state, it.fault)] for it in status.issuances),
        title="issuances",
    )
    print_table(
        ("status", "why", "certificates"),
        ([it.status, it.reason, it.count] for it in status.certificates),
        title="certificates",
    )
    if status.breakers:
        print_table(
            ("account", "policy", "fault", "since", "asks again", "detail", "to do"),
            (_breaker_row(it, status.now_us) for it in status.breakers),
            title="what holds up more than one device",
        )
    return Exit.DONE


def _to_do_for_failed(state: State, fault: str | None) -> str | None:
    if state is not State.FAILED or fault is None:
        return None
    return f"{fault}: {_TO_DO_FOR_FAILED[Fault(fault)]}"


def _breaker_row(it: OpenBreaker, now_us: int) -> list[object]:
    breaker = it.breaker
    rest_s = max(0, -(-(breaker.until_us - now_us) // US))
    again = f"in {rest_s} s" if rest_s else "with the next device"
    return [
        it.account, breaker.policy or None, breaker.fault, time(it.opened_us), again, breaker.detail,
        _TO_DO_FOR_BREAKER[IssuerFault(breaker.fault)],
    ]  # fmt: skip


def _document(status: Status) -> dict[str, object]:
    return {
        "now": time(status.now_us),
        "issuances": [
            {"state": it.state, "fault": it.fault, "count": it.count, "oldest": time(it.oldest_us)}
            for it in status.issuances
        ],
        "certificates": [
            {"status": it.status, "reason": it.reason, "count": it.count} for it in status.certificates
        ],
        "breakers": [
            {
                "account": it.account,
                "policy": it.breaker.policy or None,
                "fault": it.breaker.fault,
                "failures": it.breaker.failures,
                "opened": time(it.opened_us),
                "until": time(it.breaker.until_us),
                "detail": it.breaker.detail,
                "to_do": _TO_DO_FOR_BREAKER[IssuerFault(it.breaker.fault)],
            }
            for it in status.breakers
        ],
    }  # fmt: skip
