"""Who may ask: every call's Authorization header, and the credentials that AssumeRole lends."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tools.awsiot.errors import refusal

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}(/[^/]+){2}/aws4_request, ?Signed")


@dataclass(frozen=True)
class Lent:
    """Temporary credentials; `expires_at` in seconds since 1970."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float


class Gate:
    """Takes the `access_keys` named, or any where that is None, and what it has lent itself.

    A signature is not computed again: that there is one, of a key that is known, is checked.
    """

    def __init__(self, access_keys: frozenset[str] | None, clock: Callable[[], float] = time.time) -> None:
        self._access_keys = access_keys
        self._clock = clock
        self._lent: dict[str, Lent] = {}

    def lend(self, seconds: float) -> Lent:
        """Credentials that are taken for so long."""
        lent = Lent(
            "ASIA" + secrets.token_hex(8).upper(),
            secrets.token_urlsafe(30),
            secrets.token_urlsafe(60),
            self._clock() + seconds,
        )
        self._lent[lent.access_key] = lent
        return lent

    def admit(self, authorization: str, token: str) -> None:
        """Raises the refusal that AWS gives, with status 403."""
        if not authorization:
            raise refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        credential = _CREDENTIAL.match(authorization)
        if not credential:
            raise refusal("IncompleteSignatureException", "Authorization is not of Signature Version 4")
        lent = self._lent.get(credential[1])
        if lent is None:
            known = self._access_keys is None or credential[1] in self._access_keys
        else:
            known = secrets.compare_digest(lent.token, token)
        if not known:
            raise refusal("UnrecognizedClientException", "The security token in the request is invalid")
        if lent and lent.expires_at <= self._clock():
            raise refusal("ExpiredTokenException", "The security token in the request is expired")
