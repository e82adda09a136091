"""Which models a key may use, the same wherever models are called."""

from shared.errors import ModelDenied
from shared.identity.principal import Principal

MAX_NAMED = 10


def may_use(caller: Principal, provider: str, model: str) -> bool:
    """Whether the caller's key allows a model, by its id or by `provider/id`."""
    return caller.may_use_model(model) or caller.may_use_model(f"{provider}/{model}")


def check_model(caller: Principal, provider: str, model: str) -> None:
    """Raises ModelDenied, naming what is allowed, for a model that the caller's key may not use."""
    if not may_use(caller, provider, model):
        allowed = ", ".join(sorted(caller.allowed_models)[:MAX_NAMED])
        raise ModelDenied(f"this key may not use {model}; it may use {allowed}", model)
