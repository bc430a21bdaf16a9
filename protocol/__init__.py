"""CVM/1, the wire between a device and cvmd: both ends, without socket, clock or randomness.

SPEC.md beside this file says the same to the byte. `server.ServerSession` and `client.ClientSession` are fed
with bytes and drained of events and bytes; everything that is random comes in as an argument.
"""
