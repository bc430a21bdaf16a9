"""`python -m tools.client`, or `cvm-client` where the wheel is installed."""

import sys

from .cli import main as _main


def main() -> None:
    """The console script."""
    sys.exit(_main())


if __name__ == "__main__":
    main()
