"""Settings of the chat service."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from shared.settings import ListenAddress, ServiceSettings

RESERVED_PROVIDER_IDS = ("claude", "anthropic", "openai", "local")


class CompatibleEndpoint(BaseModel):
    """An endpoint that speaks OpenAI's chat completions. Without `models` it cannot be used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[a-z][a-z0-9_-]{0,62}$")
    name: str = Field(default="", max_length=200)
    base_url: str = Field(pattern="^https?://")
    api_key: SecretStr = SecretStr("")
    models: tuple[str, ...] = Field(min_length=1)


class ChatSettings(ServiceSettings):
    """Settings of the chat service. A provider without a key is listed as unconfigured."""

    listen: ListenAddress = "127.0.0.1:8003"
    auth_target: str = Field(default="dns:///127.0.0.1:8001")
    """gRPC target of the auth service."""

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    """Where OpenAI's API is, its `/v1` included. Default: the SDK's."""
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: str | None = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")
    """Where Anthropic's API is, without `/v1`. Default: the SDK's."""
    openai_compatible: tuple[CompatibleEndpoint, ...] = ()
    """Other endpoints of OpenAI's dialect: a JSON list of {id, name, base_url, api_key, models}."""
    openai_models: tuple[str, ...] = ()
    """A JSON list of the OpenAI models to offer, instead of those that the SDK knows."""
    anthropic_models: tuple[str, ...] = ()
    """A JSON list of the Anthropic models to offer, instead of those that the SDK knows."""
    local_provider: bool = True
    """Whether the built-in development provider answers."""
    default_provider: str | None = None
    """Provider that answers when a request names none. Default: the first configured one."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """A JSON object of further names of models: {"fast": "claude/claude-haiku-4-5"}."""

    provider_connect_seconds: float = Field(default=5.0, gt=0)
    provider_silence_seconds: float = Field(default=120.0, gt=0)
    """How long a provider may send nothing: before its first byte, and between two."""
    provider_total_seconds: float = Field(default=590.0, gt=0)
    """Longest time of a whole reply; below the ten minutes that a completion may take at the edge."""
    provider_connections: int = Field(default=1000, ge=1)
    """Most connections to one provider at a time."""

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
    ledger_grace_seconds: float = Field(default=60.0, ge=0)
    """How long after its deadline a call may still be settling before the ledger has it as interrupted."""
    rate_limit_url: SecretStr | None = None
    """Redis or Valkey that counts tokens a minute for several processes. Default: each counts by itself."""

    @field_validator("openai_compatible")
    @classmethod
    def _distinct_ids(cls, endpoints: tuple[CompatibleEndpoint, ...]) -> tuple[CompatibleEndpoint, ...]:
        ids = [endpoint.id for endpoint in endpoints]
        for number, endpoint_id in enumerate(ids):
            if endpoint_id in RESERVED_PROVIDER_IDS or endpoint_id in ids[:number]:
                raise ValueError(f"the id {endpoint_id} is taken; give each endpoint an id of its own")
        return endpoints
