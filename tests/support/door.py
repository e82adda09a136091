"""A service with the mesh's checks of callers and nothing behind them, whose ear for revocations can be cut."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from gaia.asset.v1 import asset_service_pb2, asset_service_pb2_grpc

from shared.rpc.channel import connect
from shared.rpc.mesh import MeshIdentity, following, mesh_identity
from shared.rpc.server import RpcServer

SERVICES = (asset_service_pb2.DESCRIPTOR.services_by_name["AssetService"],)


class _Handlers(asset_service_pb2_grpc.AssetServiceServicer):
    async def ListAssets(
        self, request: asset_service_pb2.ListAssetsRequest, context: object
    ) -> asset_service_pb2.ListAssetsResponse:
        return asset_service_pb2.ListAssetsResponse()


class Door:
    """The service as its callers see it. `hear` and `cut` begin and end the following of revocations."""

    def __init__(self, identity: MeshIdentity, auth: grpc.aio.Channel, channel: grpc.aio.Channel) -> None:
        self.identity = identity
        self._auth = auth
        self._stub = asset_service_pb2_grpc.AssetServiceStub(channel)
        self._hearing = contextlib.AsyncExitStack()

    async def call(self, *metadata: tuple[str, str]) -> grpc.StatusCode:
        """Calls a method that needs the scope `assets:read`; returns how that ended."""
        try:
            await self._stub.ListAssets(asset_service_pb2.ListAssetsRequest(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def hear(self) -> None:
        """Begins to follow revocations."""
        await self._hearing.enter_async_context(following(self.identity.feed, self._auth))

    async def cut(self) -> None:
        """Stops following revocations."""
        await self._hearing.aclose()


@contextlib.asynccontextmanager
async def running_door(auth_address: str, environment: str = "test") -> AsyncIterator[Door]:
    """Runs the service on a free port; it does not yet follow revocations."""
    async with connect(auth_address) as auth:
        identity = mesh_identity(environment, auth)
        make: Any = _Handlers  # the base is abstract for type checkers only
        handlers = make()
        server = RpcServer(
            listen="127.0.0.1:0",
            services=SERVICES,
            register=(lambda server: asset_service_pb2_grpc.add_AssetServiceServicer_to_server(handlers, server),),
            interceptors=identity.interceptors(SERVICES),
            probes={},
        )
        await server.start()
        try:
            async with connect(server.address) as channel:
                door = Door(identity, auth, channel)
                try:
                    yield door
                finally:
                    await door.cut()
        finally:
            await server.stop(0)
