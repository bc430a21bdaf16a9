"""What went wrong in a call to AWS: by error code or exception class, never by HTTP status."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from botocore import exceptions as boto
from botocore.exceptions import ClientError

from cvmd.errors import IssuerError, IssuerFault

_CODES: dict[IssuerFault, tuple[str, ...]] = {
    IssuerFault.THROTTLED: (
        "ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled",
        "RequestThrottledException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown",
    ),
    IssuerFault.ACCOUNT: (
        "UnauthorizedException", "AccessDenied", "AccessDeniedException", "ExpiredToken",
        "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId",
        "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature",
        "IncompleteSignatureException", "RequestExpired", "RequestTimeTooSkewed", "MissingAuthenticationToken",
        "MissingAuthenticationTokenException", "OptInRequired", "SubscriptionRequiredException",
        "UnknownOperationException",
    ),
    IssuerFault.QUOTA: ("LimitExceededException",),
    IssuerFault.REJECTED: ("InvalidRequestException", "ValidationException", "SerializationException"),
    IssuerFault.CONFLICT: ("CertificateStateException", "DeleteConflictException"),
    IssuerFault.UNKNOWN: (
        "InternalFailureException", "InternalFailure", "ServiceUnavailableException", "ServiceUnavailable",
    ),
}  # fmt: skip
_FAULTS = {code: fault for fault, codes in _CODES.items() for code in codes}

# Raised before a byte of the request was sent.
_NOT_CONNECTED = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
_NO_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
    boto.NoRegionError, boto.InvalidRegionError, boto.UnknownCredentialError, boto.MetadataRetrievalError,
    boto.TokenRetrievalError, boto.SSOError, boto.ConfigNotFound, boto.ConfigParseError,
    boto.InvalidConfigError, boto.EndpointProviderError, boto.InvalidEndpointConfigurationError,
)  # fmt: skip
# Verdicts of the TLS handshake: the request had not been sent. Any other TLS error may be of the answer.
_HANDSHAKE = (
    "CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "HANDSHAKE_FAILURE",
    "PROTOCOL_VERSION",
)  # fmt: skip


def issuer_error(operation: str, error: Exception, *, missing: IssuerFault) -> IssuerError:
    """What this exception of a boto3 call amounts to; `missing`: what ResourceNotFoundException means in it.

    Whatever is not known to have had no effect is UNKNOWN: an attempt too many under that head costs a little,
    an orphan that nobody looks for stays.
    """
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        code = clean(answer.get("Code", "")) or "no code"
        fault = missing if code == "ResourceNotFoundException" else _FAULTS.get(code, IssuerFault.UNKNOWN)
        return IssuerError(fault, operation, code, clean(answer.get("Message", "")))
    # Of others the name alone: their texts quote URLs, proxies with passwords, and pieces of answers.
    return IssuerError(_fault_of(error), operation, type(error).__name__)


def _fault_of(error: Exception) -> IssuerFault:
    if isinstance(error, _NOT_CONNECTED) or (isinstance(error, boto.SSLError) and _in_handshake(error)):
        return IssuerFault.UNREACHABLE
    if isinstance(error, _NO_CREDENTIALS):
        return IssuerFault.ACCOUNT
    if isinstance(error, boto.ParamValidationError):  # found before anything is sent
        return IssuerFault.REJECTED
    return IssuerFault.UNKNOWN


def _in_handshake(error: BaseException) -> bool:
    reasons = [each.reason or "" for each in _causes(error) if isinstance(each, ssl.SSLError)]
    return any(reason.endswith(_HANDSHAKE) for reason in reasons)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The chain that led to `error`; urllib3 hides the TLS library's own in its arguments."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        yield from (each for each in seen.args if isinstance(each, BaseException))
        seen = seen.__cause__ or seen.__context__


def clean(text: object) -> str:
    """What AWS said, fit for a log line: printable ASCII of a limited length."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in str(text)[:300])
