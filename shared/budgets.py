"""Monthly budgets: who is held to which, and how a caller is told that there is not enough left.

`reserve_budgets` in the database holds calls to them, whichever service makes the call.
"""

from dataclasses import dataclass
from decimal import Decimal

from shared.errors import PermissionDenied, ResourceExhausted
from shared.identity.principal import Principal

_OWNERS = {"key": "this key's", "user": "this user's", "platform": "the platform's"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Monthly budgets in USD that a call is held to; None is no limit."""

    key: Decimal | None = None
    user: Decimal | None = None
    platform: Decimal | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.key is not None or self.user is not None or self.platform is not None


@dataclass(frozen=True, slots=True)
class Budgets:
    """Monthly budgets in USD from the configuration; None is no limit. `user` is for users without one of their own."""

    platform: Decimal | None = None
    user: Decimal | None = None

    def of(self, caller: Principal) -> Limits:
        """Returns what a caller's calls are held to."""
        own = caller.user_monthly_budget_usd
        return Limits(
            key=caller.limits.monthly_budget_usd if caller.api_key_id else None,
            user=self.user if own is None else own,
            platform=self.platform,
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A budget does not have what a call can cost. `by` is `key`, `user` or `platform`; amounts in USD."""

    by: str
    limit: Decimal
    left: Decimal


def no_price(
    model: str, advice: str = "name a model with a price, or have the operator give it one"
) -> PermissionDenied:
    """The error of a call that a budget must hold, of a model without a known price. `advice` says what would help."""
    return PermissionDenied(
        f"the price of {model} is not known, and a budget must hold this call; {advice}",
        reason="PRICE_UNKNOWN",
        metadata={"model": model},
    )


def over_budget(refused: Refused, amount: Decimal, advice: str) -> ResourceExhausted:
    """The error of a call that may cost more than is left. `advice` says what would make it cost less."""
    limit, left, needed = (f"{one.normalize():f}" for one in (refused.limit, refused.left, amount))
    return ResourceExhausted(
        f"{_OWNERS[refused.by]} budget of {limit} USD a month has {left} left, and this call may cost up to {needed}; "
        f"{advice}",
        reason="BUDGET_EXCEEDED",
        metadata={"budget": refused.by, "left_usd": left, "needed_usd": needed},
    )
