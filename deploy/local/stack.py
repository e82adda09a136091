"""The local stack as a whole: what starts in which order, and how it ends."""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

import psutil

from deploy.local import postgres
from deploy.local.database import (
    OWNER,
    SERVICES,
    connected,
    describe,
    ensure_owner,
    ensure_roles,
    new_password,
    role_of,
    without_rights,
)
from deploy.local.developer import ensure_developer_key, ensure_signing_keys
from deploy.local.embedded import DATABASE
from deploy.local.environment import base_environment, service_environments
from deploy.local.errors import StackError
from deploy.local.external import prepare_roles
from deploy.local.home import Home, locked, open_home
from deploy.local.probe import grpc_probe
from deploy.local.settings import LocalSettings
from deploy.local.state import clear_leftovers, forget_state, write_state
from deploy.local.supervisor import ProcessSpec, Reporter, Supervisor, Timing, together


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The owner's URL, and one for each service."""

    owner: str
    services: Mapping[str, str]


class Stack:
    """Postgres, unless `DATABASE_URL` names another, and Gaia's four processes, in one home."""

    def __init__(self, settings: LocalSettings, reporter: Reporter, *, timing: Timing | None = None) -> None:
        self.home = open_home(settings.home)
        self._settings = settings
        self._reporter = reporter
        self.supervisor = Supervisor(
            self.home.logs, reporter, timing=timing, changed=lambda running: write_state(self.home, running)
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the stack while the block does; nothing of it is left when this ends, however it ends.

        Raises StackError when it cannot start.
        """
        with locked(self.home):
            clear_leftovers(self.home, self._reporter.note)
            check_ports(self._settings.ports())
            cluster: postgres.Cluster | None = None
            try:
                if self._settings.database_url is None:
                    cluster = await asyncio.to_thread(postgres.prepare, self.home, self._reporter.note)
                await self._start(cluster)
                yield
            finally:
                await self._stop(cluster)

    async def _start(self, cluster: postgres.Cluster | None) -> None:
        ensure_signing_keys(self.home)
        if cluster is None:
            urls = await self._external()
            await self._prepare_schema(urls.owner)
            urls = await self._usable(urls)
            await self.supervisor.start(*service_specs(self._settings, self.home, urls.services))
        else:
            # The processes load while the schema is looked at: they find their database whenever it is ready.
            urls = await self._embedded(cluster)
            await together(
                self.supervisor.start(*service_specs(self._settings, self.home, urls.services)),
                self._prepare_schema(urls.owner),
            )

    async def _prepare_schema(self, owner_url: str) -> None:
        await asyncio.to_thread(_migrate, owner_url)
        await ensure_developer_key(owner_url, self.home, self._settings.env)

    async def _stop(self, cluster: postgres.Cluster | None) -> None:
        await self.supervisor.stop()
        if cluster is not None:
            cluster.remove_temporary_sockets()
        forget_state(self.home)

    async def _embedded(self, cluster: postgres.Cluster) -> DatabaseUrls:
        """Starts Postgres and gives every role a password for this run; nothing of them is kept."""
        await self.supervisor.start(cluster.spec(base_environment(self.home)))
        owner, passwords = new_password(), {service: new_password() for service in SERVICES}
        async with connected(cluster.url(postgres.SUPERUSER, "postgres")) as connection:
            await ensure_owner(connection, DATABASE, owner)
        async with connected(cluster.url(postgres.SUPERUSER, DATABASE)) as connection:
            await ensure_roles(connection, passwords)
        return DatabaseUrls(
            cluster.url(OWNER, DATABASE, owner),
            {service: cluster.url(role_of(service), DATABASE, password) for service, password in passwords.items()},
        )

    async def _external(self) -> DatabaseUrls:
        assert self._settings.database_url is not None
        url = self._settings.database_url.get_secret_value()
        services = await prepare_roles(url, self.home, self._settings.given_passwords(), self._reporter.note)
        return DatabaseUrls(url, services)

    async def _usable(self, urls: DatabaseUrls) -> DatabaseUrls:
        """Replaces the URL of a role that the schema's migrations did not know by the owner's."""
        async with connected(urls.owner) as connection:
            own_role = [service for service, url in urls.services.items() if url != urls.owner]
            powerless = await without_rights(connection, own_role)
        for service in powerless:
            self._reporter.note(
                f"DATABASE_URL: the role {role_of(service)} has no rights on {describe(urls.owner)}, so {service} uses "
                "the given user"
            )
        usable = {service: urls.owner if service in powerless else url for service, url in urls.services.items()}
        return DatabaseUrls(urls.owner, usable)


def service_specs(settings: LocalSettings, home: Home, database_urls: Mapping[str, str]) -> list[ProcessSpec]:
    """Describes Gaia's processes. The edge is the first to stop: it drains while what it needs is still there."""
    environments = service_environments(settings, home, database_urls)
    ports = {"auth": settings.auth_port, "asset": settings.asset_port, "chat": settings.chat_port}
    specs = [
        ProcessSpec(
            name=name,
            command=_python(f"services.{name}"),
            environment=environments[name],
            address=f"127.0.0.1:{port}",
            health=grpc_probe(f"127.0.0.1:{port}", settings.tls_files_of(name)),
        )
        for name, port in ports.items()
    ]
    url = edge_url(settings)
    edge = ProcessSpec("edge", _python("edge"), environments["edge"], url, f"{url}/readyz", tier=2)
    return [*specs, edge]


def edge_url(settings: LocalSettings) -> str:
    """Returns where a client on this machine finds the edge."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.edge_host, settings.edge_host)  # noqa: S104 - a look-up
    scheme = "http" if settings.edge_tls_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.edge_port}"


def check_ports(ports: Iterable[tuple[str, tuple[str, int]]]) -> None:
    """Raises StackError that names the setting of a port that is taken, and by whom if the system tells."""
    for setting, (host, port) in ports:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            # As servers do: without it, connections that have just ended would look like a server.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen(1)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    reason = error.strerror or str(error)
                    raise StackError(f"{setting}: cannot listen on {host}:{port}: {reason}") from error
                raise StackError(
                    f"{setting}: port {port} of {host} is taken{_holder(port)}; stop what uses it, or set {setting}"
                ) from error


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and _port_of(connection.laddr) == port:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def _port_of(address: tuple[str, int] | tuple[()]) -> int | None:
    return address[1] if address else None


def _migrate(owner_url: str) -> None:
    # Imported here: what migrates takes a second to load, which the processes need not wait for.
    from deploy.migrations.runner import MigrationError, migrate

    try:
        migrate(owner_url)
    except MigrationError as error:
        raise StackError(str(error)) from error


def _python(module: str) -> list[str]:
    # -P: the current folder, where the command was given, is no place to import from.
    return [sys.executable, "-P", "-m", module]
