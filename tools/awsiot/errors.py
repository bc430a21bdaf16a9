"""What a call can be refused with."""


class ServiceError(Exception):
    """An answer that is not a success: `code` is AWS's error code, `status` the HTTP status it comes with."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{code} ({status}): {message}")
        self.code = code
        self.message = message
        self.status = status


# AWS IoT's statuses (botocore's service model), and below them those of the gate before every AWS service.
STATUSES = {
    "InvalidRequestException": 400,
    "MalformedPolicyException": 400,
    "ThrottlingException": 400,
    "UnauthorizedException": 401,
    "ResourceNotFoundException": 404,
    "CertificateStateException": 406,
    "DeleteConflictException": 409,
    "ResourceAlreadyExistsException": 409,
    "LimitExceededException": 410,
    "InternalFailureException": 500,
    "ServiceUnavailableException": 503,
    "SerializationException": 400,
    "UnknownOperationException": 404,
    "AccessDenied": 403,
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "RequestExpired": 403,
    "UnrecognizedClientException": 403,
}


def refusal(code: str, message: str) -> ServiceError:
    """The error `code` with the status that AWS gives it."""
    return ServiceError(code, message, STATUSES[code])
