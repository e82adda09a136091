"""What this installation offers, from its settings: the adapters of the configured providers, and their catalogue."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec
from services.chat.pricing import PriceBook, Publisher, free
from services.chat.providers.base import Provider
from services.chat.providers.local import LocalProvider, local_spec
from services.chat.settings import ChatSettings
from shared.settings import SettingsError

CLAUDE, CLAUDE_NAME = "claude", "Anthropic Claude"
OPENAI, OPENAI_NAME = "openai", "OpenAI"


@dataclass(frozen=True, slots=True)
class Offer:
    """The catalogue, the adapter of each configured provider by its id, and what their models cost."""

    catalogue: Catalogue
    providers: Mapping[str, Provider]
    prices: PriceBook


def build_offer(settings: ChatSettings, now: dt.datetime) -> Offer:
    """Makes the adapters and their catalogue; connects to nothing. Raises SettingsError.

    The order is the one in which a default provider is looked for. The SDK of a provider without a key is not loaded.
    """
    specs: list[ProviderSpec] = []
    providers: dict[str, Provider] = {}
    specs.append(_claude(settings, providers, now))
    specs.append(_openai(settings, providers, now))
    specs.extend(_compatible(settings, providers, now))
    if settings.local_provider:
        providers["local"] = LocalProvider()
        specs.append(local_spec())
    try:
        catalogue = Catalogue(specs, settings.model_aliases, settings.default_provider or "")
    except ValueError as error:
        raise SettingsError(f"GAIA_MODEL_ALIASES or GAIA_DEFAULT_PROVIDER: {error}") from error
    return Offer(catalogue, providers, PriceBook(_publishers(settings, providers)))


def _publishers(settings: ChatSettings, providers: Mapping[str, Provider]) -> dict[str, Publisher]:
    publishers: dict[str, Publisher] = {"local": free} if "local" in providers else {}
    if providers.keys() <= publishers.keys():
        return publishers
    from services.chat.providers import prices

    addresses = {endpoint.id: endpoint.base_url for endpoint in settings.openai_compatible}
    for provider, provider_id in ((CLAUDE, "anthropic"), (OPENAI, "openai")):
        if provider in providers:
            publishers[provider] = prices.publisher(provider_id=provider_id)
    publishers.update({provider: prices.publisher(base_url=address) for provider, address in addresses.items()})
    return publishers


def _claude(settings: ChatSettings, providers: dict[str, Provider], now: dt.datetime) -> ProviderSpec:
    setting = "ANTHROPIC_API_KEY"
    if settings.anthropic_api_key is None:
        return ProviderSpec(CLAUDE, CLAUDE_NAME, missing_setting=setting, aliases=("anthropic",))
    from services.chat.providers import models_anthropic
    from services.chat.providers.anthropic import connect_anthropic

    providers[CLAUDE] = connect_anthropic(
        CLAUDE,
        api_key=settings.anthropic_api_key.get_secret_value(),
        base_url=settings.anthropic_base_url,
        setting=setting,
        connect_seconds=settings.provider_connect_seconds,
        silence_seconds=settings.provider_silence_seconds,
        connections=settings.provider_connections,
        now=utc_now,
    )
    models = models_anthropic.anthropic_models(CLAUDE, now, only=settings.anthropic_models)
    default = _preferred(models, models_anthropic.PREFERRED)
    return ProviderSpec(CLAUDE, CLAUDE_NAME, models, default, aliases=("anthropic",))


def _openai(settings: ChatSettings, providers: dict[str, Provider], now: dt.datetime) -> ProviderSpec:
    setting = "OPENAI_API_KEY"
    if settings.openai_api_key is None:
        return ProviderSpec(OPENAI, OPENAI_NAME, missing_setting=setting)
    from services.chat.providers import models_openai
    from services.chat.providers.openai import connect_openai

    providers[OPENAI] = connect_openai(
        OPENAI,
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=settings.openai_base_url,
        setting=setting,
        connect_seconds=settings.provider_connect_seconds,
        silence_seconds=settings.provider_silence_seconds,
        connections=settings.provider_connections,
        now=utc_now,
        is_openai=True,
    )
    elsewhere = settings.openai_base_url is not None
    models = models_openai.openai_models(OPENAI, now, only=settings.openai_models, keep_withdrawn=elsewhere)
    return ProviderSpec(OPENAI, OPENAI_NAME, models, _preferred(models, models_openai.PREFERRED))


def _compatible(settings: ChatSettings, providers: dict[str, Provider], now: dt.datetime) -> Sequence[ProviderSpec]:
    if not settings.openai_compatible:
        return ()
    from services.chat.providers import models_openai
    from services.chat.providers.openai import connect_openai

    specs = []
    for endpoint in settings.openai_compatible:
        providers[endpoint.id] = connect_openai(
            endpoint.id,
            api_key=endpoint.api_key.get_secret_value(),
            base_url=endpoint.base_url,
            setting="GAIA_OPENAI_COMPATIBLE",
            connect_seconds=settings.provider_connect_seconds,
            silence_seconds=settings.provider_silence_seconds,
            connections=settings.provider_connections,
            now=utc_now,
            is_openai=False,
        )
        models = models_openai.compatible_models(endpoint.id, endpoint.base_url, endpoint.models, now)
        specs.append(ProviderSpec(endpoint.id, endpoint.name or endpoint.id, models, models[0].id))
    return specs


def _preferred(models: Sequence[ModelSpec], preferred: Sequence[str]) -> str:
    offered = {model.id for model in models}
    return next((name for name in preferred if name in offered), models[0].id)


def utc_now() -> dt.datetime:
    """The time now."""
    return dt.datetime.now(dt.UTC)
