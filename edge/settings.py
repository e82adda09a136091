"""Settings of the edge."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from edge.server import HttpsFiles
from shared.settings import CommonSettings, RateLimitUrl, is_private

_ORIGIN = r"[a-z][a-z0-9+.\-]*://[^\s,/*]+"


class EdgeSettings(CommonSettings):
    """Settings of the edge. Targets are gRPC targets such as `dns:///127.0.0.1:8001`."""

    config_section: ClassVar[str] = "edge"
    config_sections: ClassVar[tuple[str, ...]] = (
        "edge",
        "limits",
    )
    config_others: ClassVar[tuple[str, ...]] = ("limits.tokens_per_minute_per_address",)
    config_keys: ClassVar[Mapping[str, str]] = {
        "edge_host": "edge.host",
        "edge_port": "edge.port",
        "edge_workers": "edge.workers",
        "edge_transport": "edge.transport",
        "edge_tls_cert": "edge.https_cert",
        "edge_tls_key": "edge.https_key",
        "rate_limit_url": "limits.store_url",
        "requests_per_minute_per_key": "limits.requests_per_minute_per_key",
        "requests_per_minute_per_address": "limits.requests_per_minute_per_address",
    }

    edge_host: str = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    edge_port: int = Field(default=8666, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    edge_workers: int = Field(default=1, ge=1, le=256)
    """Processes that serve, for machines with several cores; each keeps its own cache of keys, and its own rate limits
    unless GAIA_RATE_LIMIT_URL is set. Metrics of the second are on the port behind that of the first, and so on."""
    edge_worker: int = Field(default=0, ge=0)
    """Which of them this process is, told by the one that starts them; 0 is none."""
    edge_tls_cert: Path | None = Field(default=None)
    """Certificate that clients see, PEM, with its chain; unset, clients speak HTTP without TLS."""
    edge_tls_key: Path | None = Field(default=None)
    """Private key of that certificate, PEM."""
    auth_target: str = "dns:///127.0.0.1:8001"
    asset_target: str = "dns:///127.0.0.1:8002"
    chat_target: str = "dns:///127.0.0.1:8003"
    edge_transport: Literal["auto", "grpc"] = "auto"
    """How requests go to the services: `auto` over HTTP/2 of the edge's own, `grpc` by the gRPC library."""
    key_cache_size: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many keys' identities are kept."""
    trusted_proxies: int = Field(default=0, ge=0, le=8)
    """How many proxies in front of the edge add to X-Forwarded-For; 0 takes the peer's own address."""
    cors_origins: str = Field(default="", pattern=rf"^(\*|{_ORIGIN}(,{_ORIGIN})*)?$")
    """Origins whose pages may call, such as `https://game.example,https://xr.example`; `*` is any, empty is none.

    Pages of the edge's own host may always open WebSockets, and those of these origins.
    """
    rate_limit_url: RateLimitUrl | None = Field(default=None)
    """Redis or Valkey that counts for several edges together; unset, each edge counts by itself."""
    requests_per_minute_per_key: int = Field(default=0, ge=0)
    """Most requests a minute with a key that has no limit of its own; 0 is no limit."""
    requests_per_minute_per_address: int = Field(default=0, ge=0)
    """Most requests a minute from one address; 0 is no limit."""

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins whose pages may call."""
        return tuple(filter(None, self.cors_origins.split(",")))

    @property
    def https_files(self) -> HttpsFiles | None:
        """The files for HTTPS, None when clients speak HTTP without TLS."""
        if self.edge_tls_cert is None or self.edge_tls_key is None:
            return None
        return HttpsFiles(self.edge_tls_cert, self.edge_tls_key)

    @model_validator(mode="after")
    def _check_edge_tls(self) -> Self:
        if (self.edge_tls_cert is None) != (self.edge_tls_key is None):
            raise ValueError("GAIA_EDGE_TLS_CERT, GAIA_EDGE_TLS_KEY: need each other")
        host = f"[{self.edge_host}]" if ":" in self.edge_host else self.edge_host
        if self.edge_tls_cert is None and not self.allow_plaintext and not is_private(f"{host}:{self.edge_port}"):
            raise ValueError(
                f"GAIA_EDGE_HOST: {self.edge_host} can be reached from elsewhere, so set GAIA_EDGE_TLS_CERT and "
                "GAIA_EDGE_TLS_KEY; or GAIA_ALLOW_PLAINTEXT=true behind a proxy that speaks TLS"
            )
        return self
