"""A server of Gaia, whatever carries its calls: health, reflection, what it listens on, and its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from gaia.asset.v1 import asset_service_pb2 as pb
from gaia.asset.v1 import asset_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.errors import NotFound, Unavailable
from shared.identity.refusals import RefusalCounter
from shared.rpc.channel import connect
from shared.rpc.interceptors import CallInterceptor
from shared.rpc.meter import CallMeter
from shared.rpc.server import RpcServer
from shared.rpc.transports import USUAL_LIMITS, Kind, Limits
from shared.settings import CommonSettings, SettingsError, load

SERVICE = pb.DESCRIPTOR.services_by_name["AssetService"]
HEALTH = health_pb2.HealthCheckResponse


class _Handlers(asset_service_pb2_grpc.AssetServiceServicer):
    async def ListAssets(self, request: pb.ListAssetsRequest, context: Any) -> pb.ListAssetsResponse:
        return pb.ListAssetsResponse(next_page_token=request.page_token)

    async def GetAsset(self, request: pb.GetAssetRequest, context: Any) -> pb.GetAssetResponse:
        if request.id == "bug":
            raise RuntimeError("secret")
        raise NotFound(f"there is no asset {request.id}", reason="ASSET")


@pytest.fixture(params=["http2", "grpc"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@contextlib.asynccontextmanager
async def running(
    kind: Kind, listen: str = "127.0.0.1:0", meter: CallMeter | None = None, limits: Limits = USUAL_LIMITS
) -> AsyncIterator[RpcServer]:
    make: Any = _Handlers  # the base is abstract for type checkers only

    async def broken() -> None:
        raise Unavailable("gone")

    server = RpcServer(
        listen=listen,
        services=(SERVICE,),
        register=(lambda server: asset_service_pb2_grpc.add_AssetServiceServicer_to_server(make(), server),),
        interceptors=[CallInterceptor(meter or CallMeter(), RefusalCounter())],
        probes={"database": broken},
        kind=kind,
        limits=limits,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


def stub_of(channel: grpc.aio.Channel) -> Any:
    return asset_service_pb2_grpc.AssetServiceStub(channel)


async def test_calls_and_errors_go_the_same_way(kind: Kind) -> None:
    meter = CallMeter()
    async with running(kind, meter=meter) as server, connect(server.address) as channel:
        stub = stub_of(channel)
        assert (await stub.ListAssets(pb.ListAssetsRequest(page_token="ä"))).next_page_token == "ä"
        for wanted, code, words in (
            ("x", grpc.StatusCode.NOT_FOUND, "there is no asset x"),
            ("bug", grpc.StatusCode.INTERNAL, "internal error"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetAsset(pb.GetAssetRequest(id=wanted))
            assert caught.value.code() is code
            assert words in (caught.value.details() or "")
            assert "secret" not in (caught.value.details() or "")
    codes = {method.rpartition("/")[2]: set(of.codes) for method, of in meter.methods.items()}
    assert codes == {"ListAssets": {"OK"}, "GetAsset": {"NOT_FOUND", "INTERNAL"}}


async def test_health_tells_services_dependencies_and_strangers_apart(kind: Kind) -> None:
    async with running(kind) as server, connect(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for name, status in (
            (SERVICE.full_name, HEALTH.SERVING),
            ("", HEALTH.SERVING),
            ("database", HEALTH.NOT_SERVING),
        ):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == status
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_watches_hears_of_the_end(kind: Kind) -> None:
    async with running(kind) as server, connect(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
        assert (await watch.read()).status == HEALTH.SERVING
        stopping = asyncio.create_task(server.stop(0.3))
        assert (await watch.read()).status == HEALTH.NOT_SERVING
        await stopping
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await watch.read()


async def test_reflection_tells_what_is_served(kind: Kind) -> None:
    async with running(kind) as server, connect(server.address) as channel:
        make: Any = reflection_pb2_grpc.ServerReflectionStub  # made for gRPC's other channels, says its type
        stub = make(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE.full_name),
        ]
        listed, file = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {SERVICE.full_name, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert SERVICE.file.serialized_pb in file.file_descriptor_response.file_descriptor_proto


async def test_an_address_that_is_taken_names_the_setting(kind: Kind) -> None:
    async with running("http2") as server:
        with pytest.raises(OSError, match="GAIA_LISTEN"):
            async with running(kind, server.address):
                raise AssertionError


async def test_connections_and_requests_are_as_many_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_RPC_MAX_CONNECTIONS", "1")
    monkeypatch.setenv("GAIA_RPC_MAX_HELD_BYTES", str(64 << 20))
    limits = Limits.of(CommonSettings())
    assert limits == Limits(connections=1, held_bytes=64 << 20)
    async with running("http2", limits=limits) as server:
        reader, writer = await asyncio.open_connection(*server.address.split(":"))
        assert await reader.read(1)
        async with connect(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub_of(channel).ListAssets(pb.ListAssetsRequest(), timeout=5)
            assert "1 connections are open already" in (caught.value.details() or "")
        writer.close()


@pytest.mark.parametrize(("name", "value"), [("CONNECTIONS", "0"), ("HELD_BYTES", "1000")])
def test_limits_that_let_nothing_through_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GAIA_RPC_MAX_{name}", value)
    with pytest.raises(SettingsError, match=f"GAIA_RPC_MAX_{name}"):
        load(CommonSettings)
