"""Requests with an Idempotency-Key: the first one is carried out, those that repeat it are told its answer."""

import hashlib
from dataclasses import dataclass

from shared.errors import AlreadyExists, InvalidArgument

METADATA = "idempotency-key"
"""gRPC metadata that carries the key; over HTTP it is the header of that name."""
MAX_KEY = 255
IN_PROGRESS_RETRY_SECONDS = 1.0


TOO_LARGE = b""
"""Kept in the place of an answer that is too large to be kept: its request was carried out, and is not to be again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the first request of a key: its fingerprint, and its answer; None while it goes on."""

    fingerprint: bytes
    answer: bytes | None


def checked_key(value: str | bytes) -> str:
    """Returns a key as a client sent it. Raises InvalidArgument."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY or not value.isprintable():
        raise InvalidArgument.field("Idempotency-Key", f"must have 1 to {MAX_KEY} printable characters")
    return value


def fingerprint(method: str, request: bytes) -> bytes:
    """Returns what two requests have in common that are the same: SHA-256 of the method and the whole request."""
    return hashlib.sha256(method.encode() + b"\n" + request).digest()


def answer_of(kept: Kept, wanted: bytes) -> bytes:
    """Returns the answer to the first request of a key for a request with the fingerprint `wanted`.

    Raises AlreadyExists where that is another request, or where the first one still goes on.
    """
    if kept.fingerprint != wanted:
        raise AlreadyExists(
            "this Idempotency-Key came with another request before; use a new key for a new request",
            reason="IDEMPOTENCY_KEY_REUSED",
        )
    if kept.answer is None:
        raise AlreadyExists(
            "the first request with this Idempotency-Key is still going on; try again",
            reason="IDEMPOTENCY_KEY_IN_PROGRESS",
            retry_after=IN_PROGRESS_RETRY_SECONDS,
        )
    return kept.answer


def too_large() -> AlreadyExists:
    """The error for a request that was carried out, and whose answer cannot be told again."""
    return AlreadyExists(
        "the first request with this Idempotency-Key was carried out, and its answer is too large to be kept; use a "
        "new key to have it carried out, and paid for, once more",
        reason="IDEMPOTENCY_ANSWER_NOT_KEPT",
    )
