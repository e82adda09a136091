"""Settings of the chat service."""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from services.chat.kept_ids import KEPT_IDS_DAYS
from services.chat.model_settings import ModelSettings
from shared.settings import ListenAddress, ServiceSettings

RESERVED_PROVIDER_IDS = ("claude", "anthropic", "openai", "local")


def _check_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url


def _check_id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise ValueError("must be 1 to 63 of a-z, 0-9, _ and -, a letter first")
    return name


_ID = re.compile("[a-z][a-z0-9_-]{0,62}")
HttpUrl = Annotated[str, AfterValidator(_check_url)]
ModelId = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
"""Name of a model: printable ASCII without spaces."""


class ProviderEndpoint(BaseModel):
    """One of several ways to a provider that has an SDK of its own; what it leaves out is the provider's.

    `api_key` may be several keys separated by commas, which share the endpoint's calls. An endpoint of weight 2 gets
    twice the calls of one of weight 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: HttpUrl | None = None
    api_key: SecretStr | None = None
    weight: float = Field(default=1.0, gt=0, le=1000)

    @field_validator("api_key")
    @classmethod
    def _check_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        return _without_gaps(keys)


class CompatibleEndpoint(BaseModel):
    """A provider that speaks OpenAI's chat completions.

    Its calls are shared among several keys with `api_keys`, among several servers with `base_urls`; with both, the
    first key is for the first server, and so on. `weights` say how the calls are shared, one for each; default: evenly.

    Without `models`, or with `discover`, it is asked which ones it has. `prices_of` names the provider whose published
    prices hold, as `genai-prices` names it; default: the one at that address.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, AfterValidator(_check_id)]
    name: str = Field(default="", max_length=200)
    base_url: HttpUrl | None = None
    api_key: SecretStr = SecretStr("")
    base_urls: tuple[HttpUrl, ...] = ()
    api_keys: tuple[SecretStr, ...] = ()
    weights: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = ()
    models: tuple[ModelId, ...] = ()
    discover: bool | None = None
    prices_of: str = Field(default="", max_length=64)

    @property
    def discovers(self) -> bool:
        """Whether the endpoint is asked for its models."""
        return not self.models if self.discover is None else self.discover

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if not self.models and not self.discovers:
            raise ValueError("name its models, or leave discover out: without either it has none")
        return self

    @property
    def first_url(self) -> str:
        """The address of the first server, which is asked for the models, and known by its prices."""
        return self.base_url or self.base_urls[0]

    @property
    def first_key(self) -> SecretStr:
        """The key of the first server."""
        return self.api_keys[0] if self.api_keys else self.api_key

    @model_validator(mode="after")
    def _check_endpoints(self) -> Self:
        if (self.base_url is None) == (not self.base_urls):
            raise ValueError("needs either base_url or base_urls")
        if self.api_key.get_secret_value() and self.api_keys:
            raise ValueError("takes either api_key or api_keys, not both")
        urls, keys = max(1, len(self.base_urls)), max(1, len(self.api_keys))
        if urls > 1 and keys > 1 and urls != keys:
            raise ValueError(f"{keys} api_keys do not go with {urls} base_urls; give one key, or one for each")
        if self.weights and len(self.weights) != max(urls, keys):
            raise ValueError(f"has {len(self.weights)} weights for {max(urls, keys)} endpoints; give one for each")
        return self


class ChatSettings(ServiceSettings):
    """Settings of the chat service. A provider without a key is listed as unconfigured."""

    config_section: ClassVar[str] = "chat"
    config_sections: ClassVar[tuple[str, ...]] = (
        "chat",
        "providers",
        "models",
        "aliases",
        "defaults",
        "budgets",
    )
    config_keys: ClassVar[Mapping[str, str]] = {
        "openai_api_key": "providers.openai.api_key",
        "openai_base_url": "providers.openai.base_url",
        "openai_endpoints": "providers.openai.endpoints",
        "openai_models": "providers.openai.models",
        "anthropic_api_key": "providers.anthropic.api_key",
        "anthropic_base_url": "providers.anthropic.base_url",
        "anthropic_endpoints": "providers.anthropic.endpoints",
        "anthropic_models": "providers.anthropic.models",
        "openai_compatible": "providers.compatible",
        "local_provider": "providers.local.enabled",
        "default_provider": "defaults.provider",
        "default_model": "defaults.model",
        "model_aliases": "aliases",
        "models": "models",
        "platform_monthly_budget_usd": "budgets.platform_monthly_usd",
        "user_monthly_budget_usd": "budgets.user_monthly_usd",
        "provider_connect_seconds": "chat.connect_seconds",
        "provider_silence_seconds": "chat.silence_seconds",
        "provider_total_seconds": "chat.total_seconds",
        "provider_first_token_seconds": "chat.first_token_seconds",
        "provider_connections": "chat.connections",
        "provider_retries": "chat.retries",
        "provider_retry_wait_seconds": "chat.retry_wait_seconds",
        "provider_circuit_failures": "chat.circuit_failures",
        "provider_circuit_seconds": "chat.circuit_seconds",
        "provider_probe_seconds": "chat.probe_seconds",
        "background_look_seconds": "chat.background_look_seconds",
        "background_hours": "chat.background_hours",
        "response_cache_entries": "chat.cache.max_entries",
        "response_cache_bytes": "chat.cache.max_bytes",
        "response_cache_seconds": "chat.cache.ttl_seconds",
        "rate_limit_url": "limits.store_url",
        "tokens_per_minute_per_address": "limits.tokens_per_minute_per_address",
    }

    listen: ListenAddress = "127.0.0.1:8003"
    auth_target: str = Field(default="dns:///127.0.0.1:8001")
    """gRPC target of the auth service."""

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    """One key, or several separated by commas, which share the calls."""
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    """Where OpenAI's API is, its `/v1` included. Default: the SDK's."""
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    """One key, or several separated by commas, which share the calls."""
    anthropic_base_url: str | None = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")
    """Where Anthropic's API is, without `/v1`. Default: the SDK's."""
    openai_endpoints: tuple[ProviderEndpoint, ...] = ()
    """A JSON list of {base_url, api_key, weight} that share OpenAI's calls, instead of a single address."""
    anthropic_endpoints: tuple[ProviderEndpoint, ...] = ()
    """The same for Anthropic."""
    openai_compatible: tuple[CompatibleEndpoint, ...] = ()
    """Other providers of OpenAI's dialect: a JSON list of {id, name, base_url, api_key, models}, and what else a
    CompatibleEndpoint has."""
    openai_models: tuple[str, ...] = ()
    """A JSON list of the OpenAI models to offer, instead of those that the SDK knows."""
    anthropic_models: tuple[str, ...] = ()
    """A JSON list of the Anthropic models to offer, instead of those that the SDK knows."""
    local_provider: bool = True
    """Whether the built-in development provider answers."""
    default_provider: str | None = None
    """Provider that answers when a request names none. Default: the first configured one."""
    default_model: str | None = None
    """Model that answers when a request names neither model nor provider. Default: the default provider's own."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """A JSON object of further names of models: {"fast": "claude/claude-haiku-4-5"}."""
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    """A JSON object of what is stated of models, by their ids or as `provider/model`."""

    provider_connect_seconds: float = Field(default=5.0, gt=0)
    provider_silence_seconds: float = Field(default=120.0, gt=0)
    """How long a provider may send nothing: before its first byte, and between two."""
    provider_total_seconds: float = Field(default=590.0, gt=0)
    """Longest time of a whole reply; below the ten minutes that a completion may take at the edge."""
    provider_first_token_seconds: float = Field(default=120.0, gt=0)
    """How long a stream may take to its first token before another provider is tried, whatever else it sends."""
    provider_connections: int = Field(default=1000, ge=1)
    """Most connections to one endpoint of a provider at a time."""
    provider_retries: int = Field(default=2, ge=0, le=10)
    """How often a provider that failed before its first word is asked again for one request; never for a fifth of all
    requests or more."""
    provider_retry_wait_seconds: float = Field(default=5.0, ge=0)
    """Longest wait before a provider is asked again. One that asks for a longer one is not: the client is told."""
    provider_circuit_failures: int = Field(default=5, ge=0)
    """How many requests in a row fail at an endpoint until it is left alone for a while; 0 never leaves it alone."""
    provider_circuit_seconds: float = Field(default=5.0, gt=0, le=60)
    """How long it is left alone at first. A single call tries it then; each time in vain doubles it, to a minute."""
    provider_probe_seconds: float = Field(default=60.0, ge=0)
    """An endpoint without a call for so long is asked for its models, which costs nothing; 0 never asks."""

    background_look_seconds: float = Field(default=2.0, gt=0, le=60)
    """Pause before a provider is asked how far a response in the background is; each look doubles it, to a minute."""
    background_hours: float = Field(default=24.0, gt=0, le=24 * 30)
    """How long a response may be made in the background; then it is ended, and booked at the most that it can cost."""

    platform_monthly_budget_usd: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Most that all calls together may cost in a calendar month (UTC), in USD; unset, there is no limit."""
    user_monthly_budget_usd: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The same for each user without a budget of their own."""
    response_cache_entries: int = Field(default=0, ge=0, le=1_000_000)
    """How many replies are kept to answer the same request of the same user with; 0 keeps none."""
    response_cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Most bytes of replies that are kept."""
    response_cache_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """How long a reply is kept."""
    idempotency_hours: int = Field(default=24, ge=1, le=24 * 30)
    """How long the reply to a request with an Idempotency-Key is kept for its repetitions."""
    kept_ids_days: int = Field(default=KEPT_IDS_DAYS, ge=1, le=3650)
    """How long a user may name what a provider keeps (a reply, a sandbox) after last being told of it. The default is
    a day more than OpenAI and Anthropic keep any of it."""
    ledger_grace_seconds: float = Field(default=60.0, ge=0)
    """How long after its deadline a call may still be settling before the ledger has it as interrupted."""
    call_journal: Path | None = None
    """A folder of this machine for files of the calls under way, one a process, all for this database. With it, a call
    that no budget holds is dispatched before the database knows of it. Default: the database is told first."""
    rate_limit_url: SecretStr | None = None
    """Redis or Valkey that counts tokens a minute for several processes. Default: each counts by itself."""
    tokens_per_minute_per_address: int = Field(default=0, ge=0)
    """Most tokens a minute from one address, of all keys together; 0 is no limit."""

    @field_validator("openai_api_key", "anthropic_api_key")
    @classmethod
    def _keys(cls, keys: SecretStr | None) -> SecretStr | None:
        return _without_gaps(keys)

    @field_validator("openai_endpoints", "anthropic_endpoints")
    @classmethod
    def _have_keys(cls, endpoints: tuple[ProviderEndpoint, ...], info: ValidationInfo) -> tuple[ProviderEndpoint, ...]:
        shared = f"{str(info.field_name).removesuffix('_endpoints')}_api_key"
        # Where the provider's own key is wrong, that is what has to be told.
        if info.data.get(shared) is None and shared in info.data:
            for number, endpoint in enumerate(endpoints, 1):
                if endpoint.api_key is None:
                    raise ValueError(f"number {number} has no api_key, and the provider has none for all of them")
        return endpoints

    @property
    def has_openai(self) -> bool:
        """Whether there is a key for OpenAI."""
        return self.openai_api_key is not None or bool(self.openai_endpoints)

    @property
    def has_anthropic(self) -> bool:
        """Whether there is a key for Anthropic."""
        return self.anthropic_api_key is not None or bool(self.anthropic_endpoints)

    @field_validator("openai_compatible")
    @classmethod
    def _distinct_ids(cls, endpoints: tuple[CompatibleEndpoint, ...]) -> tuple[CompatibleEndpoint, ...]:
        ids = [endpoint.id for endpoint in endpoints]
        for number, endpoint_id in enumerate(ids):
            if endpoint_id in RESERVED_PROVIDER_IDS or endpoint_id in ids[:number]:
                raise ValueError(f"the id {endpoint_id} is taken; give each endpoint an id of its own")
        return endpoints


def _without_gaps(keys: SecretStr | None) -> SecretStr | None:
    if keys is not None and not all(split_keys(keys)):
        raise ValueError("is a list with an empty place; separate keys by one comma")
    return keys


def split_keys(keys: SecretStr) -> list[str]:
    """Returns the keys of a list separated by commas; no key holds a comma."""
    return [key.strip() for key in keys.get_secret_value().split(",")]
