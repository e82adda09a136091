"""The principal: who is calling and what that caller may do."""

import contextvars
from dataclasses import dataclass
from decimal import Decimal

ADMIN = "admin"
"""The scope that satisfies every other."""

SCOPES = (
    "chat:read",
    "chat:write",
    "assets:read",
    "assets:write",
    "usage:read",
    "keys:manage",
    "users:manage",
    "audit:read",
    ADMIN,
)
"""Every scope there is."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What an API key may use up; None is no limit. The budget is in USD, for a calendar month (UTC)."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    monthly_budget_usd: Decimal | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling. Ids are UUIDs in text form.

    `api_key_id` is empty for a caller known by a token of an outside issuer. Empty `allowed_models` are all models.
    `user_monthly_budget_usd` is what all of the user's keys together may spend in a calendar month (UTC), beside what
    `limits` allow this key; None is no limit.
    """

    user_id: str
    email: str
    api_key_id: str
    scopes: frozenset[str]
    environment: str
    allowed_models: frozenset[str] = frozenset()
    limits: KeyLimits = NO_LIMITS
    user_monthly_budget_usd: Decimal | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the caller has the scope `admin`."""
        return ADMIN in self.scopes

    def has_any(self, scopes: frozenset[str]) -> bool:
        """Whether the caller has one of the scopes, or `admin`."""
        return ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)

    def may_use_model(self, model: str) -> bool:
        """Whether the caller's key allows a model, by the id that the catalogue gives it."""
        return not self.allowed_models or model in self.allowed_models


_current: contextvars.ContextVar[Principal | None] = contextvars.ContextVar("principal", default=None)


def set_principal(principal: Principal | None) -> None:
    """Sets the caller of the current call; done by the auth interceptor only."""
    _current.set(principal)


def current_principal() -> Principal:
    """Returns the caller of the current call.

    Raises LookupError in a public method called without identity: such a method has no business asking.
    """
    principal = _current.get()
    if principal is None:
        raise LookupError("this call has no principal")
    return principal
