"""Settings from the environment and from `gaia.toml`: what each process needs, checked at start."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableSetting

from shared.config_file import ConfigFile, ConfigFileError, Key, config_for, key_text
from shared.config_keys import ConfigFault, ConfigValue, extra_key_message, read_values, variable_of


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


HELD_BYTES = 512 << 20
"""Room for ten requests of the largest size, or hundreds with a picture."""

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
    """Settings of every process. The three for TLS stand together: with them, every gRPC call is made over it.

    `config_section` is where a process's settings stand in the file, `config_sections` are those that no other process
    answers for: what is wrong with their keys is told by this one, which leaves those in `config_others` to others.
    `config_keys` are the keys of fields that do not stand by their own names in the section.
    """

    config_section: ClassVar[str] = "common"
    config_sections: ClassVar[tuple[str, ...]] = ()
    config_others: ClassVar[tuple[str, ...]] = ()
    config_keys: ClassVar[Mapping[str, str]] = {}

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
    otlp_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT", pattern="^https?://[^ ]+$"
    )
    """Where spans are sent by OTLP over HTTP, such as `http://127.0.0.1:4318`; unset, none are made."""
    allow_plaintext: bool = Field(default=False)
    """Listen without TLS on more than loopback, because the network itself is private or encrypted."""
    rpc_server: Literal["http2", "grpc"] = "http2"
    """What the services answer with: `http2` is a server of Gaia's own, `grpc` the gRPC library's."""
    rpc_max_connections: int = Field(default=1000, ge=1, le=100_000)
    """Most connections to a service; who comes then is told so and tries again. With `http2` only."""
    rpc_max_held_bytes: int = Field(default=HELD_BYTES, ge=64 << 20)
    """Memory for large requests, in all, of each service; what is beyond ends as 429. With `http2` only."""

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

    config_section: ClassVar[str] = ""

    listen: ListenAddress
    """Address to listen on; loopback unless told otherwise."""
    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")
    """Postgres, with the service's own role."""
    database_pool_size: int = Field(default=10, ge=1, le=500)
    """Most connections to Postgres."""
    allowed_callers: str = "edge"
    """Names of the processes that may call, separated by commas; looked for in the certificates, so only with TLS."""

    address_callers: str = "edge"
    """Names of those among them that are believed about the address of the client that they call for."""

    @property
    def caller_names(self) -> tuple[str, ...]:
        """The names in `allowed_callers`."""
        return _names(self.allowed_callers)

    @property
    def speaker_names(self) -> tuple[str, ...]:
        """The names in `address_callers`."""
        return _names(self.address_callers)

    @model_validator(mode="after")
    def _check_plaintext(self) -> Self:
        refuse_open_plaintext("GAIA_LISTEN", self.listen, self)
        return self


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


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

_PLAINER = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "date_type": "must be a date, such as 2027-06-30",
    "date_parsing": "must be a date, such as 2027-06-30",
    "date_from_datetime_parsing": "must be a date, such as 2027-06-30",
    "date_from_datetime_inexact": "must be a date without a time, such as 2027-06-30",
}
"""What is told in place of pydantic's words about its own types."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a setting; `name` is the variable, or the key of the file, whose line is told if known."""

    name: str
    message: str
    line: int | None = None
    kind: str = ""
    """pydantic's name of the fault, such as `missing`."""

    def told(self, path: Path | None) -> str:
        """Returns it in one line that begins with the place: in the file at `path`, or the variable."""
        place = f"{path}:{self.line}: " if self.line else ""
        return f"{place}{self.name}: {self.message}" if self.name else f"{place}{self.message}"


def load(settings: type[S]) -> S:
    """Reads settings from the environment and, for what it does not say, from the file.

    Raises SettingsError that names all that is wrong at once, in one line.
    """
    try:
        file = config_for()
    except ConfigFileError as error:
        raise SettingsError(str(error)) from None
    loaded, faults = load_from(settings, file)
    if loaded is None or faults:
        raise SettingsError("; ".join(fault.told(file.path if file else None) for fault in faults))
    return loaded


def load_from(
    settings: type[S],
    file: ConfigFile | None,
    *,
    prefer_file: bool = False,
    assumed: Mapping[str, Any] | None = None,
) -> tuple[S | None, Sequence[Fault]]:
    """Reads settings from the environment and a file; returns them, unless they cannot be had, and what is wrong.

    The environment goes before the file unless `prefer_file`, which finds what is wrong with the file whatever is set.
    `assumed` are values by field for what neither says.
    """
    values: dict[str, ConfigValue] = {}
    faults: list[Fault] = []
    if file is not None:
        values, of_keys = read_values(settings, file)
        faults += (_of_file(file, fault) for fault in of_keys)
    if not prefer_file:
        said = {name.upper() for name, value in os.environ.items() if value}
        values = {field: value for field, value in values.items() if variable_of(settings, field) not in said}
    given = {field: value.value for field, value in values.items()}
    for field, value in (assumed or {}).items():
        if not os.environ.get(variable_of(settings, field)):
            given.setdefault(field, value)
    loaded = None
    try:
        loaded = settings(**given)
    except ValidationError as error:
        faults += (
            _fault(settings, file, values, fault["loc"], fault["msg"], fault["type"])
            for fault in error.errors(include_input=False, include_url=False)
        )
    except UnreadableSetting as error:
        # Lists and objects are read as JSON before anything is validated; only the message says which one it was.
        named = re.search(r'field "(\w+)"', str(error))
        faults.append(Fault(variable_of(settings, named[1]) if named else "", "must be JSON"))
    return loaded, sorted(faults, key=lambda one: one.line or 0)


def _of_file(file: ConfigFile, fault: ConfigFault) -> Fault:
    return Fault(key_text(fault.key), fault.message, file.line(fault.key))


def _fault(
    settings: type[BaseSettings],
    file: ConfigFile | None,
    values: Mapping[str, ConfigValue],
    location: tuple[int | str, ...],
    message: str,
    kind: str,
) -> Fault:
    message = _PLAINER.get(kind, message.removeprefix("Value error, "))
    if not location:  # a rule about several settings, which names them itself
        return Fault("", message, kind=kind)
    by_alias = {str(field.validation_alias): name for name, field in settings.model_fields.items()}
    field = by_alias.get(str(location[0]), str(location[0]))
    if kind == "extra_forbidden" and len(location) > 1:
        message = extra_key_message(settings, (field, *location[1:]))
    if file is not None and field in values:
        key: Key = (*values[field].key, *location[1:])
        return Fault(key_text(key), message, file.line(key), kind)
    inner = key_text(location[1:])
    named: Any = variable_of(settings, field) if field in settings.model_fields else field
    return Fault(f"{named} {inner}" if inner else named, message, kind=kind)
