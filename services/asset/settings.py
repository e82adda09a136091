"""Settings of the asset service."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from shared.settings import ListenAddress, RateLimitUrl, ServiceSettings


def _check_key(key: SecretStr) -> SecretStr:
    # The chat service shares its calls among several keys; images are asked for with the first.
    text = key.get_secret_value().split(",")[0].strip()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("must be a key as the provider shows it: printable ASCII without spaces")
    return SecretStr(text)


def _check_base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("must be an http or https URL without credentials, such as https://api.openai.com/v1")
    return url


def _default_asset_store() -> str:
    return (Path.cwd() / ".gaia" / "assets").as_uri()


class AssetSettings(ServiceSettings):
    """Settings of the asset service. Without a key for OpenAI it starts, and generates nothing."""

    config_section: ClassVar[str] = "asset"
    config_sections: ClassVar[tuple[str, ...]] = ("asset",)
    config_keys: ClassVar[Mapping[str, str]] = {
        "asset_store": "asset.store",
        "openai_api_key": "providers.openai.api_key",
        "openai_base_url": "providers.openai.base_url",
        "platform_monthly_budget_usd": "budgets.platform_monthly_usd",
        "user_monthly_budget_usd": "budgets.user_monthly_usd",
        "rate_limit_url": "limits.store_url",
        "tokens_per_minute_per_address": "limits.tokens_per_minute_per_address",
    }

    listen: ListenAddress = "127.0.0.1:8002"
    auth_target: str = "dns:///127.0.0.1:8001"
    """gRPC target of the auth service."""
    asset_store: str = Field(default_factory=_default_asset_store)
    """Where bytes are kept: file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."""
    openai_api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        default=None, validation_alias="OPENAI_API_KEY"
    )
    """Key for the OpenAI Images API; of several, separated by commas, the first."""
    openai_base_url: Annotated[str, AfterValidator(_check_base_url)] = Field(
        default="https://api.openai.com/v1", validation_alias="OPENAI_BASE_URL"
    )
    """Base URL of the OpenAI API, or of an endpoint that speaks it."""
    image_model: str = Field(default="gpt-image-2.5-flare", min_length=1, max_length=128)
    """Model that makes images where a request names none."""
    image_timeout_seconds: float = Field(default=240.0, gt=0, le=600)
    """Longest time for one image; stays below the 300 seconds that the contract gives a generation."""
    max_generations: int = Field(default=16, ge=1, le=256)
    """Most generations at a time; each may hold some 80 MiB when a reply is as long as is taken."""
    platform_monthly_budget_usd: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Most that all calls together may cost in a calendar month (UTC), those of chat included; unset, no limit."""
    user_monthly_budget_usd: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The same for each user without a budget of their own."""
    rate_limit_url: RateLimitUrl | None = Field(default=None)
    """Redis or Valkey that counts tokens a minute for several processes. Default: each counts by itself."""
    tokens_per_minute_per_address: int = Field(default=0, ge=0)
    """Most tokens a minute from one address, of all keys together; 0 is no limit."""
