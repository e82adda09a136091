"""Settings of the local stack."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from shared.settings import CommonSettings, DatabaseUrl


class LocalSettings(CommonSettings):
    """What `gaia up` reads."""

    config_section: ClassVar[str] = "local"
    config_sections: ClassVar[tuple[str, ...]] = ("local",)
    config_keys: ClassVar[Mapping[str, str]] = {
        "edge_host": "edge.host",
        "edge_port": "edge.port",
    }

    home: Path = Path(".gaia")
    """Folder of data, logs and secrets."""
    edge_host: str = "127.0.0.1"
    """Address that the edge listens on."""
    edge_port: int = Field(default=8666, ge=1, le=65535)
    auth_port: int = Field(default=8001, ge=1, le=65535)
    asset_port: int = Field(default=8002, ge=1, le=65535)
    chat_port: int = Field(default=8003, ge=1, le=65535)
    """Ports of the services, on loopback."""
    database_url: DatabaseUrl | None = Field(default=None, validation_alias="DATABASE_URL")
    """Owner of a database on another server; without it, Postgres runs here."""
    auth_db_password: SecretStr | None = None
    chat_db_password: SecretStr | None = None
    asset_db_password: SecretStr | None = None
    """Passwords of the services' roles on another server; made up and kept in the home when missing."""

    def given_passwords(self) -> dict[str, str]:
        """Returns the passwords that are set, by service."""
        given = {"auth": self.auth_db_password, "chat": self.chat_db_password, "asset": self.asset_db_password}
        return {service: secret.get_secret_value() for service, secret in given.items() if secret is not None}

    def ports(self) -> dict[str, tuple[str, int]]:
        """Returns where processes will listen, by the setting that says so."""
        return {
            "GAIA_EDGE_PORT": (self.edge_host, self.edge_port),
            "GAIA_AUTH_PORT": ("127.0.0.1", self.auth_port),
            "GAIA_ASSET_PORT": ("127.0.0.1", self.asset_port),
            "GAIA_CHAT_PORT": ("127.0.0.1", self.chat_port),
        }
