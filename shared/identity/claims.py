"""What an identity token says: a principal, and how far what it says can be trusted.

Claims: `iss` (`gaia-auth`), `aud` (`gaia`), `sub` (user id), `email`, `kid_of_key` (API key id, empty without a key),
`scopes`, `env`, `iat`, `exp`; `rev`, the number of the newest revocation that was known when the token was made;
`gen`, which of a key's secrets it was made from; `models` and `limits` where the key has any; `user_budget`, in USD as
text, where the user has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from shared.identity.principal import NO_LIMITS, KeyLimits, Principal

ISSUER = "gaia-auth"
AUDIENCE = "gaia"
LIFETIME_SECONDS = 60


@dataclass(frozen=True, slots=True)
class IdentityClaims:
    """What a token says beside its times.

    `sequence` is the newest revocation that was taken into account, `generation` names the secret that was presented.
    """

    principal: Principal
    sequence: int
    generation: str


def encode_claims(claims: IdentityClaims) -> dict[str, Any]:
    """Returns the claims as a JSON object, without `iat` and `exp`."""
    principal = claims.principal
    encoded: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": principal.user_id,
        "email": principal.email,
        "kid_of_key": principal.api_key_id,
        "scopes": sorted(principal.scopes),
        "env": principal.environment,
        "rev": claims.sequence,
        "gen": claims.generation,
    }
    if principal.allowed_models:
        encoded["models"] = sorted(principal.allowed_models)
    if principal.limits != NO_LIMITS:
        encoded["limits"] = encode_limits(principal.limits)
    if principal.user_monthly_budget_usd is not None:
        encoded["user_budget"] = str(principal.user_monthly_budget_usd)
    return encoded


def decode_claims(encoded: Mapping[str, Any]) -> IdentityClaims:
    """Reads claims whose signature was verified. Raises ValueError for claims that no token of Gaia's has."""
    texts = [encoded.get(name) for name in ("sub", "email", "kid_of_key", "env", "gen")]
    scopes, models = encoded.get("scopes"), encoded.get("models", [])
    sequence = encoded.get("rev")
    if not all(isinstance(text, str) for text in texts) or not (_is_texts(scopes) and _is_texts(models)):
        raise ValueError("a claim is missing or of another type")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        raise ValueError("the claim rev is no number")
    user_id, email, api_key_id, environment, generation = texts
    principal = Principal(
        user_id=str(user_id),
        email=str(email),
        api_key_id=str(api_key_id),
        scopes=frozenset(scopes or ()),
        environment=str(environment),
        allowed_models=frozenset(models),
        limits=decode_limits(encoded.get("limits", {})),
        user_monthly_budget_usd=_decode_budget(encoded.get("user_budget")),
    )
    return IdentityClaims(principal, sequence, str(generation))


def encode_limits(limits: KeyLimits) -> dict[str, int | str]:
    """Returns limits as a JSON object, the budget as text so that it stays exact."""
    named = {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "monthly_budget_usd": None if limits.monthly_budget_usd is None else str(limits.monthly_budget_usd),
    }
    return {name: value for name, value in named.items() if value is not None}


def decode_limits(encoded: Any) -> KeyLimits:
    """Reads limits out of a JSON object. Raises ValueError for what cannot be one."""
    if not isinstance(encoded, Mapping):
        raise ValueError("limits are no object")
    requests, tokens = encoded.get("requests_per_minute"), encoded.get("tokens_per_minute")
    for count in (requests, tokens):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise ValueError("a limit is no positive number")
    return KeyLimits(requests, tokens, _decode_budget(encoded.get("monthly_budget_usd")))


def _decode_budget(encoded: Any) -> Decimal | None:
    if encoded is None:
        return None
    try:
        amount = Decimal(str(encoded))
    except InvalidOperation as error:
        raise ValueError("the budget is no number") from error
    if not (amount.is_finite() and amount >= 0):
        raise ValueError("the budget is no amount")
    return amount


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
