"""A service's side of the identity mesh: how it knows its callers by asking auth."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from google.protobuf.descriptor import ServiceDescriptor

from shared.identity.authenticator import Authenticator
from shared.identity.revocations import RevocationFeed, follow
from shared.identity.token import TokenVerifier
from shared.rpc.auth import AuthInterceptor, remote_check, remote_exchange, remote_signing_keys
from shared.rpc.interceptors import CallInterceptor


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """What knows callers in one process, all following one revocation feed."""

    feed: RevocationFeed
    verifier: TokenVerifier
    authenticator: Authenticator

    def interceptors(self, services: Iterable[ServiceDescriptor]) -> list[grpc.aio.ServerInterceptor]:
        """The interceptors of a server of these services, outermost first."""
        return [CallInterceptor(), AuthInterceptor(services, self.verifier, self.authenticator)]


def mesh_identity(environment: str, auth: grpc.aio.Channel, capacity: int = 10_000) -> MeshIdentity:
    """Builds a process's identity from a channel to auth. Asks nothing yet.

    `capacity` is how many keys' identities are kept.
    """
    stub = AuthServiceStub(auth)
    feed = RevocationFeed()
    verifier = TokenVerifier(environment, remote_signing_keys(stub), remote_check(stub), feed)
    authenticator = Authenticator(remote_exchange(stub), feed, capacity=capacity)
    return MeshIdentity(feed, verifier, authenticator)


@contextlib.asynccontextmanager
async def following(feed: RevocationFeed, auth: grpc.aio.Channel) -> AsyncIterator[None]:
    """Follows auth's revocations while the block runs."""
    async with background(follow(feed, AuthServiceStub(auth))):
        yield


@contextlib.asynccontextmanager
async def background(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine beside the block and cancels it at its end; should it fail, the block fails with it."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(coroutine)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failed:
        # Whoever waits for an OSError must get one, not a group of it.
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise
