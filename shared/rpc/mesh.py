"""A service's side of the identity mesh: how it knows its callers by asking auth."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from gaia.auth.v1 import audit_service_pb2
from gaia.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from google.protobuf.descriptor import ServiceDescriptor

from shared.identity.authenticator import Authenticator
from shared.identity.refusals import RefusalCounter
from shared.identity.revocations import RevocationFeed, follow
from shared.identity.token import TokenVerifier
from shared.rpc.auth import (
    EXCHANGE_TIMEOUT_SECONDS,
    AuthInterceptor,
    remote_check,
    remote_exchange,
    remote_signing_keys,
)
from shared.rpc.interceptors import CallInterceptor
from shared.rpc.meter import CallMeter

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from gaia.auth.v1.audit_service_pb2_grpc import AuditServiceAsyncStub

REPORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """What knows callers in one process, all following one revocation feed, and counts their calls."""

    feed: RevocationFeed
    verifier: TokenVerifier
    authenticator: Authenticator
    refusals: RefusalCounter
    calls: CallMeter = field(default_factory=CallMeter)

    def interceptors(self, services: Iterable[ServiceDescriptor]) -> list[grpc.aio.ServerInterceptor]:
        """The interceptors of a server of these services, outermost first."""
        return [
            CallInterceptor(self.calls, self.refusals),
            AuthInterceptor(services, self.verifier, self.authenticator, self.refusals),
        ]


def mesh_identity(environment: str, auth: grpc.aio.Channel, capacity: int = 10_000) -> MeshIdentity:
    """Builds a process's identity from a channel to auth. Asks nothing yet.

    `capacity` is how many keys' identities are kept.
    """
    stub = AuthServiceStub(auth)
    feed = RevocationFeed()
    verifier = TokenVerifier(environment, remote_signing_keys(stub), remote_check(stub), feed)
    refusals = RefusalCounter()
    authenticator = Authenticator(remote_exchange(stub), feed, capacity=capacity, refusals=refusals)
    return MeshIdentity(feed, verifier, authenticator, refusals)


@contextlib.asynccontextmanager
async def following(feed: RevocationFeed, auth: grpc.aio.Channel) -> AsyncIterator[None]:
    """Follows auth's revocations while the block runs."""
    async with background(follow(feed, AuthServiceStub(auth))):
        yield


@contextlib.asynccontextmanager
async def reporting(refusals: RefusalCounter, auth: grpc.aio.Channel) -> AsyncIterator[None]:
    """Tells auth's audit trail, while the block runs and at its end, of who was refused without it."""
    stub = AuditServiceStub(auth)

    async def report() -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            await _report(refusals, stub)

    async with background(report()):
        yield
    await _report(refusals, stub)


async def _report(refusals: RefusalCounter, auth: "AuditServiceAsyncStub") -> None:
    counted = refusals.drain()
    if not counted:
        return
    request = audit_service_pb2.ReportRefusalsRequest()
    for one in counted:
        request.refusals.add(
            address=one.what.address,
            count=one.count,
            request_id=one.request_id,
            method=one.what.method,
            scope=one.what.scope,
            user_id=one.what.user_id,
            api_key_id=one.what.api_key_id,
        )
    try:
        await auth.ReportRefusals(request, timeout=EXCHANGE_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError:
        refusals.put_back(counted)


@contextlib.asynccontextmanager
async def background(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine beside the block and cancels it at its end; should it fail, the block fails with it.

    An error of the block, or of the coroutine, comes out as it is and not as a group of one.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(coroutine)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
