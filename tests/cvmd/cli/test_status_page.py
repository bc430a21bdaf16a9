"""The page of `cvmd status`, from a status made up."""

from collections import Counter
from dataclasses import replace
from io import StringIO

from rich.console import Console

from cvmd.breakers import RESTS
from cvmd.cli.status_page import TO_DO_FOR_BREAKER, TO_DO_FOR_FAILED, page
from cvmd.errors import Kind, refusal
from cvmd.model import US, Breaker, CertificateStatus, Fault, State
from cvmd.store.overview import InState, InStatus, NodeRow, OfProduct, OpenBreaker, Queue, Rate, Status

NOW_US = 1_700_000_000 * US
NODE = NodeRow(b"\xab" * 16, "host-1", 42, "1.0", NOW_US - 7300 * US, NOW_US - 3 * US, None)
STATUS = Status(
    now_us=NOW_US,
    products=[OfProduct("meter", 9, 1, 4, Counter({None: 3, State.ACTIVE: 4, State.FAILED: 2})), OfProduct("empty")],
    issuances=[InState(State.FAILED, Fault.THING_MISSING, 2, NOW_US)],
    certificates=[InStatus(CertificateStatus.RETIRING, "superseded", 3, 2)],
    rates=[Rate("activated", (1, 20, 300))],
    queues=[Queue("default", 10, 4001, NOW_US - 90 * US)],
    breakers=[OpenBreaker("default", NOW_US, Breaker(1, "p", 1, NOW_US + 5 * US, "policy-missing", "it is not there"))],
    nodes=[NODE],
)


def shown(status: Status) -> list[list[str]]:
    """The cells of each line."""
    text = StringIO()
    Console(file=text, width=400, highlight=False).print(page(status))
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.getvalue().splitlines()]


def test_devices_are_told_by_product_and_state() -> None:
    lines = shown(STATUS)
    assert ["product", "devices", "with certificate", "disabled", "never asked", "active", "failed"] in lines
    assert ["meter", "9", "4", "1", "3", "4", "2"] in lines
    assert ["empty", "0", "0", "0", "0", "0", "0"] in lines


def test_a_queue_says_how_long_it_takes() -> None:
    assert ["default", "4001", "1 min 30 s", "10", "6 min 41 s"] in shown(STATUS)


def test_rates_are_of_three_windows() -> None:
    assert ["activated", "1", "20", "300"] in shown(STATUS)


def test_what_holds_up_many_comes_first_and_says_what_to_do() -> None:
    lines = shown(STATUS)
    assert lines[0] == ["what holds up more than one device"]
    breaker = next(it for it in lines if it and it[0] == "default")
    assert breaker[:3] == ["default", "p", "policy-missing"]
    assert "in 5 s" in breaker
    assert breaker[-1].startswith("create the policy")
    assert next(it for it in lines if it and it[0] == "failed")[-1].startswith("thing-missing: create the things")


def test_a_node_runs_is_silent_or_has_stopped() -> None:
    def seen(node: NodeRow) -> list[str]:
        (line,) = (it for it in shown(replace(STATUS, nodes=[node])) if it and it[0] == "abababab")
        return line[1:]

    assert seen(NODE) == ["host-1", "42", "1.0", "2 h 1 min", "now"]
    assert seen(replace(NODE, seen_us=NOW_US - 31 * US))[-1].startswith("silent for 31 s: see whether it runs")
    assert seen(replace(NODE, stopped_us=NOW_US))[-1] == "stopped 2023-11-14T22:13:20Z"
    assert seen(replace(NODE, started_us=NOW_US - 200_000 * US))[3] == "2 d 7 h"


def test_nothing_waits_and_nothing_is_said_of_it() -> None:
    words = {line[0] for line in shown(replace(STATUS, queues=[], breakers=[])) if line}
    assert "certificates to be made" not in words
    assert "what holds up more than one device" not in words


def test_every_fault_says_what_to_do() -> None:
    assert set(TO_DO_FOR_FAILED) == set(Fault)
    assert set(TO_DO_FOR_BREAKER) == {fault for fault, rest in RESTS.items() if rest.shared}


def test_a_certificate_that_another_device_uses_is_not_to_be_detached() -> None:
    assert "another device's, `cvmd devices set SERIAL --thing`" in TO_DO_FOR_FAILED[Fault.THING_OCCUPIED]
    assert "if another device uses it, `cvmd devices set SERIAL --thing`" in str(refusal(Kind.THING_OCCUPIED))
