"""`python -m tools.awsiot`: serve until SIGTERM or SIGINT. The last line on stdout at the start is
{"url": …, "ca": path of the CA's certificate}."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

from tools.awsiot.quotas import AWS_QUOTAS
from tools.awsiot.server import Settings, StandIn

_READY_KEYS = 16


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="awsiot-") as temporary:
        settings = Settings(
            host=options.host,
            port=options.port,
            partition=options.partition,
            region=options.region,
            account_id=options.account,
            endpoint=options.endpoint,
            ca_key=options.ca_key,
            state_dir=options.state_dir or Path(temporary),
            ready_keys=_READY_KEYS,
            quotas=AWS_QUOTAS if options.quotas == "aws" else {},
            burst_s=options.burst,
            lag_s=options.lag,
            access_keys=frozenset(options.access_key) or None,
            session_s=options.session,
            external_id=options.external_id,
            iam_policy=json.loads(options.iam_policy.read_text()) if options.iam_policy else None,
            clock_s=options.clock,
        )
        try:
            asyncio.run(_serve(settings, options.broker_cert))
        except (OSError, ValueError) as error:
            print(f"awsiot: {error}", file=sys.stderr)
            return 1
    return 0


async def _serve(settings: Settings, broker: tuple[str, str] | None) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    async with StandIn(settings) as standin:
        if broker:
            standin.authority.write_broker(broker[0], Path(broker[1]))
        print(json.dumps({"url": standin.url, "ca": str(settings.ca_path)}), flush=True)
        await end.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.awsiot",
        description="A stand-in for the control plane of AWS IoT, on loopback.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free one (default)")
    add("--state-dir", type=Path, help="keeps the CA: ca.key, ca.pem, ca.der (default: gone at the end)")
    add("--ca-key", choices=("rsa", "ec"), default="rsa", help="rsa as AWS; ec signs faster, for load tests")
    add("--partition", choices=("aws", "aws-cn", "aws-us-gov"), default="aws")
    add("--region", default="us-east-1")
    add("--account", default="123456789012", help="12 digits")
    add("--endpoint", metavar="HOST", help="what DescribeEndpoint answers, e.g. the host of your broker")
    add("--quotas", choices=("none", "aws"), default="none", help="aws: AWS's default rates")
    add("--burst", type=float, default=1.0, metavar="SECONDS", help="what a quota lets through at once (1)")
    add("--lag", type=float, default=0.0, metavar="SECONDS", help="how long attach and detach go unseen (0)")
    add("--access-key", action="append", default=[], metavar="ID", help="take this key id only (repeatable)")
    add("--session", type=float, metavar="SECONDS", help="how long AssumeRole's credentials last (as asked)")
    add("--iam-policy", type=Path, metavar="FILE", help="refuse what this IAM policy does not allow")
    add("--clock", type=float, default=0.0, metavar="SECONDS", help="how far its clock is ahead (0)")
    add("--external-id", metavar="ID", help="what AssumeRole must say (nothing)")
    add(
        "--broker-cert",
        nargs=2,
        metavar=("NAME", "DIR"),
        help="write broker.pem and broker.key, signed by the CA, for NAME, localhost and 127.0.0.1",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
