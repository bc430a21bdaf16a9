"""Who may ask: every call's Authorization header and date, and the credentials that AssumeRole lends."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tools.awsiot.errors import refusal

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}(/[^/]+){2}/aws4_request, ?Signed")


@dataclass(frozen=True)
class Lent:
    """Temporary credentials; `expires_at` in seconds since 1970, `arn` whose they are."""

    arn: str
    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float


_SKEW_S = 300
_STAMP = "%Y%m%dT%H%M%SZ"


class Gate:
    """Takes the `access_keys` named, or any where that is None, and what it has lent itself.

    A signature is not computed again: that there is one, of a key that is known and of these five minutes, is checked.
    `own_arn` is whose the keys are that it has not lent.
    """

    def __init__(
        self, access_keys: frozenset[str] | None, own_arn: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._access_keys = access_keys
        self._own_arn = own_arn
        self._clock = clock
        self._lent: dict[str, Lent] = {}

    def lend(self, arn: str, seconds: float) -> Lent:
        """Credentials that are taken for so long."""
        lent = Lent(
            arn,
            "ASIA" + secrets.token_hex(8).upper(),
            secrets.token_urlsafe(30),
            secrets.token_urlsafe(60),
            self._clock() + seconds,
        )
        self._lent[lent.access_key] = lent
        return lent

    def end_sessions(self) -> None:
        """What it has lent until now has expired."""
        self._lent = {key: replace(lent, expires_at=0.0) for key, lent in self._lent.items()}

    def admit(self, authorization: str, token: str, stamp: str = "") -> str:
        """The ARN of who asks; `stamp` is X-Amz-Date. Raises the refusal that AWS gives, with status 403."""
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
        if stamp:
            self._check_date(stamp)
        return lent.arn if lent else self._own_arn

    def _check_date(self, stamp: str) -> None:
        try:
            signed_at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise refusal("IncompleteSignatureException", "X-Amz-Date is no date") from None
        now = self._clock()
        said = f"{stamp} is now %s than {datetime.fromtimestamp(now, UTC).strftime(_STAMP)} by more than 5 min."
        if signed_at < now - _SKEW_S:
            raise refusal("InvalidSignatureException", f"Signature expired: {said % 'earlier'}")
        if signed_at > now + _SKEW_S:
            raise refusal("InvalidSignatureException", f"Signature not yet current: {said % 'later'}")
