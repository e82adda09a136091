"""The providers of this installation with their models and prices, from its settings. Connects to nothing."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec, Unoffered, UnofferedError
from services.chat.pricing import PriceBook, Publisher, free
from services.chat.providers.local import local_spec
from services.chat.settings import ChatSettings, CompatibleEndpoint
from services.chat.stating import state
from shared.config_file import Key, key_text
from shared.settings import SettingsError

CLAUDE, CLAUDE_NAME, CLAUDE_ALIASES, CLAUDE_SETTING = "claude", "Anthropic Claude", ("anthropic",), "ANTHROPIC_API_KEY"
OPENAI, OPENAI_NAME, OPENAI_SETTING = "openai", "OpenAI", "OPENAI_API_KEY"
LOCAL = "local"

Discovered = Mapping[str, Sequence[str]]
"""The models that providers told, by the provider's id."""
NOTHING: Discovered = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What is wrong with a value of the settings: its key in the file, and the variable that may hold it."""

    key: Key
    variable: str
    message: str


class UnlistedError(SettingsError):
    """Settings that are right by themselves, and do not go with the models and prices that there are."""

    def __init__(self, faults: Sequence[Unlisted]) -> None:
        super().__init__("; ".join(f"{key_text(one.key)} ({one.variable}): {one.message}" for one in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Listing:
    """All models, and what they cost. `unknown` are models of which something is stated, and which nobody offers."""

    catalogue: Catalogue
    prices: PriceBook
    unknown: Sequence[str] = ()


def build_listing(settings: ChatSettings, now: dt.datetime, discovered: Discovered = NOTHING) -> Listing:
    """Lists the providers with their models. Raises SettingsError.

    The order is the one in which a default provider is looked for. The SDK of a provider without a key is not loaded.
    """
    specs = [_claude(settings, now), _openai(settings, now)]
    specs += (_compatible(endpoint, now, discovered.get(endpoint.id)) for endpoint in settings.openai_compatible)
    if settings.local_provider:
        specs.append(local_spec())
    stated = state(specs, settings.models, now)
    try:
        catalogue = Catalogue(
            stated.providers,
            {**stated.aliases, **settings.model_aliases},
            settings.default_provider or "",
            settings.default_model or "",
        )
    except UnofferedError as error:
        raise UnlistedError([_place(fault, settings) for fault in error.faults]) from error
    return Listing(catalogue, PriceBook(_publishers(settings), stated.prices), stated.unknown)


def _claude(settings: ChatSettings, now: dt.datetime) -> ProviderSpec:
    if not settings.has_anthropic:
        return ProviderSpec(CLAUDE, CLAUDE_NAME, missing_setting=CLAUDE_SETTING, aliases=CLAUDE_ALIASES)
    from services.chat.providers import models_anthropic

    models = models_anthropic.anthropic_models(CLAUDE, now, only=settings.anthropic_models)
    default = _preferred(models, models_anthropic.PREFERRED)
    return ProviderSpec(CLAUDE, CLAUDE_NAME, models, default, aliases=CLAUDE_ALIASES)


def _openai(settings: ChatSettings, now: dt.datetime) -> ProviderSpec:
    if not settings.has_openai:
        return ProviderSpec(OPENAI, OPENAI_NAME, missing_setting=OPENAI_SETTING)
    from services.chat.providers import models_openai

    elsewhere = settings.openai_base_url is not None or any(one.base_url for one in settings.openai_endpoints)
    models = models_openai.openai_models(OPENAI, now, only=settings.openai_models, keep_withdrawn=elsewhere)
    makers = models_openai.openai_makers(OPENAI, now, keep_withdrawn=elsewhere)
    return ProviderSpec(
        OPENAI,
        OPENAI_NAME,
        models,
        _preferred(models, models_openai.PREFERRED),
        makers=makers,
        # Of names that an operator gives for another address, nothing is known.
        makes_anything=elsewhere and bool(settings.openai_models),
    )


def _compatible(endpoint: CompatibleEndpoint, now: dt.datetime, told: Sequence[str] | None) -> ProviderSpec:
    from services.chat.providers import models_openai

    # Those that are named come first, and are there even while the endpoint does not answer.
    names = list(dict.fromkeys((*endpoint.models, *(told or ()))))
    name = endpoint.name or endpoint.id
    if not names:
        return ProviderSpec(endpoint.id, name, unreachable=True)
    models = models_openai.compatible_models(
        endpoint.id, endpoint.first_url, names, now, prices_of=endpoint.prices_of or None
    )
    return ProviderSpec(endpoint.id, name, models, models[0].id, makes_anything=True)


def _publishers(settings: ChatSettings) -> dict[str, Publisher]:
    publishers: dict[str, Publisher] = {LOCAL: free}
    if not (settings.has_anthropic or settings.has_openai or settings.openai_compatible):
        return publishers
    from services.chat.providers import prices

    publishers[CLAUDE] = prices.publisher(provider_id="anthropic")
    publishers[OPENAI] = prices.publisher(provider_id="openai")
    unpriced: list[Unlisted] = []
    for number, endpoint in enumerate(settings.openai_compatible):
        if not endpoint.prices_of:
            publishers[endpoint.id] = prices.publisher(base_url=endpoint.first_url)
        elif prices.publishes(endpoint.prices_of):
            publishers[endpoint.id] = prices.publisher(provider_id=endpoint.prices_of)
        else:
            what = f"no prices are published of {endpoint.prices_of}; leave it out, or name one that genai-prices knows"
            key = ("providers", "compatible", number, "prices_of")
            unpriced.append(Unlisted(key, "GAIA_OPENAI_COMPATIBLE", what))
    if unpriced:
        raise UnlistedError(unpriced)
    return publishers


def _preferred(models: Sequence[ModelSpec], preferred: Sequence[str]) -> str:
    offered = {model.id for model in models}
    return next((name for name in preferred if name in offered), models[0].id)


def _place(fault: Unoffered, settings: ChatSettings) -> Unlisted:
    if fault.setting != "aliases":
        return Unlisted(
            ("defaults", fault.setting.removeprefix("default_")), f"GAIA_{fault.setting.upper()}", fault.message
        )
    if fault.alias in settings.model_aliases:
        return Unlisted(("aliases", fault.alias), "GAIA_MODEL_ALIASES", fault.message)
    model = next((name for name, one in settings.models.items() if fault.alias in one.aliases), "")
    return Unlisted(("models", model, "aliases"), "GAIA_MODELS", fault.message)
