"""The errors of Gaia's domain, each with a public and an internal half.

    GaiaError
    ├── InvalidArgument      the request is wrong, whoever sends it; names each field
    ├── Unauthenticated      no credential, or one that is not valid
    ├── PermissionDenied     the caller lacks a scope
    │   └── ModelDenied      its key does not allow the model
    ├── NotFound             no such thing, or not the caller's
    ├── AlreadyExists        something unique is taken
    ├── FailedPrecondition   the state of things forbids it
    ├── ResourceExhausted    a limit or a budget is reached
    │   └── TokensExhausted  one of tokens a minute
    ├── BadUpstream          a provider answered something that is no answer
    ├── DeadlineExceeded     it took too long
    └── Unavailable          something needed is away; worth another try

`shared.rpc.interceptors` maps them to gRPC once, `edge.transcoding.errors` maps gRPC to HTTP once.
The public half is `str(error)`, `violations`, `reason` and `metadata`: it is sent to the caller. The internal half is
the exception's `__cause__`: it goes to the log with the request's id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request.

    `field` is the path of the field, such as `messages[2].content`; `description` says what is wrong and what would be
    right.
    """

    field: str
    description: str


class GaiaError(Exception):
    """An error that a caller may see.

    `reason` is a constant in UPPER_SNAKE_CASE for programs, `metadata` adds to it (AIP-193); `retry_after` is in
    seconds, None where another try would not help.
    """

    code: ClassVar[str]
    """Name of the google.rpc.Code, which is also that of the grpc.StatusCode."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


class InvalidArgument(GaiaError):
    """The request is wrong, whoever sends it."""

    code = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, *violations: Violation) -> "InvalidArgument":
        """Makes the error from all violations at once; its message joins them."""
        return cls("; ".join(f"{one.field}: {one.description}" for one in violations), violations=violations)

    @classmethod
    def field(cls, field: str, description: str) -> "InvalidArgument":
        """Makes the error from a single violation."""
        return cls.of(Violation(field, description))


class Unauthenticated(GaiaError):
    """There is no credential, or it is not valid."""

    code = "UNAUTHENTICATED"


class PermissionDenied(GaiaError):
    """The caller is known, and lacks a scope."""

    code = "PERMISSION_DENIED"


class ModelDenied(PermissionDenied):
    """The caller's key does not allow the model; told to the audit trail wherever it ends a call."""

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message, reason="MODEL_NOT_ALLOWED", metadata={"model": model})
        self.model = model


class NotFound(GaiaError):
    """There is no such thing, or it is not the caller's."""

    code = "NOT_FOUND"


class AlreadyExists(GaiaError):
    """Something that must be unique is taken."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(GaiaError):
    """The state of things forbids it; the same request may be right at another time."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(GaiaError):
    """A limit or a budget is reached."""

    code = "RESOURCE_EXHAUSTED"


class TokensExhausted(ResourceExhausted):
    """The tokens of a minute are used up: of `limit` so many `remaining`, and `reset` seconds until there are more."""

    def __init__(self, message: str, *, limit: int, remaining: int, reset: int) -> None:
        super().__init__(message, reason="TOKENS_PER_MINUTE", retry_after=float(reset))
        self.limit = limit
        self.remaining = remaining
        self.reset = reset


class BadUpstream(GaiaError):
    """A provider answered something that is no answer. INTERNAL on the wire, 502 over HTTP by its reason."""

    code = "INTERNAL"

    def __init__(self, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, reason="BAD_UPSTREAM", metadata=metadata)


class DeadlineExceeded(GaiaError):
    """It took longer than the caller or the platform allows."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(GaiaError):
    """Something that is needed is away; `retry_after` defaults to one second."""

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float = 1.0,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata, retry_after=retry_after)
