"""A provider's failures as Gaia's errors: its class is kept, its headers, keys and account names are not told.

429                  ResourceExhausted, with the provider's Retry-After
503, 529             Unavailable
400, 409, 413, 422   InvalidArgument with the provider's message; 413 with the reason PROVIDER_TOO_LARGE
404                  NotFound with the provider's message
401, 402, 403        BadUpstream: it is Gaia's key that was refused, not the caller's
408, 504, silence    DeadlineExceeded, reason PROVIDER_TIMEOUT
no connection        Unavailable
not asked            Unavailable, reason PROVIDER_CIRCUIT_OPEN
anything else        BadUpstream
"""

import contextlib
import datetime as dt
import email.utils
import re
from collections.abc import Mapping

import aiohttp
import orjson

from services.chat.told_faults import CODE, DETAILS, PARAM
from services.chat.turn import Usage
from shared.errors import (
    BadUpstream,
    DeadlineExceeded,
    GaiaError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

TIMEOUT = "PROVIDER_TIMEOUT"
REFUSED = "PROVIDER_REFUSED"
TOO_LARGE = "PROVIDER_TOO_LARGE"
CIRCUIT_OPEN = "PROVIDER_CIRCUIT_OPEN"
MAX_MESSAGE = 500
"""Characters of a provider's message that are passed on."""
MAX_RETRY_AFTER = 3600.0

# What providers write into messages about the account that asked, which is Gaia's and not the caller's.
_ACCOUNT = re.compile(r"\b(?:sk|org|proj|user|key|wrkspc|req)[-_][A-Za-z0-9_*-]{6,}")

MAX_DETAILS = 1000
"""Bytes of a refusal's details that are passed on."""
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PATH = re.compile(r"[A-Za-z0-9_.\[\]-]{1,200}")
_STATUS = re.compile("[45][0-9]{2}")
_CONTEXT_TOO_LONG = "context_length_exceeded"
# Anthropic has no code for it.
_SAYS_TOO_LONG = "prompt is too long"

_TOLD_WAIT = "provider_retry_after"

_KINDS: Mapping[str, int] = {
    # Anthropic's error types and OpenAI's error types and codes, where an error comes inside of a stream.
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "request_too_large": 413,
    "not_found_error": 404,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "timeout_error": 504,
    "service_unavailable": 503,
    "server_overloaded": 503,
}


def from_status(
    provider: str,
    status: int,
    message: str,
    *,
    code: object = None,
    param: object = None,
    details: object = None,
    retry_after: float | None = None,
    setting: str = "",
) -> GaiaError:
    """Returns the error for an HTTP status.

    `code`, `param` and `details` are what the provider says of the fault for programs; `setting` names where the
    operator gave the provider's key.
    """
    metadata = {"provider": provider, "provider_status": str(status)}
    if retry_after is not None:
        metadata[_TOLD_WAIT] = f"{retry_after:g}"
    if status == 429:
        wait = f"in {retry_after:g} s" if retry_after else "later"
        return ResourceExhausted(
            f"{provider} limits the rate of Gaia's requests; try again {wait}",
            reason="PROVIDER_RATE_LIMITED",
            metadata=metadata,
            retry_after=retry_after or 1.0,
        )
    if status in (503, 529):
        return Unavailable(
            f"{provider} is overloaded or down ({status}); try again",
            reason="PROVIDER_UNAVAILABLE",
            metadata=metadata,
            retry_after=retry_after or 1.0,
        )
    if status in (400, 409, 413, 422):
        metadata |= _fault(message, code, param, details)
        reason = TOO_LARGE if status == 413 else REFUSED
        return InvalidArgument(f"{provider} refused the request: {_public(message)}", reason=reason, metadata=metadata)
    if status == 404:
        metadata |= _fault(message, code, param, details)
        return NotFound(f"{provider} does not know it: {_public(message)}", reason=REFUSED, metadata=metadata)
    if status in (401, 402, 403):
        where = f"; the operator should check {setting}" if setting else ""
        return BadUpstream(f"{provider} refused Gaia's own credentials ({status}){where}", metadata=metadata)
    if status in (408, 504):
        return timed_out(provider)
    return BadUpstream(f"{provider} failed ({status})", metadata=metadata)


def from_stream(provider: str, error: object, setting: str = "") -> GaiaError:
    """Returns the error for what a provider sent under a status of success: an object with `type`, `code`, `message`.

    The code may be a status as well, as gateways have it that learn of a failure when theirs is sent.
    """
    told = error if isinstance(error, dict) else {}
    code, kind = told.get("code"), told.get("type")
    status = _KINDS.get(str(code)) or _KINDS.get(str(kind)) or (int(str(code)) if _STATUS.fullmatch(str(code)) else 500)
    message = str(told.get("message") or "no message")
    about = {"code": code, "param": told.get("param"), "details": told.get("details")}
    return from_status(provider, status, message, **about, setting=setting)


def instead_of_events(provider: str, rest: bytes, setting: str = "") -> GaiaError | None:
    """Returns the error for what is left of a stream and belongs to no event; None where that is nothing to go by."""
    if not rest.startswith((b"{", b"<")):
        return None
    with contextlib.suppress(ValueError):
        told = orjson.loads(rest)
        if told.get("error"):
            return from_stream(provider, told["error"], setting)
    return nonsense(provider, "a body that is no stream of events")


def timed_out(provider: str) -> GaiaError:
    """The error of a provider that takes too long."""
    return DeadlineExceeded(f"{provider} did not answer in time", reason=TIMEOUT, metadata={"provider": provider})


def unreachable(provider: str) -> GaiaError:
    """The error of a provider that cannot be connected to, or that closed the connection before it answered."""
    return Unavailable(
        f"{provider} cannot be reached; try again", reason="PROVIDER_UNREACHABLE", metadata={"provider": provider}
    )


def left_alone(provider: str, seconds: float) -> GaiaError:
    """The error of a provider that failed so often that it is not even asked for some seconds."""
    return Unavailable(
        f"{provider} failed too often and is not asked for now; try again in {seconds:.0f} s",
        reason=CIRCUIT_OPEN,
        metadata={"provider": provider},
        retry_after=seconds,
    )


def cut(provider: str) -> GaiaError:
    """The error of a stream that ended before the reply did."""
    return BadUpstream(f"{provider} broke off in the middle of its reply", metadata={"provider": provider})


def nonsense(provider: str, what: str) -> GaiaError:
    """The error of an answer that is none."""
    return BadUpstream(f"{provider} sent {what}", metadata={"provider": provider})


class Reported(Exception):
    """The internal half of an error whose provider told what the failed call used: it counts that all the same."""

    def __init__(self, usage: Usage) -> None:
        super().__init__("what the failed call used")
        self.usage = usage


def reported_usage(error: GaiaError) -> Usage | None:
    """Returns what a provider told that a failed call used, None where it told nothing."""
    return error.__cause__.usage if isinstance(error.__cause__, Reported) else None


def was_at_work(error: GaiaError) -> bool:
    """Whether a provider was given up that may have worked until then: it counts what it did, and tells nobody.

    One that could not be connected to in time was asked nothing, and one that refused or failed by itself counts
    nothing beyond what it reported.
    """
    late = error.__cause__
    is_ours = isinstance(late, TimeoutError) and not isinstance(late, aiohttp.ConnectionTimeoutError)
    return error.reason == TIMEOUT and is_ours


def told_wait(error: GaiaError) -> float | None:
    """Returns the seconds that the provider itself asked to wait, None where it did not."""
    told = error.metadata.get(_TOLD_WAIT)
    return None if told is None else float(told)


def read_retry_after(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Reads Retry-After in seconds: `retry-after-ms`, a number, or a date (RFC 9110, 10.2.3); None for nonsense."""
    seconds: float | None = None
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            seconds = float(milliseconds) / 1000
        elif value is not None and value.strip().replace(".", "", 1).isdigit():
            seconds = float(value)
        elif value is not None:
            seconds = (email.utils.parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds is not None else None


def _fault(message: str, code: object, param: object, details: object) -> dict[str, str]:
    """Returns what a refusal says of the fault for programs, as far as it is what it should be."""
    if code is None and message.startswith(_SAYS_TOO_LONG):
        code = _CONTEXT_TOO_LONG
    fault = ((CODE, code, _WORD), (PARAM, param, _PATH))
    told = {
        name: value
        for name, value, form in fault
        if isinstance(value, str) and form.fullmatch(value) and not _ACCOUNT.search(value)
    }
    if isinstance(details, dict) and len(written := orjson.dumps(details)) <= MAX_DETAILS:
        told[DETAILS] = _ACCOUNT.sub("[…]", written.decode())
    return told


def _public(message: str) -> str:
    return _ACCOUNT.sub("[…]", message)[:MAX_MESSAGE]
