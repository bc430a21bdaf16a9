"""The main job on this machine, in a minute: a device without a certificate gets one.

Embedded defaults: SQLite, the stand-in for AWS IoT, loopback. `--keep` leaves it all running to play with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocol.constants import Suite
from tools.client import DirectoryFlash, Exit, Options, vend
from tools.stack import Stack

SERIAL, THING, POLICY = "SN-0001", "demo-thing-0001", "demo-policy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if the device ended with an ACTIVE certificate and everything checked agrees."""
    options = _arguments(arguments)
    directory = Path(options.directory or tempfile.mkdtemp(prefix="cvmd-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with Stack(directory) as stack:
            summary = _vend(stack, options)
            if options.keep:
                _keep(stack)
    finally:
        if not (options.keep or options.directory or options.json):
            shutil.rmtree(directory)
    if options.json:
        print(json.dumps(summary))
    return 0


def _vend(stack: Stack, options: argparse.Namespace) -> dict[str, Any]:
    """One device's way from nothing to ACTIVE, told as it goes."""
    say = _quiet if options.json else print
    say(f"1. AWS IoT's stand-in answers at {stack.aws_url}, the daemon listens on 127.0.0.1:{stack.port}")
    stack.add_product("demo", "--auth", "token", "--key-source", options.key_source)
    token_file = stack.add_device(SERIAL, "demo", thing=THING, policy=POLICY)
    say(f"2. Device {SERIAL} is in the database, mapped to thing {THING} and policy {POLICY}")
    out = stack.directory / "device"
    result = vend(
        Options(
            host="127.0.0.1",
            port=stack.port,
            serial=SERIAL,
            token=bytes.fromhex(token_file.read_text().strip()),
            key_source=options.key_source,
            suite=Suite[options.suite.upper()],
        ),
        DirectoryFlash(out),
    )
    if result.exit_code is not Exit.DONE or result.meta is None:
        raise SystemExit(f"the device got no certificate: {result.outcome}\nthe logs are in {stack.directory}")
    say(f"3. The device called, and holds certificate {result.meta.certificate_id}")
    [certificate] = stack.aws.state()["certificates"]
    _agree(certificate, result.meta.certificate_id)
    steps = " → ".join(_told(step) for step in certificate["history"])
    say(f"4. What happened at AWS, in order: {steps}")
    _verify(stack, out)
    say(f"5. openssl: the certificate verifies against the CA and carries the key in {out}/key.der")
    traffic = result.traffic
    say(f"   {traffic.bytes_up} bytes up, {traffic.bytes_down} bytes down, {traffic.round_trips} round trips")
    return {
        "serial": SERIAL,
        "certificate_id": result.meta.certificate_id,
        "thing_name": THING,
        "policy_name": POLICY,
        "endpoint": result.meta.endpoint,
        "key_source": options.key_source,
        "suite": options.suite,
        "status": certificate["status"],
        "out_dir": str(out),
        "bytes_up": traffic.bytes_up,
        "bytes_down": traffic.bytes_down,
    }


def _agree(certificate: dict[str, Any], certificate_id: str) -> None:
    """What the stand-in has is what the device and the database believe."""
    seen = (certificate["id"], certificate["status"], certificate["things"], certificate["policies"])
    if seen != (certificate_id, "ACTIVE", [THING], [POLICY]):
        raise SystemExit(f"AWS's stand-in disagrees with the device: {seen}")


def _told(step: dict[str, Any]) -> str:
    return str(step.get("status") or f"attached {step.get('attached')}")


def _verify(stack: Stack, out: Path) -> None:
    """openssl's word, which knows nothing of this project."""

    def openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout

    pem = out / "cert.pem"
    pem.write_bytes(openssl("x509", "-inform", "DER", "-in", str(out / "cert.der"), "-outform", "PEM"))
    openssl("verify", "-CAfile", str(stack.ca), str(pem))
    key = next(path for path in (out / "key.der", out / "device-key.der") if path.exists())
    in_certificate = openssl("x509", "-in", str(pem), "-noout", "-pubkey")
    if openssl("pkey", "-inform", "DER", "-in", str(key), "-pubout") != in_certificate:
        raise SystemExit(f"the key in {key} is not the certificate's")


def _keep(stack: Stack) -> None:
    """Leave it running, and say how to use it, until somebody ends it."""
    program = Path(sys.executable).parent
    # No curl: it is not on every machine, and tools/demo installs nothing for the sake of a line.
    python, aws = f'{program}/python -c "from tools.awsiot import Control;', f"Control('{stack.aws_url}')"
    print(
        "\nAll of it runs until Ctrl-C. In another terminal, from this directory:\n"
        f"  {program}/cvmd devices show {SERIAL} --config {stack.config}\n"
        f"  {program}/cvmd devices add SN-0002 --product demo --thing {THING}-2 --policy {POLICY}"
        f" --token-out {stack.directory}/token-2 --config {stack.config}\n"
        f"  {python} {aws}.seed_things(['{THING}-2'])\"\n"
        f"  {program}/cvm-client vend --host 127.0.0.1 --port {stack.port} --serial SN-0002"
        f" --token-file {stack.directory}/token-2 --out {stack.directory}/device-2 --pem\n"
        f'  {python} print({aws}.state())"\n'
        f"Logs, database and keys are in {stack.directory}.",
        flush=True,
    )
    # Blocked, they wait for sigwait, and a shell that ignored SIGINT for a background job does not matter.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)


def _quiet(_line: str) -> None:
    """What `--json` says on the way: nothing, its last line says it all."""


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--suite", choices=["mac", "noise"], default="noise")
    parser.add_argument("--key-source", choices=["ec-p256", "device-csr"], default="ec-p256")
    parser.add_argument("--directory", help="where everything is put, and kept; else a temporary one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
