"""What the server that forks the daemons loads before its first fork."""

import node

node.warm_up()
