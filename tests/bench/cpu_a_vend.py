"""Prints the daemon's CPU a vend, and that of the same AWS calls made bare: python tests/bench/cpu_a_vend.py.

MariaDB and the stand-in, many devices at once, both sides in turn. The ratio is of rounds side by side; the
milliseconds are this machine's, now.
"""

import asyncio
import multiprocessing
import os
import secrets
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path
from statistics import median

from bare_calls import BareVend, begin, cpu_of_calls_s
from bench import cpu_s, spread, table
from harness import caller, seed, with_products

from cvmd.issuer.keys import P256KeyMaker, der_to_pem
from protocol.constants import Suite
from tools.loadgen.load import run
from tools.mariadb import private_mariadb
from tools.stack import ENVIRONMENT, Stack

CASES = [(key_source, suite) for key_source in ("ec-p256", "device-csr") for suite in (Suite.MAC, Suite.NOISE)]
PRODUCTS = {"ec-p256": "ec", "device-csr": "csr"}
WARM_UP = 50
GOAL = 1.6

_numbers = count()


def vend_s(stack: Stack, key_source: str, suite: Suite, devices: int, at_once: int) -> float:
    """CPU of the daemon for a vend, new devices all of them. SystemExit if one of them got none."""
    product = PRODUCTS[key_source]
    names = [f"{next(_numbers):06}" for _ in range(devices)]
    fleet = [(f"SN-{n}", secrets.token_bytes(32), f"thing-{n}", "policy", product) for n in names]
    seed(stack, fleet)
    jobs = [
        (caller(stack, serial, token, product, suite=suite), thing) for serial, token, thing, _policy, _product in fleet
    ]
    assert stack.daemon is not None, "the stack was started"
    before_s = cpu_s(stack.daemon.pid)
    summary = asyncio.run(run(jobs, at_once, lambda _tally: None))
    if summary["vends"] != devices:
        raise SystemExit(f"not all were vended: {summary}")
    return (cpu_s(stack.daemon.pid) - before_s) / devices


def bare_s(stack: Stack, bare: ProcessPoolExecutor, devices: int) -> float:
    """CPU of the bare calls for a vend."""
    names = [f"bare-{next(_numbers):06}" for _ in range(devices)]
    stack.aws.seed_things(names)
    keys = P256KeyMaker()
    vends: list[BareVend] = [
        (der_to_pem(keys.make(name).csr_der, "CERTIFICATE REQUEST"), "policy", name) for name in names
    ]
    return bare.submit(cpu_of_calls_s, vends).result() / devices


def case(stack: Stack, bare: ProcessPoolExecutor, key_source: str, suite: Suite, options: Namespace) -> list[str]:
    """One row: medians of both, and the ratio of the rounds."""
    pairs: list[tuple[float, float]] = []
    for devices in (WARM_UP, *[options.devices] * options.rounds):
        vend = vend_s(stack, key_source, suite, devices, options.at_once)
        pairs.append((vend, bare_s(stack, bare, devices)))
    measured = pairs[1:]
    milliseconds = [f"{median(column) * 1000:.2f}" for column in zip(*measured, strict=True)]
    return [f"{key_source}, {suite.name.lower()}", *milliseconds, spread([ours / floor for ours, floor in measured])]


def main() -> None:
    """One row a case."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=400, help="a round (400)")
    parser.add_argument("--at-once", type=int, default=32, help="devices, and threads of the bare calls (32)")
    parser.add_argument("--rounds", type=int, default=3, help="of each case (3)")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)  # the bare calls' credentials
    with private_mariadb() as mariadb, tempfile.TemporaryDirectory(prefix="cvmd-bench-") as directory:
        url = mariadb.create_database("bench")
        with Stack(Path(directory), database_url=url, standin=["--ca-key", "ec"]) as stack:
            with_products(stack)
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, spawn, begin, (stack.aws_url, options.at_once)) as bare:
                rows = [case(stack, bare, key_source, suite, options) for key_source, suite in CASES]
    print(table(["", "cvmd, ms", "bare calls, ms", f"ratio (goal {GOAL})"], *rows))  # noqa: T201  # printing is what it is for


if __name__ == "__main__":
    main()
