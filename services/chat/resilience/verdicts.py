"""What a failed call says about the provider."""

from services.chat.providers.errors import REFUSED, TOO_LARGE
from shared.errors import BadUpstream, DeadlineExceeded, GaiaError, ResourceExhausted, Unavailable

FAULTS = (Unavailable, BadUpstream, DeadlineExceeded, ResourceExhausted)
"""Errors that are the provider's and not the request's: they count against it, and another one may do better."""


def answered(failure: GaiaError) -> bool | None:
    """Whether the endpoint did its part in a call that failed; None where the failure does not tell.

    One that refuses a request, or has a limit, is well.
    """
    if isinstance(failure, ResourceExhausted) or failure.reason in (REFUSED, TOO_LARGE):
        return True
    return False if isinstance(failure, FAULTS) else None
