"""Settings of the edge."""

from pydantic import Field

from shared.settings import CommonSettings, RateLimitUrl


class EdgeSettings(CommonSettings):
    """Settings of the edge. Targets are gRPC targets such as `dns:///127.0.0.1:8001`."""

    edge_host: str = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    edge_port: int = Field(default=8666, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    auth_target: str = "dns:///127.0.0.1:8001"
    asset_target: str = "dns:///127.0.0.1:8002"
    chat_target: str = "dns:///127.0.0.1:8003"
    key_cache_size: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many keys' identities are kept."""
    trusted_proxies: int = Field(default=0, ge=0, le=8)
    """How many proxies in front of the edge add to X-Forwarded-For; 0 takes the peer's own address."""
    rate_limit_url: RateLimitUrl | None = Field(default=None)
    """Redis or Valkey that counts for several edges together; unset, each edge counts by itself."""
    requests_per_minute_per_key: int = Field(default=0, ge=0)
    """Most requests a minute with a key that has no limit of its own; 0 is no limit."""
    requests_per_minute_per_address: int = Field(default=0, ge=0)
    """Most requests a minute from one address; 0 is no limit."""
