"""Who asks, read from a gRPC call: the caller, the request's id, the time that is left, the idempotency key."""

import hashlib
from typing import Any

import grpc

from services.chat.calls import Once
from services.chat.completing import Asking
from services.chat.deadlines import seconds_left
from shared.errors import InvalidArgument
from shared.identity.principal import current_principal
from shared.telemetry import request_id

Context = grpc.aio.ServicerContext[Any, Any]

IDEMPOTENCY_KEY = "idempotency-key"
CACHE_CONTROL = "cache-control"
MAX_KEY = 255


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
    key = _metadata(context, IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise InvalidArgument.field("Idempotency-Key", f"must have 1 to {MAX_KEY} printable characters")
    return Once(key, hashlib.sha256(method.encode() + b"\n" + request).digest())


def _metadata(context: Context, wanted: str) -> str | bytes | None:
    return next((value for name, value in context.invocation_metadata() or () if name == wanted), None)


def _forbids(cache_control: str | bytes | None) -> bool:
    """Whether a client wants no kept reply (RFC 9111, 5.2.1)."""
    return isinstance(cache_control, str) and ("no-cache" in cache_control or "no-store" in cache_control)
