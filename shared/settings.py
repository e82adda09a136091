"""Settings from the environment: what each process needs, checked at start."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names each variable and what would be right."""


def normalise_database_url(url: str) -> str:
    """Returns the URL with the scheme that every driver takes.

    Platforms hand out `postgres://`; only that leading scheme is changed. Raises ValueError for any other scheme than
    `postgres` and `postgresql`, without repeating the URL, which may hold a password.
    """
    if url.startswith("postgresql://"):
        return url
    if url.startswith("postgres://"):
        return "postgresql://" + url.removeprefix("postgres://")
    raise ValueError("must start with postgresql:// or postgres://")


def _normalise_secret_url(url: SecretStr) -> SecretStr:
    return SecretStr(normalise_database_url(url.get_secret_value()))


def _check_listen_address(address: str) -> str:
    split_listen_address(address)
    return address


def split_listen_address(address: str) -> tuple[str, int]:
    """Splits `HOST:PORT`; an IPv6 host stands in brackets. Raises ValueError when it is something else."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8001 or [::]:8001")
    return host, int(port)


def _check_rate_limit_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(RATE_LIMIT_SCHEMES):
        raise ValueError(f"must start with one of {', '.join(RATE_LIMIT_SCHEMES)}")
    return url


RATE_LIMIT_SCHEMES = ("redis://", "rediss://", "redis+unix://", "valkey://", "valkeys://", "valkey+unix://")

RateLimitUrl = Annotated[SecretStr, AfterValidator(_check_rate_limit_url)]
"""URL of a Redis or Valkey, kept from logs and messages."""

DatabaseUrl = Annotated[SecretStr, AfterValidator(_normalise_secret_url)]
"""A Postgres URL, kept from logs and messages; `postgres://` becomes `postgresql://`."""

ListenAddress = Annotated[str, AfterValidator(_check_listen_address)]
"""`HOST:PORT` to listen on."""


class CommonSettings(BaseSettings):
    """Settings of every process."""

    model_config = SettingsConfigDict(env_prefix="GAIA_", frozen=True, extra="ignore", populate_by_name=True)

    env: str = Field(default="dev", pattern="^[a-z][a-z0-9]{0,15}$")
    """Environment that keys and identities belong to."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """Least severity that is logged."""
    drain_seconds: float = Field(default=8.0, ge=0, le=300)
    """How long calls in flight may go on after SIGTERM."""


class ServiceSettings(CommonSettings):
    """Settings of every gRPC service."""

    listen: ListenAddress
    """Address to listen on; loopback unless told otherwise."""
    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")
    """Postgres, with the service's own role."""
    database_pool_size: int = Field(default=10, ge=1, le=500)
    """Most connections to Postgres."""


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """Reads settings from the environment. Raises SettingsError that names all faulty variables at once."""
    try:
        return settings()
    except ValidationError as error:
        faults = [_describe(settings, fault["loc"], fault["msg"]) for fault in error.errors(include_input=False)]
        raise SettingsError("; ".join(faults)) from None


def _describe(settings: type[BaseSettings], location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]) if location else ""
    field = settings.model_fields.get(name)
    variable = name if field is None else str(field.validation_alias or f"GAIA_{name.upper()}")
    return f"{variable}: {message.removeprefix('Value error, ')}"
