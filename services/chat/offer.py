"""What this installation offers, from its settings: the adapters of the configured providers, and their catalogue."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec
from services.chat.pricing import PriceBook, Publisher, free
from services.chat.providers.base import Provider
from services.chat.providers.local import LocalProvider, local_spec
from services.chat.resilience.circuit import CircuitRules
from services.chat.resilience.pool import Pool
from services.chat.settings import ChatSettings, CompatibleEndpoint, split_keys
from shared.settings import SettingsError

CLAUDE, CLAUDE_NAME = "claude", "Anthropic Claude"
OPENAI, OPENAI_NAME = "openai", "OpenAI"


@dataclass(frozen=True, slots=True)
class Offer:
    """The catalogue, the endpoints of each configured provider by its id, and what their models cost."""

    catalogue: Catalogue
    providers: Mapping[str, Pool]
    prices: PriceBook


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to a provider. Without a `base_url` it is the SDK's; weight 2 gets twice the calls of weight 1."""

    base_url: str | None
    api_key: str = field(repr=False)
    weight: float = 1.0


def build_offer(settings: ChatSettings, now: dt.datetime) -> Offer:
    """Makes the adapters and their catalogue; connects to nothing. Raises SettingsError.

    The order is the one in which a default provider is looked for. The SDK of a provider without a key is not loaded.
    """
    specs: list[ProviderSpec] = []
    pools: dict[str, Pool] = {}
    specs.append(_claude(settings, pools, now))
    specs.append(_openai(settings, pools, now))
    specs.extend(_compatible(settings, pools, now))
    if settings.local_provider:
        pools["local"] = Pool([(LocalProvider(), 1.0)], CircuitRules(failures=0))
        specs.append(local_spec())
    try:
        catalogue = Catalogue(specs, settings.model_aliases, settings.default_provider or "")
    except ValueError as error:
        raise SettingsError(f"GAIA_MODEL_ALIASES or GAIA_DEFAULT_PROVIDER: {error}") from error
    return Offer(catalogue, pools, PriceBook(_publishers(settings, pools)))


def _publishers(settings: ChatSettings, pools: Mapping[str, Pool]) -> dict[str, Publisher]:
    publishers: dict[str, Publisher] = {"local": free} if "local" in pools else {}
    if pools.keys() <= publishers.keys():
        return publishers
    from services.chat.providers import prices

    addresses = {one.id: compatible_endpoints(one)[0].base_url for one in settings.openai_compatible}
    for provider, provider_id in ((CLAUDE, "anthropic"), (OPENAI, "openai")):
        if provider in pools:
            publishers[provider] = prices.publisher(provider_id=provider_id)
    publishers.update({provider: prices.publisher(base_url=address) for provider, address in addresses.items()})
    return publishers


def _claude(settings: ChatSettings, pools: dict[str, Pool], now: dt.datetime) -> ProviderSpec:
    setting = "ANTHROPIC_API_KEY"
    if settings.anthropic_api_key is None:
        return ProviderSpec(CLAUDE, CLAUDE_NAME, missing_setting=setting, aliases=("anthropic",))
    from services.chat.providers import models_anthropic
    from services.chat.providers.anthropic import connect_anthropic

    def connect(endpoint: Endpoint, where: str) -> Provider:
        return connect_anthropic(
            CLAUDE,
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            setting=where,
            connect_seconds=settings.provider_connect_seconds,
            silence_seconds=settings.provider_silence_seconds,
            connections=settings.provider_connections,
            now=utc_now,
        )

    endpoints = [Endpoint(settings.anthropic_base_url, key) for key in split_keys(settings.anthropic_api_key)]
    pools[CLAUDE] = build_pool(settings, endpoints, connect, setting)
    models = models_anthropic.anthropic_models(CLAUDE, now, only=settings.anthropic_models)
    default = _preferred(models, models_anthropic.PREFERRED)
    return ProviderSpec(CLAUDE, CLAUDE_NAME, models, default, aliases=("anthropic",))


def _openai(settings: ChatSettings, pools: dict[str, Pool], now: dt.datetime) -> ProviderSpec:
    setting = "OPENAI_API_KEY"
    if settings.openai_api_key is None:
        return ProviderSpec(OPENAI, OPENAI_NAME, missing_setting=setting)
    from services.chat.providers import models_openai

    endpoints = [Endpoint(settings.openai_base_url, key) for key in split_keys(settings.openai_api_key)]
    connect = _openai_connector(settings, OPENAI, is_openai=True)
    pools[OPENAI] = build_pool(settings, endpoints, connect, setting)
    elsewhere = settings.openai_base_url is not None
    models = models_openai.openai_models(OPENAI, now, only=settings.openai_models, keep_withdrawn=elsewhere)
    return ProviderSpec(OPENAI, OPENAI_NAME, models, _preferred(models, models_openai.PREFERRED))


def _compatible(settings: ChatSettings, pools: dict[str, Pool], now: dt.datetime) -> Sequence[ProviderSpec]:
    if not settings.openai_compatible:
        return ()
    from services.chat.providers import models_openai

    specs = []
    for provider in settings.openai_compatible:
        endpoints = compatible_endpoints(provider)
        connect = _openai_connector(settings, provider.id, is_openai=False)
        pools[provider.id] = build_pool(settings, endpoints, connect, "GAIA_OPENAI_COMPATIBLE")
        models = models_openai.compatible_models(provider.id, endpoints[0].base_url or "", provider.models, now)
        specs.append(ProviderSpec(provider.id, provider.name or provider.id, models, models[0].id))
    return specs


def compatible_endpoints(provider: CompatibleEndpoint) -> Sequence[Endpoint]:
    """Returns the endpoints of a provider that speaks OpenAI's dialect."""
    urls: tuple[str | None, ...] = provider.base_urls or (provider.base_url,)
    keys = [key.get_secret_value() for key in provider.api_keys or (provider.api_key,)]
    count = max(len(urls), len(keys))
    urls, keys = urls * count if len(urls) == 1 else urls, keys * count if len(keys) == 1 else keys
    weights = provider.weights or (1.0,) * count
    return [Endpoint(url, key, weight) for url, key, weight in zip(urls, keys, weights, strict=True)]


def build_pool(
    settings: ChatSettings, endpoints: Sequence[Endpoint], connect: Callable[[Endpoint, str], Provider], setting: str
) -> Pool:
    """Makes the pool of a provider's endpoints.

    `connect` makes the adapter of one, and is told what to name to the operator when its key is refused.
    """
    count = len(endpoints)
    names = [setting if count == 1 else f"{setting} ({number} of {count})" for number in range(1, count + 1)]
    return Pool(
        [(connect(one, name), one.weight) for one, name in zip(endpoints, names, strict=True)],
        CircuitRules(failures=settings.provider_circuit_failures, open_seconds=settings.provider_circuit_seconds),
    )


def _openai_connector(settings: ChatSettings, provider: str, *, is_openai: bool) -> Callable[[Endpoint, str], Provider]:
    from services.chat.providers.openai import connect_openai

    def connect(endpoint: Endpoint, where: str) -> Provider:
        return connect_openai(
            provider,
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            setting=where,
            connect_seconds=settings.provider_connect_seconds,
            silence_seconds=settings.provider_silence_seconds,
            connections=settings.provider_connections,
            now=utc_now,
            is_openai=is_openai,
        )

    return connect


def _preferred(models: Sequence[ModelSpec], preferred: Sequence[str]) -> str:
    offered = {model.id for model in models}
    return next((name for name in preferred if name in offered), models[0].id)


def utc_now() -> dt.datetime:
    """The time now."""
    return dt.datetime.now(dt.UTC)
