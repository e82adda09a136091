"""Principals as the contracts' messages carry them."""

from decimal import Decimal

from gaia.auth.v1 import api_key_pb2
from gaia.auth.v1 import auth_service_pb2 as pb

from shared.identity.principal import NO_LIMITS, KeyLimits, Principal

MICRO = Decimal("0.000001")
"""What budgets are exact to, in USD."""


def decode_principal(message: pb.Principal) -> Principal:
    """Decodes a principal."""
    return Principal(
        user_id=message.user_id,
        email=message.email,
        api_key_id=message.api_key_id,
        scopes=frozenset(message.scopes),
        environment=message.environment,
        allowed_models=frozenset(message.allowed_models),
        limits=decode_limits(message.limits) if message.HasField("limits") else NO_LIMITS,
        user_monthly_budget_usd=(
            decode_budget(message.user_monthly_budget_usd) if message.HasField("user_monthly_budget_usd") else None
        ),
    )


def encode_principal(principal: Principal) -> pb.Principal:
    """Encodes a principal."""
    return pb.Principal(
        user_id=principal.user_id,
        email=principal.email,
        api_key_id=principal.api_key_id,
        scopes=sorted(principal.scopes),
        environment=principal.environment,
        allowed_models=sorted(principal.allowed_models),
        limits=encode_limits(principal.limits) if principal.limits != NO_LIMITS else None,
        user_monthly_budget_usd=encode_budget(principal.user_monthly_budget_usd),
    )


def decode_limits(message: api_key_pb2.ApiKeyLimits) -> KeyLimits:
    """Decodes limits; absent fields are none. Raises as `decode_budget`."""
    budget = decode_budget(message.monthly_budget_usd) if message.HasField("monthly_budget_usd") else None
    return KeyLimits(
        requests_per_minute=message.requests_per_minute if message.HasField("requests_per_minute") else None,
        tokens_per_minute=message.tokens_per_minute if message.HasField("tokens_per_minute") else None,
        monthly_budget_usd=budget,
    )


def encode_limits(limits: KeyLimits) -> api_key_pb2.ApiKeyLimits:
    """Encodes limits."""
    return api_key_pb2.ApiKeyLimits(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        monthly_budget_usd=encode_budget(limits.monthly_budget_usd),
    )


def decode_budget(amount: float) -> Decimal:
    """Decodes a budget in USD.

    Raises decimal.InvalidOperation for one that is no number or too large to be exact to a millionth.
    """
    # By way of its shortest text: 0.1 is a tenth, not the nearest binary fraction.
    return Decimal(repr(amount)).quantize(MICRO)


def encode_budget(budget: Decimal | None) -> float | None:
    """Encodes a budget in USD; None is absent."""
    return None if budget is None else float(budget)
