"""Settings from the environment: what each process needs, checked at start."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableSetting


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
    if not address.startswith("unix:"):
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
"""`HOST:PORT` to listen on, or `unix:PATH`."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a process finds its certificate, the key of it, and the authority of everybody's certificates, all PEM."""

    certificate: Path
    key: Path
    authority: Path


class CommonSettings(BaseSettings):
    """Settings of every process. The three for TLS stand together: with them, every gRPC call is made over it."""

    # Compose files and shells pass a variable that nobody set as an empty one.
    model_config = SettingsConfigDict(
        env_prefix="GAIA_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    env: str = Field(default="dev", pattern="^[a-z][a-z0-9]{0,15}$")
    """Environment that keys and identities belong to."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """Least severity that is logged."""
    drain_seconds: float = Field(default=8.0, ge=0, le=300)
    """How long calls in flight may go on after SIGTERM."""
    tls_cert: Path | None = Field(default=None)
    """Certificate of this process, PEM, with what chains it to the authority."""
    tls_key: Path | None = Field(default=None)
    """Private key of the certificate, PEM, without a password."""
    tls_ca: Path | None = Field(default=None)
    """Authority that the certificates of all processes must come from, PEM."""
    metrics_listen: ListenAddress | None = Field(default=None)
    """Address to serve metrics for Prometheus on; unset, they are not served."""
    allow_plaintext: bool = Field(default=False)
    """Listen without TLS on more than loopback, because the network itself is private or encrypted."""

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files for TLS, None when it is not used."""
        if self.tls_cert is None or self.tls_key is None or self.tls_ca is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_ca)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        given = {"GAIA_TLS_CERT": self.tls_cert, "GAIA_TLS_KEY": self.tls_key, "GAIA_TLS_CA": self.tls_ca}
        missing = [name for name, path in given.items() if path is None]
        if 0 < len(missing) < len(given):
            raise ValueError(f"{', '.join(missing)}: needed beside the other settings for TLS")
        return self


class ServiceSettings(CommonSettings):
    """Settings of every gRPC service."""

    listen: ListenAddress
    """Address to listen on; loopback unless told otherwise."""
    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")
    """Postgres, with the service's own role."""
    database_pool_size: int = Field(default=10, ge=1, le=500)
    """Most connections to Postgres."""
    allowed_callers: str = "edge"
    """Names of the processes that may call, separated by commas; looked for in the certificates, so only with TLS."""

    @property
    def caller_names(self) -> tuple[str, ...]:
        """The names in `allowed_callers`."""
        return tuple(self.allowed_callers.replace(",", " ").split())

    @model_validator(mode="after")
    def _check_plaintext(self) -> Self:
        refuse_open_plaintext("GAIA_LISTEN", self.listen, self)
        return self


def refuse_open_plaintext(variable: str, address: str, settings: CommonSettings) -> None:
    """Raises ValueError when an address that others can reach is to be listened on without TLS."""
    if settings.tls_files is not None or settings.allow_plaintext or is_private(address):
        return
    raise ValueError(
        f"{variable}: {address} can be reached from elsewhere, so set GAIA_TLS_CERT, GAIA_TLS_KEY and GAIA_TLS_CA; "
        "or GAIA_ALLOW_PLAINTEXT=true where the network itself is private"
    )


def is_private(address: str) -> bool:
    """Whether only this machine can reach an address: a loopback one, or a Unix socket."""
    if address.startswith("unix:"):
        return True
    host = split_listen_address(address)[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """Reads settings from the environment. Raises SettingsError that names all faulty variables at once."""
    try:
        return settings()
    except ValidationError as error:
        faults = [_describe(settings, fault["loc"], fault["msg"]) for fault in error.errors(include_input=False)]
        raise SettingsError("; ".join(faults)) from None
    except UnreadableSetting as error:
        # Lists and objects are read as JSON before anything is validated; only the message says which one it was.
        named = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(_describe(settings, (named[1],) if named else (), "must be JSON")) from None


def _describe(settings: type[BaseSettings], location: tuple[int | str, ...], message: str) -> str:
    if not location:  # a rule about several settings, which names them itself
        return message.removeprefix("Value error, ")
    name = str(location[0])
    field = settings.model_fields.get(name)
    variable = name if field is None else str(field.validation_alias or f"GAIA_{name.upper()}")
    return f"{variable}: {message.removeprefix('Value error, ')}"
