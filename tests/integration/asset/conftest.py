"""A running asset service with auth, Postgres, a folder for bytes, and a provider that does what a test tells it to."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route

from tests.integration.asset.running import (
    PROVIDER_KEY,
    Assets,
    Provider,
    image_reply,
    png,
    running_assets,
    settings_of,
)
from tests.support.asgi_server import running_asgi
from tests.support.auth import Auth, running_auth
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="module")
async def auth(postgres: PostgresServer, database: str) -> AsyncIterator[Auth]:
    async with running_auth(postgres, database) as running:
        yield running


@pytest.fixture(scope="module")
async def running_provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = Starlette(routes=[Route("/v1/images/generations", provider.serve, methods=["POST"])])
    async with running_asgi(app) as url:
        provider.url = f"{url}/v1"
        yield provider


@pytest.fixture
def provider(running_provider: Provider) -> Provider:
    """The provider, answering a small picture until told otherwise."""
    running_provider.requests.clear()
    running_provider.answers(image_reply(png()))
    return running_provider


@pytest.fixture(scope="module")
async def assets(
    postgres: PostgresServer,
    database: str,
    auth: Auth,
    running_provider: Provider,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Assets]:
    folder = tmp_path_factory.mktemp("assets")
    settings = settings_of(
        postgres, database, auth, folder, openai_api_key=SecretStr(PROVIDER_KEY), openai_base_url=running_provider.url
    )
    async with running_assets(auth, settings, folder) as running:
        yield running


@pytest.fixture
async def caller(assets: Assets) -> tuple[tuple[str, str], ...]:
    """Metadata of a new user who may read and write assets."""
    return await assets.new_caller()
