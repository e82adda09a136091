"""What a key may do: the `permissions` column, read and written, and who may give which of it away."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.errors import PermissionDenied, Violation
from shared.identity.claims import decode_limits, encode_limits
from shared.identity.principal import ADMIN, NO_LIMITS, SCOPES, KeyLimits, Principal

logger = logging.getLogger(__name__)

MAX_MODELS = 64
"""With the length of a name, a bound so that every principal fits into a token, which travels with each call."""
_MODEL = re.compile(r"[\x21-\x7e]{1,64}")
MAX_BUDGET_USD = 1_000_000_000
MAX_COUNT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a key may do. Empty `allowed_models` are all models."""

    scopes: tuple[str, ...]
    allowed_models: tuple[str, ...] = ()
    limits: KeyLimits = NO_LIMITS


NOTHING = Permissions(())


def normalised(permissions: Permissions) -> Permissions:
    """Returns the same permissions with everything once and in a fixed order."""
    return Permissions(
        tuple(scope for scope in SCOPES if scope in permissions.scopes),
        tuple(sorted(set(permissions.allowed_models))),
        permissions.limits,
    )


def parse_permissions(column: Mapping[str, Any]) -> Permissions:
    """Reads the `permissions` column: `{"scopes":[…],"allowed_models":[…],"limits":{…}}`.

    Rows of older platforms say `{"admin": true}` for the scope `admin`. Unknown scopes grant nothing; a row whose
    restrictions cannot be read grants nothing at all.
    """
    listed = column.get("scopes")
    granted = set(listed) if isinstance(listed, list) else set()
    if column.get("admin") is True:
        granted.add(ADMIN)
    models = column.get("allowed_models") or []
    try:
        limits = decode_limits(column.get("limits") or {})
    except ValueError as error:
        logger.warning("permissions of a key cannot be read", extra={"cause": str(error)})
        return NOTHING
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        logger.warning("permissions of a key cannot be read", extra={"cause": "allowed_models is no list of names"})
        return NOTHING
    return normalised(Permissions(tuple(granted), tuple(models), limits))


def dump_permissions(permissions: Permissions) -> dict[str, Any]:
    """Returns the `permissions` column."""
    column: dict[str, Any] = {"scopes": list(permissions.scopes)}
    if permissions.allowed_models:
        column["allowed_models"] = list(permissions.allowed_models)
    if permissions.limits != NO_LIMITS:
        column["limits"] = encode_limits(permissions.limits)
    return column


def check_permissions(permissions: Permissions) -> list[Violation]:
    """Returns what is wrong with permissions that somebody asks for."""
    violations = []
    if unknown := sorted(set(permissions.scopes) - set(SCOPES)):
        violations.append(
            Violation("scopes", f"no such scope: {', '.join(unknown)[:200]}; there are {', '.join(SCOPES)}")
        )
    models = permissions.allowed_models
    if len(models) > MAX_MODELS:
        violations.append(Violation("allowed_models", f"names {len(models)} models; at most {MAX_MODELS}"))
    elif not all(_MODEL.fullmatch(model) for model in models):
        violations.append(Violation("allowed_models", "each must be a model's id: 1 to 64 ASCII characters, no spaces"))
    limits = permissions.limits
    for name, count in (("requests", limits.requests_per_minute), ("tokens", limits.tokens_per_minute)):
        if count is not None and not 1 <= count <= MAX_COUNT:
            violations.append(Violation(f"limits.{name}_per_minute", f"must be 1 or more, not {count}"))
    return violations + check_budget("limits.monthly_budget_usd", limits.monthly_budget_usd)


def check_budget(field: str, budget: Decimal | None) -> list[Violation]:
    """Returns what is wrong with a budget; None is none."""
    if budget is None or (budget.is_finite() and 0 <= budget <= MAX_BUDGET_USD):
        return []
    return [Violation(field, f"must be 0 to {MAX_BUDGET_USD} US dollars, not {budget}")]


def check_gift(caller: Principal, permissions: Permissions) -> None:
    """Raises PermissionDenied, saying what is too much, when the caller would give away more than it has."""
    if lacking := [scope for scope in permissions.scopes if not caller.has_any(frozenset((scope,)))]:
        names = " ".join(lacking)
        raise PermissionDenied(
            f"this key lacks the scopes it would give away: {names}", reason="MISSING_SCOPE", metadata={"scope": names}
        )
    if caller.is_admin:
        return
    if caller.allowed_models and not (
        permissions.allowed_models and caller.allowed_models.issuperset(permissions.allowed_models)
    ):
        allowed = ", ".join(sorted(caller.allowed_models))
        raise PermissionDenied(
            f"allowed_models: this key may use, and give away, only {allowed}", reason="MODEL_NOT_ALLOWED"
        )
    for name, own, given in _pairs(caller.limits, permissions.limits):
        if own is not None and (given is None or given > own):
            raise PermissionDenied(
                f"limits.{name}: this key's own limit is {own}; it cannot give away more", reason="LIMIT_TOO_HIGH"
            )


def inherited(caller: Principal, permissions: Permissions) -> Permissions:
    """Returns the permissions with the caller's own restrictions where none were asked for."""
    if caller.is_admin:
        return permissions
    own, asked = caller.limits, permissions.limits
    limits = KeyLimits(
        own.requests_per_minute if asked.requests_per_minute is None else asked.requests_per_minute,
        own.tokens_per_minute if asked.tokens_per_minute is None else asked.tokens_per_minute,
        own.monthly_budget_usd if asked.monthly_budget_usd is None else asked.monthly_budget_usd,
    )
    models = permissions.allowed_models or tuple(sorted(caller.allowed_models))
    return Permissions(permissions.scopes, models, limits)


def _pairs(own: KeyLimits, given: KeyLimits) -> Sequence[tuple[str, int | Decimal | None, int | Decimal | None]]:
    return (
        ("requests_per_minute", own.requests_per_minute, given.requests_per_minute),
        ("tokens_per_minute", own.tokens_per_minute, given.tokens_per_minute),
        ("monthly_budget_usd", own.monthly_budget_usd, given.monthly_budget_usd),
    )
