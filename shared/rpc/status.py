"""Domain errors to gRPC statuses with rich details, and back."""

from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from shared import errors

DETAILS_METADATA = "grpc-status-details-bin"
CHALLENGE = ("www-authenticate", 'Bearer realm="gaia"')
DOMAIN = "gaia"
"""Domain of every ErrorInfo (AIP-193)."""

_CLASSES: dict[str, type[errors.GaiaError]] = {
    cls.code: cls
    for cls in (
        errors.InvalidArgument,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.ResourceExhausted,
        errors.DeadlineExceeded,
    )
}


def to_status(error: errors.GaiaError) -> status_pb2.Status:
    """Encodes the public half of an error as google.rpc.Status."""
    details: list[Any] = []
    if error.violations:
        request = error_details_pb2.BadRequest()
        for violation in error.violations:
            request.field_violations.add(field=violation.field, description=violation.description)
        details.append(_pack(request))
    if error.reason:
        info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
        details.append(_pack(info))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=code_pb2.Code.Value(error.code), message=str(error), details=details)


async def abort(context: "grpc.aio.ServicerContext[object, object]", error: errors.GaiaError) -> NoReturn:
    """Ends the call with the error's status."""
    status = to_status(error)
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    if status.details:
        trailing = ((DETAILS_METADATA, status.SerializeToString()),)
    if isinstance(error, errors.Unauthenticated):
        # Over HTTP this becomes 401, which has to say how to do better (RFC 9110, section 15.5.2).
        trailing = (*trailing, CHALLENGE)
    elif isinstance(error, errors.TokensExhausted):
        # Beside the ones of requests a minute, which the edge tells without a last word.
        told = {"limit": error.limit, "remaining": error.remaining, "reset": error.reset}
        trailing = (*trailing, *((f"x-ratelimit-{name}-tokens", str(value)) for name, value in told.items()))
    await context.abort(grpc.StatusCode[error.code], str(error), trailing)


def from_rpc_error(error: grpc.aio.AioRpcError, peer: str) -> errors.GaiaError:
    """Decodes the status that a call to `peer` ended with.

    What is not the caller's to understand (UNKNOWN, CANCELLED, INTERNAL, …) becomes Unavailable.
    """
    cls = _CLASSES.get(error.code().name)
    if cls is None:
        return unavailable(peer)
    return cls(error.details() or error.code().name)


def unavailable(peer: str) -> errors.Unavailable:
    """The error of a peer that does not answer."""
    return errors.Unavailable(f"the {peer} service does not answer; try again", reason="PEER_UNAVAILABLE")


def _pack(message: error_details_pb2.BadRequest | error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
