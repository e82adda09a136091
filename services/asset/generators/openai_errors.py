"""What the OpenAI SDK raises, in Gaia's terms: the class is kept, keys and headers are not."""

import email.utils
import re
import time
from typing import Any

import openai

from services.asset.generators.reply_limit import ReplyTooLarge
from shared.errors import (
    BadUpstream,
    DeadlineExceeded,
    GaiaError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Violation,
)

RETRY_SECONDS = 5.0
"""How long to wait where the provider does not say."""
MAX_RETRY_SECONDS = 3600.0
MAX_QUOTED = 300
REFUSED_CONTENT = frozenset({"moderation_blocked", "content_policy_violation"})
EXHAUSTED_ACCOUNT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})

# The provider's name of a parameter, and the contract's path of the field that it comes from.
_FIELDS = {
    "prompt": "description",
    "model": "model",
    "quality": "requirements.quality",
    "output_format": "requirements.format",
}
# What the HTTP client, of which there are two, calls it when the provider was not reached at all.
_NOTHING_SENT = frozenset({"ConnectTimeout", "PoolTimeout"})
_SECRET = re.compile(r"\b(?:sk|sess|gaia)[-_][^\s,;'\"]{4,}")


def translate(error: openai.APIError, provider: str, model: str) -> GaiaError:
    """Returns the error to raise from the SDK's."""
    about = {"provider": provider}
    if isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ not in _NOTHING_SENT:
        return timed_out(provider)
    if isinstance(error.__cause__, ReplyTooLarge):
        return BadUpstream(f"{provider} answered more than is taken, or compressed", metadata=about)
    if isinstance(error, openai.APIConnectionError):
        return Unavailable(f"{provider} does not answer; try again", reason="PROVIDER_UNAVAILABLE", metadata=about)
    if not isinstance(error, openai.APIStatusError):
        return BadUpstream(f"{provider} answered something that is no answer", metadata=about)
    return _from_status(error, provider, model)


def timed_out(provider: str) -> DeadlineExceeded:
    """The error of a provider that takes too long."""
    return DeadlineExceeded(
        f"{provider} took too long; try again", reason="PROVIDER_TIMEOUT", metadata={"provider": provider}
    )


def _from_status(error: openai.APIStatusError, provider: str, model: str) -> GaiaError:
    about = {"provider": provider}
    status, code = error.status_code, error.code or ""
    if code in EXHAUSTED_ACCOUNT:
        return ResourceExhausted(
            f"the platform's account at {provider} is used up; tell the operator",
            reason="PROVIDER_QUOTA_EXHAUSTED",
            metadata=about,
        )
    if status == 429:
        return ResourceExhausted(
            f"{provider} limits the platform's rate; try again later",
            reason="PROVIDER_RATE_LIMITED",
            metadata=about,
            retry_after=_retry_after(error),
        )
    if status >= 500:
        return Unavailable(
            f"{provider} failed with status {status}; try again",
            reason="PROVIDER_UNAVAILABLE",
            metadata=about,
            retry_after=_retry_after(error),
        )
    if status in (401, 403):
        return BadUpstream(f"{provider} refuses the platform's key; the operator has to look at it", metadata=about)
    if status == 404 and code == "model_not_found":
        return NotFound(f"{provider} has no model {model}", reason="MODEL_NOT_FOUND", metadata=about)
    if status in (400, 413, 422):
        return _refused(error, provider, code)
    return BadUpstream(f"{provider} answered with status {status}, which is no answer", metadata=about)


def _refused(error: openai.APIStatusError, provider: str, code: str) -> InvalidArgument:
    about = {"provider": provider}
    if code in REFUSED_CONTENT:
        text = f"{provider}'s rules forbid what it says; describe something else"
        violations = [Violation("description", text)]
        return InvalidArgument(f"description: {text}", violations=violations, reason="CONTENT_REFUSED", metadata=about)
    text = f"{provider} refused the request: {_quotable(error.body) or 'it did not say why'}"
    field = _FIELDS.get(error.param or "")
    violations = [Violation(field, text)] if field else []
    message = f"{field}: {text}" if field else text
    return InvalidArgument(message, violations=violations, reason="PROVIDER_REFUSED", metadata=about)


def _quotable(body: Any) -> str:
    """The provider's own message on one short line, without anything that looks like a key."""
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, str):
        return ""
    line = _SECRET.sub("[secret]", " ".join(message.split()))
    return line if len(line) <= MAX_QUOTED else f"{line[:MAX_QUOTED]}…"


def _retry_after(error: openai.APIStatusError) -> float:
    """Seconds of the Retry-After header (RFC 9110 10.2.3: a number or a date)."""
    header = error.response.headers.get("retry-after", "")
    try:
        seconds = float(header)
    except ValueError:
        date = email.utils.parsedate_tz(header)
        seconds = email.utils.mktime_tz(date) - time.time() if date else RETRY_SECONDS
    # Written so that NaN becomes the default too.
    return min(seconds, MAX_RETRY_SECONDS) if seconds >= 0 else RETRY_SECONDS
