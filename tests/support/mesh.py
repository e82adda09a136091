"""The whole mesh as an operator runs it: auth, asset, chat and edge as processes on free ports.

Settings go in by environment variables only, and nothing but HTTP, gRPC and signals goes in afterwards.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.auth.bootstrap import ensure_user_with_key
from tests.support.auth import new_signing_key
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import Process, until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "test"
SERVICES = ("auth", "asset", "chat")
START_SECONDS = 30.0

USER_SCOPES = ("chat:read", "chat:write", "assets:read", "assets:write", "usage:read", "keys:manage")
"""What a key has that a test asks for without saying more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user with a key, and how they call the edge."""

    http: httpx.AsyncClient
    user_id: str
    key_id: str
    key: str

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request with the key as X-API-Key; options are httpx's."""
        headers = {"x-api-key": self.key, **(options.pop("headers", None) or {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """POST with a JSON body."""
        return await self.request("POST", path, json={} if body is None else body, **options)

    async def patch(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """PATCH with a JSON body."""
        return await self.request("PATCH", path, json=body, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        """DELETE."""
        return await self.request("DELETE", path, **options)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: Any) -> AsyncIterator[httpx.Response]:
        """POST with a JSON body; the response's body is read as it comes."""
        async with self.http.stream("POST", path, json=body, headers={"x-api-key": self.key}) as response:
            yield response


class Mesh:
    """Four processes and an HTTP client for the edge.

    `addresses` are the services' gRPC addresses, `admin` is a caller with the scope `admin`, `owner_url` is the
    database as its owner sees it: the operator's psql.
    """

    def __init__(
        self, folder: Path, postgres: PostgresServer, database: str, environment: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.folder = folder
        self.owner_url = postgres.url(database, "gaia_owner")
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in SERVICES}
        edge_port = free_port()
        self.url = f"http://127.0.0.1:{edge_port}"
        self.http = httpx.AsyncClient(base_url=self.url, timeout=20, verify=False)
        self.admin: Caller
        keys_file = folder / "signing-keys"
        keys_file.write_text(new_signing_key() + "\n")
        targets = {f"GAIA_{name.upper()}_TARGET": f"dns:///{address}" for name, address in self.addresses.items()}
        common = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}",
            "GAIA_ENV": ENVIRONMENT,
            "GAIA_DRAIN_SECONDS": "1",
        }
        own = {
            "auth": {"GAIA_SIGNING_KEYS_FILE": str(keys_file)},
            "asset": {"GAIA_ASSET_STORE": f"file://{folder / 'assets'}"},
            # Every test has the providers to itself, whatever another one made fail.
            "chat": {
                "GAIA_CALL_JOURNAL": str(folder / "calls"),
                "GAIA_PROVIDER_CIRCUIT_FAILURES": "0",
                "GAIA_PROVIDER_PROBE_SECONDS": "0",
            },
        }
        (folder / "assets").mkdir()
        self.processes: dict[str, Process] = {}
        for name in SERVICES:
            settings = {
                "GAIA_LISTEN": self.addresses[name],
                "GAIA_AUTH_TARGET": targets["GAIA_AUTH_TARGET"],
                # As platforms hand it out.
                "DATABASE_URL": postgres.url(database, f"gaia_{name}").replace("postgresql:", "postgres:", 1),
            }
            self._add(name, f"services.{name}", {**common, **settings, **own[name], **environment.get(name, {})})
        edge = {**common, **targets, "GAIA_EDGE_PORT": str(edge_port), **environment.get("edge", {})}
        self._add("edge", "edge", edge)

    def _add(self, name: str, module: str, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", module]
        self.processes[name] = Process(name, command, environment, self.folder / f"{name}.log")

    async def start(self) -> None:
        """Starts all four at once and returns when everything serves."""
        for process in self.processes.values():
            process.start()
        await self.ready(self.processes)

    async def ready(self, names: Iterable[str] = (*SERVICES, "edge")) -> float:
        """Returns when the named processes serve, and the seconds that it took."""
        began = time.perf_counter()
        for name in list(names):
            process = self.processes[name]

            async def serves(name: str = name, process: Process = process) -> bool:
                process.check()
                return await (self._edge_serves() if name == "edge" else self._service_serves(name))

            await until(serves, f"{name} serves; its log ends with:\n{process.tail()}", START_SECONDS)
        return time.perf_counter() - began

    async def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends one process; returns its exit code."""
        return await self.processes[name].end(number)

    async def start_again(self, name: str) -> None:
        """Starts a process that ended, on the same port, and returns when it serves."""
        self.processes[name].start()
        await self.ready([name])

    async def restart(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends one process if it runs, starts it again, and returns when the edge finds it."""
        if self.processes[name].is_running:
            await self.end(name, number)
        await self.start_again(name)

        async def found() -> bool:
            services = (await self.http.get("/health")).json()["services"]
            return name == "edge" or services[name]["status"] == "healthy"

        await until(found, f"the edge finds {name} again")

    async def stop(self) -> dict[str, int]:
        """Ends what runs, all at once; returns the exit codes."""
        await self.http.aclose()
        running = [process for process in self.processes.values() if process.is_running]
        codes = await asyncio.gather(*(process.end() for process in running))
        return {process.name: code for process, code in zip(running, codes, strict=True)}

    async def new_admin(self) -> Caller:
        """Makes the first user and key of the installation, as the operator's command does."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            key = await ensure_user_with_key(
                connection,
                email=f"{secrets.token_hex(6)}@admin.gaia.test",
                environment=ENVIRONMENT,
                key_name="first",
                scopes=["admin"],
            )
        finally:
            await connection.close()
        assert key is not None
        me = (await self.http.get("/api/v1/auth/me", headers={"x-api-key": key})).raise_for_status().json()
        return Caller(self.http, me["user"]["id"], me["api_key_id"], key)

    async def new_caller(self, scopes: Sequence[str] = USER_SCOPES, email: str = "") -> Caller:
        """Makes a user and a key over REST, as an administrator does."""
        user = await self.admin.post("/api/v1/users", {"email": email or f"{secrets.token_hex(8)}@gaia.test"})
        assert user.status_code == 201, user.text
        return await self.new_key(user.json()["id"], scopes)

    async def new_key(self, user_id: str, scopes: Sequence[str] = USER_SCOPES) -> Caller:
        """Makes another key for a user over REST."""
        body = {"user_id": user_id, "name": "test", "scopes": list(scopes)}
        created = await self.admin.post("/api/v1/api-keys", body)
        assert created.status_code == 201, created.text
        return Caller(self.http, user_id, created.json()["id"], created.json()["key"])

    def channel(self, name: str) -> grpc.aio.Channel:
        """Opens a channel to a service, as an internal caller does."""
        return grpc.aio.insecure_channel(self.addresses[name], options=[("grpc.enable_http_proxy", 0)])

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Looks into the database."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """Returns the JSON lines of a process's log."""
        lines = self.processes[name].text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def _edge_serves(self) -> bool:
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def _service_serves(self, name: str) -> bool:
        async with self.channel(name) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)  # type: ignore[attr-defined] # the type stubs leave the methods out
            except grpc.aio.AioRpcError:
                return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.asynccontextmanager
async def running_mesh(
    folder: Path, postgres: PostgresServer, database: str, environment: Mapping[str, Mapping[str, str]] | None = None
) -> AsyncIterator[Mesh]:
    """Runs a mesh on a migrated database; `environment` adds variables to single processes, by their names."""
    mesh = Mesh(folder, postgres, database, environment or {})
    try:
        await mesh.start()
        mesh.admin = await mesh.new_admin()
        yield mesh
    finally:
        await mesh.stop()
