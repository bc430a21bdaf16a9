"""Prints the bytes of TCP payload a vend, both ways: python -m tests.bench.bytes_a_vend."""

from protocol.constants import Suite
from protocol.objects import Bundle
from tests.protocol.pair import Mode, objects, vend

EC, RSA, CSR = (658, 121), (1204, 849), bytes(208)
ROWS = [
    ("EC certificate and SEC1 key", EC, [Mode(Suite.MAC), Mode(Suite.NOISE)]),
    ("device-csr", (658, 0), [Mode(Suite.MAC, csr=CSR), Mode(Suite.NOISE, csr=CSR)]),
    ("RSA-2048", RSA, [Mode(Suite.MAC), Mode(Suite.NOISE)]),
    ("EC pulled at 48, noise at 56", EC, [Mode(Suite.MAC, 48, True), Mode(Suite.NOISE, 56, True)]),
]


def main() -> None:
    """One row a case: overhead is what is neither object nor CSR."""
    lines = ["| | overhead | whole | round trips | with noise | round trips |", "|" + " --- |" * 6]
    for name, size, modes in ROWS:
        cells = []
        for mode in modes:
            pair = vend(mode, bundle=Bundle.of(objects(*size)))
            whole = len(pair.wire.up) + len(pair.wire.down)
            cells += [whole - sum(size) - len(mode.csr or b""), whole, pair.round_trips]
        lines.append(f"| {name} | " + " | ".join(f"{cells[column]:,}" for column in (0, 1, 2, 4, 5)) + " |")
    print("\n".join(lines))  # noqa: T201  # printing is what it is for


if __name__ == "__main__":
    main()
