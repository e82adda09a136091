"""The adapters of the configured providers, from the settings."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import SecretStr

from services.chat.listing import CLAUDE, CLAUDE_SETTING, LOCAL, OPENAI, OPENAI_SETTING
from services.chat.providers.base import Provider
from services.chat.providers.local import LocalProvider
from services.chat.resilience.circuit import CircuitRules
from services.chat.resilience.pool import Pool
from services.chat.settings import ChatSettings, CompatibleEndpoint, ProviderEndpoint, split_keys

COMPATIBLE_SETTING = "GAIA_OPENAI_COMPATIBLE"
ABOUT_MODELS = ("name", "models", "discover", "prices_of")
"""Settings of a compatible provider that are nothing to its adapters."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a provider's adapters are made. With the same `settings`, they would be the same ones."""

    settings: Any
    connect: Callable[[], Pool]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to a provider. Without a `base_url` it is the SDK's; weight 2 gets twice the calls of weight 1."""

    base_url: str | None
    api_key: str = field(repr=False)
    weight: float = 1.0


def ways_of(settings: ChatSettings) -> Mapping[str, Way]:
    """Returns how the adapters of all configured providers are made, by the provider's id."""
    common = {name: getattr(settings, name) for name in ChatSettings.model_fields if name.startswith("provider_")}
    ways: dict[str, Way] = {}
    if settings.has_anthropic:
        key, url = settings.anthropic_api_key, settings.anthropic_base_url
        claude = _own_endpoints(settings.anthropic_endpoints, key, url)
        ways[CLAUDE] = Way((claude, common), partial(_claude, settings, claude))
    if settings.has_openai:
        openai = _own_endpoints(settings.openai_endpoints, settings.openai_api_key, settings.openai_base_url)
        ways[OPENAI] = Way((openai, common), partial(_openai, settings, openai))
    for provider in settings.openai_compatible:
        own = provider.model_dump(exclude=set(ABOUT_MODELS))
        ways[provider.id] = Way((own, common), partial(_compatible, settings, provider))
    if settings.local_provider:
        ways[LOCAL] = Way((), _local)
    return ways


def connect_providers(ways: Mapping[str, Way]) -> dict[str, Pool]:
    """Makes the adapters; connects to nothing yet. The SDK of a provider without a key is not loaded."""
    return {provider: way.connect() for provider, way in ways.items()}


def _own_endpoints(
    stated: Sequence[ProviderEndpoint], shared_key: SecretStr | None, shared_url: str | None
) -> Sequence[Endpoint]:
    """Returns the endpoints of a provider with an SDK of its own; the keys of one share what it weighs."""
    endpoints = []
    for one in stated or (ProviderEndpoint(),):
        given = one.api_key or shared_key
        assert given is not None
        keys = split_keys(given)
        endpoints += [Endpoint(one.base_url or shared_url, key, one.weight / len(keys)) for key in keys]
    return endpoints


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


def _claude(settings: ChatSettings, endpoints: Sequence[Endpoint]) -> Pool:
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

    return build_pool(settings, endpoints, connect, _setting(settings.anthropic_endpoints, CLAUDE_SETTING))


def _openai(settings: ChatSettings, endpoints: Sequence[Endpoint]) -> Pool:
    setting = _setting(settings.openai_endpoints, OPENAI_SETTING)
    return build_pool(settings, endpoints, _openai_connector(settings, OPENAI, is_openai=True), setting)


def _compatible(settings: ChatSettings, provider: CompatibleEndpoint) -> Pool:
    connect = _openai_connector(settings, provider.id, is_openai=False)
    return build_pool(settings, compatible_endpoints(provider), connect, COMPATIBLE_SETTING)


def _setting(stated: Sequence[ProviderEndpoint], of_the_key: str) -> str:
    """Returns where the keys of a provider's endpoints come from."""
    return f"{of_the_key} or the endpoints' keys" if stated else of_the_key


def _local() -> Pool:
    return Pool([(LocalProvider(), 1.0)], CircuitRules(failures=0))


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


def utc_now() -> dt.datetime:
    """The time now."""
    return dt.datetime.now(dt.UTC)
