"""An auth service for the tests of one module, and ways to call it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.auth import Auth, running_auth
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="module")
async def auth(postgres: PostgresServer, database: str) -> AsyncIterator[Auth]:
    async with running_auth(postgres, database) as running:
        yield running


@pytest.fixture(scope="module")
async def admin_key(auth: Auth) -> str:
    return await auth.new_key("admin@gaia.test")


@pytest.fixture
async def owner(auth: Auth) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the service's database as its owner."""
    connection = await asyncpg.connect(auth.owner_url)
    yield connection
    await connection.close()
