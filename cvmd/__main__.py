"""`python -m cvmd` is the command `cvmd`."""

import sys

from cvmd.cli import main

if __name__ == "__main__":
    sys.exit(main())
