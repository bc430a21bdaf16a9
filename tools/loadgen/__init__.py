"""The load generator: many devices at once against one server, and one JSON object of what came of it.

    python -m tools.loadgen --host 127.0.0.1 --devices devices.csv --at-once 200 --suite mac,noise

It knows the wire only (protocol, tools.client). Every answer is checked: key and certificate belong together, the
thing is the device's own, and no two devices hold one certificate.
"""
