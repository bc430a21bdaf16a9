"""cvmd: a certificate vending machine between plain-TCP devices and AWS IoT Core."""

__version__ = "0.1.0"
