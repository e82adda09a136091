"""The auth service in the test's own process, and users with keys in its database."""

import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
from pydantic import SecretStr

from services.auth.bootstrap import ensure_user_with_key
from services.auth.server import serving
from services.auth.settings import AuthSettings
from shared.rpc.channel import connect
from shared.rpc.tls import load_certificates
from tests.support.postgres import PostgresServer


@dataclass(frozen=True, slots=True)
class Auth:
    """A running auth service: its address, its channel, and the owner's URL of its database."""

    address: str
    channel: grpc.aio.Channel
    owner_url: str

    async def new_key(self, email: str = "", scopes: Sequence[str] = ("admin",)) -> str:
        """Returns a new key of a user, who is created when need be."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            key = await ensure_user_with_key(
                connection,
                email=email or f"{secrets.token_hex(8)}@gaia.test",
                environment="test",
                key_name=secrets.token_hex(8),
                scopes=scopes,
            )
        finally:
            await connection.close()
        assert key is not None
        return key

    async def audited(self, **wanted: str) -> list[str]:
        """Returns the addresses in the entries of the audit trail whose columns have these values, the oldest first."""
        columns = " AND ".join(f"{name} = ${number}" for number, name in enumerate(wanted, 1))
        connection = await asyncpg.connect(self.owner_url)
        try:
            query = f"SELECT address FROM audit_events WHERE {columns} ORDER BY created_at"
            return [row["address"] for row in await connection.fetch(query, *wanted.values())]
        finally:
            await connection.close()

    async def refused_from(self, address: str) -> int:
        """Returns how many wrong credentials the audit trail puts down to an address."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            query = (
                "SELECT coalesce(sum((details->>'count')::int), 0) FROM audit_events "
                "WHERE action = 'authenticate' AND address = $1"
            )
            return int(await connection.fetchval(query, address))
        finally:
            await connection.close()


def new_signing_key() -> str:
    """Returns the seed of a new signing key as settings take it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@contextlib.asynccontextmanager
async def running_auth(postgres: PostgresServer, database: str, **settings: Any) -> AsyncIterator[Auth]:
    """Runs auth on a free port of the loopback interface; `settings` are added to those that tests need."""
    chosen = AuthSettings(
        **{
            "env": "test",
            "listen": "127.0.0.1:0",
            "database_url": SecretStr(postgres.url(database, "gaia_auth")),
            "signing_keys": SecretStr(new_signing_key()),
            "drain_seconds": 0.5,
            "audit_flush_seconds": 0.2,
            **settings,
        }
    )
    async with serving(chosen) as server, connect(server.address, load_certificates(chosen)) as channel:
        yield Auth(server.address, channel, postgres.url(database, "gaia_owner"))
