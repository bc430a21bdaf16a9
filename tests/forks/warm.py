"""What the server that forks loads before its first fork."""

import forks

forks.warm_up()
