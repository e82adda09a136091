"""A mesh of their own for the tests that break things, on a Postgres of its own."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.mesh import Caller, Mesh, running_mesh
from tests.support.own_postgres import OwnPostgres, running_own_postgres
from tests.support.upstream import SCRIPTS, SILENCE_SECONDS, Upstream, running_upstream


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnPostgres]:
    """A Postgres server beside the one that other tests share."""
    with running_own_postgres() as running:
        yield running


@pytest.fixture(scope="session")
async def upstream() -> AsyncIterator[Upstream]:
    """The provider that misbehaves."""
    async with running_upstream() as running:
        yield running


@pytest.fixture(scope="session")
async def fragile(
    own_postgres: OwnPostgres, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    """A mesh to break: without keys of real providers, with the one that misbehaves, and quick to give it up.

    A test leaves it whole.
    """
    endpoint = {"id": "scripted", "base_url": upstream.url, "api_key": "sk-scripted", "models": list(SCRIPTS)}
    chat = {
        "GAIA_OPENAI_COMPATIBLE": json.dumps([endpoint]),
        "GAIA_PROVIDER_SILENCE_SECONDS": str(SILENCE_SECONDS),
    }
    folder = tmp_path_factory.mktemp("fragile")
    database = own_postgres.server.create_database()
    async with running_mesh(folder, own_postgres.server, database, {"chat": chat}) as running:
        yield running


@pytest.fixture
async def caller(fragile: Mesh) -> Caller:
    """A new user of the mesh to break."""
    return await fragile.new_caller()
