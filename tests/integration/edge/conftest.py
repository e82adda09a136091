"""An auth service, and keys, for the edges that the tests put in front of it."""

from collections.abc import AsyncIterator

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
