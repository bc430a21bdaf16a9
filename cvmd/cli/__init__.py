"""The command line: `cvmd <noun> <verb>`. Parse, call, print; a noun is a file.

Exit codes: 0 done; 1 refused or not found, or of many some; 2 usage or configuration; 3 the database does not answer;
130 interrupted. What went wrong is one line on stderr that says what to do.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from cvmd import __version__
from cvmd.cli import accounts, audit, config, db, devices, doctor, products, reconcile, secrets, serve, status
from cvmd.cli.common import Exit, Refused
from cvmd.errors import ConfigError, SealError
from cvmd.ports import StoreDown, WrongSchema

_NOUNS = (serve, config, secrets, db, accounts, products, devices, audit, status, doctor, reconcile)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""For what is printed: `cvmd devices export > FILE`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what it returns is the process's exit code."""
    if sys.stdout is None:  # `>&-`
        return _complain("standard output is closed: give it somewhere to go, /dev/null at least", Exit.USAGE)
    try:
        arguments = _parser().parse_args(argv)
        code: Exit = arguments.run(arguments)
        sys.stdout.flush()
    except Refused as error:
        return _complain(error, Exit.REFUSED)
    except (ConfigError, SealError, WrongSchema) as error:
        return _complain(error, Exit.USAGE)
    except StoreDown as error:
        return _complain(f"{error}; see [database] in the configuration", Exit.DOWN)
    except BrokenPipeError:
        _drop_output()  # the reader left: `cvmd devices list | head`
        return Exit.REFUSED
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _drop_output()
        return _complain(
            f"it cannot be written: {error.strerror}; make room, and run the same command again", Exit.REFUSED
        )
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cvmd",
        description="Certificate vending machine: AWS IoT certificates for devices without TLS.",
        epilog="exit codes: 0 done; 1 refused or not found; 2 usage or configuration; 3 database down",
        allow_abbrev=False,
    )
    version = f"cvmd {__version__}"
    parser.add_argument("--version", action="version", version=version)
    nouns = parser.add_subparsers(metavar="command", required=True)
    for noun in _NOUNS:
        noun.add_to(nouns)
    nouns.add_parser("version", help="print the version").set_defaults(run=lambda _arguments: _print(version))
    return parser


def _drop_output() -> None:
    """What is still buffered must not raise again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(text: str) -> Exit:
    print(text)
    return Exit.DONE


def _complain(problem: object, code: Exit) -> Exit:
    print(f"cvmd: {problem}", file=sys.stderr)
    return code
