"""Settings of the local stack."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from shared.settings import CommonSettings, DatabaseUrl, TlsFiles, split_listen_address

PROCESSES = ("edge", "auth", "chat", "asset")
"""Gaia's own processes."""


class LocalSettings(CommonSettings):
    """What `gaia up` reads."""

    config_section: ClassVar[str] = "local"
    config_sections: ClassVar[tuple[str, ...]] = ("local",)
    config_keys: ClassVar[Mapping[str, str]] = {
        "edge_host": "edge.host",
        "edge_port": "edge.port",
        "edge_workers": "edge.workers",
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
    edge_workers: int = Field(default=1, ge=1, le=256)
    """How many processes of the edge there will be; they use as many ports for metrics."""
    edge_tls_cert: Path | None = None
    """Certificate that the edge shows its clients, who then call it by HTTPS."""
    tls_folder: Path | None = None
    """Folder of `gaia certs dev`: each process shows the certificate of its own name, instead of one for all."""
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

    def ports(self) -> list[tuple[str, tuple[str, int]]]:
        """Returns where processes will listen, each with the setting that says so."""
        return [
            ("GAIA_EDGE_PORT", (self.edge_host, self.edge_port)),
            ("GAIA_AUTH_PORT", ("127.0.0.1", self.auth_port)),
            ("GAIA_ASSET_PORT", ("127.0.0.1", self.asset_port)),
            ("GAIA_CHAT_PORT", ("127.0.0.1", self.chat_port)),
            *(("GAIA_METRICS_LISTEN", _bound(address)) for address in self.metrics_addresses().values()),
        ]

    def metrics_addresses(self) -> dict[str, str]:
        """Returns where each process serves metrics: the edge where the setting says, the others on the ports after.

        An edge of several processes has as many ports.
        """
        if self.metrics_listen is None:
            return {}
        host, port = split_listen_address(self.metrics_listen)
        ports = [port, *range(port + self.edge_workers, port + self.edge_workers + len(PROCESSES) - 1)]
        return {name: f"{host}:{number}" for name, number in zip(PROCESSES, ports, strict=True)}

    def tls_files_of(self, process: str) -> TlsFiles | None:
        """Returns where a process finds its certificate, None when the processes speak without TLS."""
        if self.tls_folder is not None:
            folder = self.tls_folder.expanduser().absolute()
            return TlsFiles(folder / f"{process}.pem", folder / f"{process}.key", folder / "ca.pem")
        files = self.tls_files
        if files is None:
            return None
        return TlsFiles(files.certificate.absolute(), files.key.absolute(), files.authority.absolute())

    @model_validator(mode="after")
    def _check_local(self) -> Self:
        if self.tls_folder is not None:
            if self.tls_files is not None:
                raise ValueError("GAIA_TLS_FOLDER: stands instead of GAIA_TLS_CERT, GAIA_TLS_KEY and GAIA_TLS_CA")
            for process in PROCESSES:
                self._check_files(process)
        if self.metrics_listen is not None:
            if self.metrics_listen.startswith("unix:"):
                raise ValueError("GAIA_METRICS_LISTEN: must be HOST:PORT")
            after = self.edge_workers + len(PROCESSES) - 2
            if not 1 <= split_listen_address(self.metrics_listen)[1] <= 65535 - after:
                raise ValueError(f"GAIA_METRICS_LISTEN: needs a port with {after} more after it")
        return self

    def _check_files(self, process: str) -> None:
        files = self.tls_files_of(process)
        assert files is not None
        for path in (files.certificate, files.key, files.authority):
            if not path.is_file():
                raise ValueError(
                    f"GAIA_TLS_FOLDER: there is no {path}; `gaia certs dev --folder {self.tls_folder}` makes it"
                )


def _bound(address: str) -> tuple[str, int]:
    host, port = split_listen_address(address)
    return host.strip("[]"), port
