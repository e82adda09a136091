"""Who asks, read from a gRPC call: the caller, the request's id, the time that is left, the idempotency key."""

from typing import Any

import grpc

from services.chat.calls import Once
from services.chat.completing import Asking
from services.chat.deadlines import seconds_left
from shared.idempotency import METADATA, checked_key, fingerprint
from shared.identity.principal import current_principal
from shared.telemetry import request_id

Context = grpc.aio.ServicerContext[Any, Any]

CACHE_CONTROL = "cache-control"


def asking(context: Context, total_seconds: float, method: str, request: bytes) -> Asking:
    """Returns who asks. `request` is all that makes the request what it is; see `once`."""
    seconds = seconds_left(context, total_seconds)
    return Asking(
        current_principal(),
        request_id.get(),
        seconds,
        once(context, method, request),
        may_be_cached=not _forbids(_metadata(context, CACHE_CONTROL)),
    )


def once(context: Context, method: str, request: bytes) -> Once | None:
    """Returns the idempotency key of a call, with the fingerprint of its method and request; None where there is none.

    Raises InvalidArgument.
    """
    key = _metadata(context, METADATA)
    if key is None:
        return None
    return Once(checked_key(key), fingerprint(method, request))


def _metadata(context: Context, wanted: str) -> str | bytes | None:
    return next((value for name, value in context.invocation_metadata() or () if name == wanted), None)


def _forbids(cache_control: str | bytes | None) -> bool:
    """Whether a client wants no kept reply (RFC 9111, 5.2.1)."""
    return isinstance(cache_control, str) and ("no-cache" in cache_control or "no-store" in cache_control)
