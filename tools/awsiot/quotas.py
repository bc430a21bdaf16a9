"""How many calls a second an account may make: one token bucket an operation."""

import time
from collections.abc import Callable, Mapping

from tools.awsiot.errors import refusal

# AWS's defaults, calls a second for an account in a region.
AWS_QUOTAS: Mapping[str, float] = {
    "CreateKeysAndCertificate": 10,
    "CreateCertificateFromCsr": 15,
    "AttachPolicy": 15,
    "AttachThingPrincipal": 100,
    "UpdateCertificate": 10,
    "DeleteCertificate": 10,
    "DetachPolicy": 15,
    "DetachThingPrincipal": 100,
    "ListThingPrincipals": 10,
    "DescribeThing": 350,
    "GetPolicy": 10,
    "DescribeCertificate": 10,
    "ListCertificates": 10,
}


class Quotas:
    """A bucket holds `burst_s` seconds' worth of calls, at least one, and starts full.

    AWS states the rates and not the burst: 1 s is this stand-in's choice.
    """

    def __init__(self, rates: Mapping[str, float], burst_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._burst_s = burst_s
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}  # operation → tokens left, at that time

    def spend(self, operation: str) -> None:
        """Take one call. Raises ThrottlingException if the bucket is empty; that costs nothing."""
        rate = self._rates.get(operation)
        if rate is None:
            return
        now = self._clock()
        burst = max(1.0, rate * self._burst_s)
        tokens, since = self._levels.get(operation, (burst, now))
        tokens = min(burst, tokens + (now - since) * rate)
        if tokens < 1:
            raise refusal("ThrottlingException", "Rate exceeded")
        self._levels[operation] = (tokens - 1, now)
