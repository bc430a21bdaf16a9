"""Metrics and health of a whole daemon, over HTTP."""

import time
from collections.abc import Callable
from http.client import HTTPConnection

import pytest
from harness import MakeStack, device, vend_in_memory, wait_for_log, with_products
from prometheus_client.parser import text_string_to_metric_families

from cvmd import __version__
from tools.client import Exit
from tools.mariadb import MariaDB
from tools.stack import READY_WITHIN_S, Stack


def get(stack: Stack, path: str) -> tuple[int, str]:
    host, _, port = wait_for_log(stack, lambda line: line.get("event") == "monitor")["address"].rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=READY_WITHIN_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def metrics(stack: Stack) -> dict[tuple[str, str], float]:
    """The value of each series, by its name and the values of its labels, in their order by name."""
    status, page = get(stack, "/metrics")
    assert status == 200
    return {
        (sample.name, " ".join(text for _, text in sorted(sample.labels.items()) if text)): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_inv6_vends_are_counted_and_no_serial_is_on_the_page(make_stack: MakeStack) -> None:
    stack = with_products(make_stack(metrics__enabled=True, metrics__port=0, deadlines__auth_delay_ms=50))
    for product in ("ec", "csr"):
        assert vend_in_memory(device(stack, f"SN-{product}", product))[0].exit_code is Exit.DONE
    stranger = device(stack, "SN-stranger")
    stack.cvmd("devices", "disable", "SN-stranger")
    assert vend_in_memory(stranger)[0].exit_code is not Exit.DONE

    until(lambda: metrics(stack)["cvmd_connections_total", "AUTH"] == 1)
    until(lambda: metrics(stack)["cvmd_connections_total", "DONE"] == 2)
    found = metrics(stack)
    assert found["cvmd_issuances_total", "active"] == 2
    assert found["cvmd_connections_open", ""] == 0
    assert found["cvmd_aws_calls_total", "default CreateCertificateFromCsr ok"] == 2
    assert found["cvmd_database_seconds_count", ""] > 0
    page = get(stack, "/metrics")[1]
    for name in ("SN-", "127.0.0.1"):
        assert name not in page
    assert get(stack, "/healthz") == get(stack, "/readyz") == (200, "ok\n")


def test_nobody_answers_unless_told_to(stack: Stack) -> None:
    assert stack.log_lines("monitor") == []


@pytest.mark.usefixtures("mariadb_url")
def test_a_node_without_its_database_lives_and_is_not_ready(
    make_stack: MakeStack, mariadb: MariaDB, mariadb_url: str
) -> None:
    stack = make_stack(database_url=mariadb_url, metrics__enabled=True, metrics__port=0)
    until(lambda: get(stack, "/readyz")[0] == 200)
    assert stack.daemon is not None
    stack.daemon.end()
    mariadb.stop()
    stack.start_daemon()
    assert get(stack, "/healthz") == (200, "ok\n")
    assert get(stack, "/readyz") == (503, "the database has not answered yet\n")
    until(lambda: metrics(stack)["cvmd_database_errors_total", "reconnect"] > 0)
    mariadb.start()
    until(lambda: get(stack, "/readyz")[0] == 200)
    until(lambda: metrics(stack).get(("cvmd_nodes", __version__)) == 1)
