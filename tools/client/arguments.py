"""The options of the command line, and the Options that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from protocol.constants import DEFAULT_MAX_FRAME, DEFAULT_PORT, DEFAULT_TLS_PORT, TO_THE_END, Suite

from .keys import KEY_TYPES
from .options import DEVICE_CSR, EXTRAS, KEY_FORMATS, KEY_SOURCES, Options, read_token

_EXIT_CODES = """exit codes:
  0    done: certificate and key are in the directory, the certificate is active
  1    refused; a person must act, or an option is wrong (status 3x, 4x)
  2    an option, the token file or the directory cannot be used
  3    refused for now (status 1x, 2x): run the same command again later
  4    no connection, no answer, or an answer that breaks the protocol: run the same command again
  5    cut, as --cut-after asked
  130  interrupted

The directory is the device's flash: after 3, 4, 5, 130 or a kill the same command goes on
where it stopped."""
_UNCHECKED = "none"
_DESCRIPTION = "Play a device: get its AWS IoT certificate from cvmd, over as many connections as it takes."


def options_of(parsed: argparse.Namespace) -> Options:
    """What was asked for; OptionError where it cannot be."""
    return Options(
        host=parsed.host,
        port=parsed.port or (DEFAULT_TLS_PORT if parsed.tls else DEFAULT_PORT),
        serial=parsed.serial,
        token=read_token(parsed.token_file) if parsed.token_file else b"",
        key_source=parsed.key_source,
        key_format=parsed.key_format,
        key_type=parsed.key_type,
        suite=Suite[parsed.suite.upper()],
        max_frame=parsed.max_frame,
        limit=parsed.limit,
        max_wait_s=parsed.max_wait,
        extras=parsed.want,
        renew=parsed.renew,
        attempts=parsed.attempts,
        retry=parsed.retry,
        backoff_s=parsed.backoff,
        timeout_s=parsed.timeout,
        slow=parsed.slow,
        cut_after=parsed.cut_after,
        tls=parsed.tls,
        ca=Path(parsed.ca) if parsed.ca not in (None, _UNCHECKED) else None,
        tls_unchecked=parsed.ca == _UNCHECKED,
    )


def _extras(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(text.split(","))


def parser() -> argparse.ArgumentParser:
    """`cvm-client vend …`."""
    top = argparse.ArgumentParser(prog="cvm-client", description="A test client of cvmd.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser(
        "vend",
        help="get a certificate, as a device would",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_main_options(one.add_argument_group("the device"))
    _add_wire_options(one.add_argument_group("the wire"))
    _add_persistence_options(one.add_argument_group("coming back"))
    _add_fault_options(one.add_argument_group("being a bad line"))
    return top


def _add_main_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", required=True, help="where cvmd listens")
    group.add_argument("--port", type=int, help=f"(default {DEFAULT_PORT}, with --tls {DEFAULT_TLS_PORT})")
    group.add_argument("--tls", action="store_true", help="speak TLS, and check the server's certificate for --host")
    group.add_argument(
        "--ca",
        metavar="FILE",
        help="PEM of the CA that must have signed it (default: those of this machine); "
        f"{_UNCHECKED}: take any, as many modems do, which is worth no more than no TLS",
    )
    group.add_argument("--serial", required=True, help="the device's serial")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="its token in hex; none: auth serial")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="its flash; results appear there")
    group.add_argument(
        "--key-source",
        choices=KEY_SOURCES,
        default=KEY_SOURCES[0],
        help="as its product has it (default %(default)s)",
    )
    group.add_argument(
        "--key-format",
        choices=KEY_FORMATS,
        default="sec1",
        help="form of key.der; sec1 means PKCS#1 for RSA (default %(default)s)",
    )
    group.add_argument(
        "--key-type",
        choices=KEY_TYPES,
        default="p256",
        help=f"what the device makes, where the key source is {DEVICE_CSR} (default %(default)s)",
    )
    group.add_argument("--renew", action="store_true", help="ask for another certificate than the one in use")
    group.add_argument("--pem", action="store_true", help="write cert.pem, key.pem and root-ca.pem too")
    group.add_argument("--json", action="store_true", help="last line of stdout: one JSON object; the rest to stderr")


def _add_wire_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--suite", choices=[suite.name.lower() for suite in Suite], default="mac", help="(default mac)")
    group.add_argument(
        "--max-frame",
        type=int,
        default=DEFAULT_MAX_FRAME,
        metavar="BYTES",
        help="largest frame from the server (default %(default)s)",
    )
    group.add_argument(
        "--limit",
        type=int,
        default=TO_THE_END,
        metavar="BYTES",
        help="bytes asked for at a time (default: all)",
    )
    group.add_argument(
        "--want",
        type=_extras,
        metavar="LIST",
        help=f"objects beside certificate and key: {','.join(EXTRAS)}, or none "
        "(default: all; without a token the thing name alone, since nothing proves who answers)",
    )
    group.add_argument(
        "--max-wait",
        type=int,
        default=120,
        metavar="S",
        help="longest queue, in seconds (default %(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="longest wait for an answer (default %(default)g)",
    )


def _add_persistence_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--attempts", type=int, default=1, metavar="N", help="connections at most (default %(default)s)")
    group.add_argument("--retry", action="store_true", help="come back until it is done, whatever the refusal")
    group.add_argument(
        "--backoff",
        type=float,
        default=1.0,
        metavar="S",
        help="first pause of its own, doubled each time up to 300 s (default %(default)g)",
    )


def _add_fault_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--slow", type=int, metavar="BYTES_PER_S", help="read at this pace")
    group.add_argument(
        "--cut-after",
        type=int,
        metavar="N",
        help="drop the connection after N bytes, both directions together",
    )
