"""How soon a revoked key ends everywhere: at two edges, and at a service that internal callers reach directly.

The edges are their authenticators, since an edge that asks auth in passing would hide how long it believes its cache.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import grpc
import pytest
from gaia.auth.v1 import api_key_service_pb2, auth_service_pb2, user_service_pb2
from gaia.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub

from shared.errors import GaiaError, Unauthenticated
from shared.identity.authenticator import IDENTITY_METADATA
from shared.identity.revocations import TRUST_SECONDS
from tests.support.auth import Auth, running_auth
from tests.support.door import Door, running_door
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

BOUND_SECONDS = 1.0
SLACK_SECONDS = 1.0
"""What a call itself may take on a machine that is busy; the bound is about when it began."""

Accepts = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Two edges and a service, and a key that all of them have in their caches."""

    edges: tuple[Door, Door]
    service: Door
    key: str
    key_id: str
    user_id: str
    token: str

    @property
    def ways_in(self) -> list[Accepts]:
        """Every way in which a request with the key, or with a token made of it, can be accepted."""

        def at_edge(door: Door) -> Accepts:
            async def accepts() -> bool:
                try:
                    await door.identity.authenticator.authenticate(self.key)
                except Unauthenticated:
                    return False
                return True

            return accepts

        def at_service(*metadata: tuple[str, str]) -> Accepts:
            async def accepts() -> bool:
                code = await self.service.call(*metadata)
                assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED)
                return code is grpc.StatusCode.OK

            return accepts

        return [
            *map(at_edge, self.edges),
            at_service(("x-api-key", self.key)),
            at_service((IDENTITY_METADATA, self.token)),
        ]

    async def warm(self) -> None:
        """Puts the key into every cache."""
        assert all([await accepts() for accepts in self.ways_in])

    async def accepted_until(self, limit: float) -> float:
        """Calls in every way until none is accepted; returns when the last call that was accepted began."""
        began = time.monotonic()

        async def last(accepts: Accepts) -> float:
            latest = 0.0
            while (now := time.monotonic() - began) < limit:
                if not await accepts():
                    return latest
                latest = now
                await asyncio.sleep(0.01)
            return limit

        return max(await asyncio.gather(*map(last, self.ways_in)))


@pytest.fixture(scope="module")
async def auth(postgres: PostgresServer, database: str) -> AsyncIterator[Auth]:
    async with running_auth(postgres, database) as running:
        yield running


@contextlib.asynccontextmanager
async def running_mesh(auth: Auth) -> AsyncIterator[Mesh]:
    key = await auth.new_key()
    response = await AuthServiceStub(auth.channel).Authenticate(auth_service_pb2.AuthenticateRequest(api_key=key))
    principal = response.principal
    async with (
        running_door(auth.address) as first,
        running_door(auth.address) as second,
        running_door(auth.address) as service,
    ):
        doors = (first, second, service)
        for door in doors:
            await door.hear()

        async def all_hear() -> bool:
            return all(door.identity.feed.heard_at > 0 for door in doors)

        await eventually(all_hear)
        yield Mesh((first, second), service, key, principal.api_key_id, principal.user_id, response.identity_token)


@pytest.fixture
async def mesh(auth: Auth) -> AsyncIterator[Mesh]:
    async with running_mesh(auth) as mesh:
        await mesh.warm()
        yield mesh


@pytest.fixture(scope="module")
async def admin(auth: Auth) -> tuple[tuple[str, str], ...]:
    return (("x-api-key", await auth.new_key("admin@gaia.test")),)


async def test_a_revoked_key_is_accepted_nowhere_after_a_second(auth: Auth, mesh: Mesh, admin):
    request = api_key_service_pb2.RevokeApiKeyRequest(id=mesh.key_id)
    await ApiKeyServiceStub(auth.channel).RevokeApiKey(request, metadata=admin)
    assert await mesh.accepted_until(BOUND_SECONDS + SLACK_SECONDS) < BOUND_SECONDS


async def test_a_deactivated_user_is_accepted_nowhere_after_a_second(auth: Auth, mesh: Mesh, admin):
    request = user_service_pb2.DeleteUserRequest(id=mesh.user_id)
    await UserServiceStub(auth.channel).DeleteUser(request, metadata=admin)
    assert await mesh.accepted_until(BOUND_SECONDS + SLACK_SECONDS) < BOUND_SECONDS


async def test_a_key_rotated_without_grace_is_accepted_nowhere_after_a_second(auth: Auth, mesh: Mesh, admin):
    request = api_key_service_pb2.RotateApiKeyRequest(id=mesh.key_id, grace_seconds=0)
    await ApiKeyServiceStub(auth.channel).RotateApiKey(request, metadata=admin)
    assert await mesh.accepted_until(BOUND_SECONDS + SLACK_SECONDS) < BOUND_SECONDS


async def test_a_key_that_changes_or_rotates_with_grace_is_refused_nowhere(auth: Auth, mesh: Mesh, admin):
    """Neither the edges' caches nor tokens that are under way may make a good key fail for a moment."""
    request = api_key_service_pb2.RotateApiKeyRequest(id=mesh.key_id, grace_seconds=600)
    before = mesh.edges[0].identity.feed.sequence
    heard = asyncio.Event()
    refused: list[int] = []

    async def use(number: int, accepts: Accepts) -> None:
        tries_left = 20
        while tries_left:
            if not await accepts():
                refused.append(number)
            tries_left -= heard.is_set()
            await asyncio.sleep(0.002)

    async def all_hear() -> bool:
        return all(door.identity.feed.sequence > before for door in (*mesh.edges, mesh.service))

    uses = asyncio.gather(*(use(number, accepts) for number, accepts in enumerate(mesh.ways_in)))
    await ApiKeyServiceStub(auth.channel).RotateApiKey(request, metadata=admin)
    await eventually(all_hear)
    heard.set()
    await uses
    assert refused == []


async def test_with_the_notification_lost_a_key_ends_within_five_seconds(auth: Auth, mesh: Mesh):
    connection = await asyncpg.connect(auth.owner_url)
    silent = await connection.fetchval("SELECT pg_get_functiondef('record_revocation'::regproc)")
    try:
        await connection.execute(silent.replace("PERFORM pg_notify", "-- PERFORM pg_notify"))
        await connection.execute("UPDATE api_keys SET is_active = false WHERE id = $1", mesh.key_id)
        assert await mesh.accepted_until(TRUST_SECONDS + SLACK_SECONDS) < TRUST_SECONDS
    finally:
        await connection.execute(silent)
        await connection.close()


async def test_with_the_stream_cut_a_key_ends_within_five_seconds_and_no_sooner_than_it_must(auth: Auth, mesh: Mesh):
    for door in (*mesh.edges, mesh.service):
        await door.cut()
    connection = await asyncpg.connect(auth.owner_url)
    await connection.execute("UPDATE api_keys SET is_active = false WHERE id = $1", mesh.key_id)
    await connection.close()
    ended = await mesh.accepted_until(TRUST_SECONDS + SLACK_SECONDS)
    assert 1.0 < ended < TRUST_SECONDS


async def test_what_was_missed_is_caught_up_when_the_stream_is_back(auth: Auth, mesh: Mesh):
    for door in (*mesh.edges, mesh.service):
        await door.cut()
    connection = await asyncpg.connect(auth.owner_url)
    await connection.execute("UPDATE api_keys SET is_active = false WHERE id = $1", mesh.key_id)
    await connection.close()
    assert all([await accepts() for accepts in mesh.ways_in])
    for door in (*mesh.edges, mesh.service):
        await door.hear()
    assert await mesh.accepted_until(BOUND_SECONDS + SLACK_SECONDS) < BOUND_SECONDS


async def test_with_auth_down_cached_keys_go_on_until_the_bound_and_then_it_is_an_outage(
    postgres: PostgresServer, database: str
):
    async with contextlib.AsyncExitStack() as stack:
        running = contextlib.AsyncExitStack()
        auth = await running.enter_async_context(running_auth(postgres, database))
        stack.push_async_callback(running.aclose)
        mesh = await stack.enter_async_context(running_mesh(auth))
        await mesh.warm()
        await running.aclose()
        down_at = time.monotonic()
        assert all([await accepts() for accepts in mesh.ways_in])

        async def is_outage() -> bool:
            code = await mesh.service.call((IDENTITY_METADATA, mesh.token))
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
            edges = []
            for edge in mesh.edges:
                try:
                    await edge.identity.authenticator.authenticate(mesh.key)
                except GaiaError as error:
                    edges.append(error.code)
            assert set(edges) <= {"UNAVAILABLE"}
            return code is grpc.StatusCode.UNAVAILABLE and len(edges) == 2

        await eventually(is_outage, TRUST_SECONDS + 3)
        assert time.monotonic() - down_at > 1.0
