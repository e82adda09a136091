"""Settings of the chat service."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from shared.settings import ListenAddress, ServiceSettings

RESERVED_PROVIDER_IDS = ("claude", "anthropic", "openai", "local")


def _empty_is_none(value: object) -> object:
    # Compose files pass a variable that nobody set as an empty one.
    return None if value == "" else value


OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_none)]


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

    openai_api_key: OptionalSecret = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: OptionalText = Field(default=None, validation_alias="OPENAI_BASE_URL")
    """Where OpenAI's API is, its `/v1` included. Default: the SDK's."""
    anthropic_api_key: OptionalSecret = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: OptionalText = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")
    """Where Anthropic's API is, without `/v1`. Default: the SDK's."""
    openai_compatible: tuple[CompatibleEndpoint, ...] = ()
    """Other endpoints of OpenAI's dialect: a JSON list of {id, name, base_url, api_key, models}."""
    openai_models: tuple[str, ...] = ()
    """A JSON list of the OpenAI models to offer, instead of those that the SDK knows."""
    anthropic_models: tuple[str, ...] = ()
    """A JSON list of the Anthropic models to offer, instead of those that the SDK knows."""
    local_provider: bool = True
    """Whether the built-in development provider answers."""
    default_provider: OptionalText = None
    """Provider that answers when a request names none. Default: the first configured one."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """A JSON object of further names of models: {"fast": "claude/claude-haiku-4-5"}."""

    platform_monthly_budget_usd: Decimal | None = Field(default=None, ge=0)
    """Most that all users together may spend in a calendar month (UTC). Default: no limit."""
    user_monthly_budget_usd: Decimal | None = Field(default=None, ge=0)
    """The same for each user who has no budget of its own."""
    idempotency_hours: int = Field(default=24, ge=1)
    """How long the answer to a request with an Idempotency-Key is kept."""
    rate_limit_url: SecretStr | None = None
    """Redis or Valkey that counts tokens a minute for several processes. Default: each counts by itself."""

    provider_connect_seconds: float = Field(default=5.0, gt=0)
    provider_silence_seconds: float = Field(default=120.0, gt=0)
    """How long a provider may send nothing: before its first byte, and between two."""
    provider_total_seconds: float = Field(default=590.0, gt=0)
    """Longest time of a whole reply; below the ten minutes that a completion may take at the edge."""
    provider_connections: int = Field(default=1000, ge=1)
    """Most connections to one provider at a time."""

    @field_validator("openai_compatible")
    @classmethod
    def _distinct_ids(cls, endpoints: tuple[CompatibleEndpoint, ...]) -> tuple[CompatibleEndpoint, ...]:
        ids = [endpoint.id for endpoint in endpoints]
        for number, endpoint_id in enumerate(ids):
            if endpoint_id in RESERVED_PROVIDER_IDS or endpoint_id in ids[:number]:
                raise ValueError(f"the id {endpoint_id} is taken; give each endpoint an id of its own")
        return endpoints
