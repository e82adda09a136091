"""What happens at a service's own gRPC door, where callers come with keys of their own."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from gaia.asset.v1 import asset_service_pb2 as pb
from gaia.asset.v1.asset_service_pb2_grpc import AssetServiceStub

from services.asset.server import serving
from shared.identity import api_key
from shared.rpc.channel import connect
from tests.integration.asset.running import settings_of
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

GUESSES = 40
"""More than an address may send wrong in a minute before it is slow."""


def listing(channel: grpc.aio.Channel, key: str, *more: tuple[str, str]) -> Any:
    return AssetServiceStub(channel).ListAssets(pb.ListAssetsRequest(), metadata=(("x-api-key", key), *more))


def download(channel: grpc.aio.Channel, key: str) -> Any:
    return AssetServiceStub(channel).DownloadAsset(pb.DownloadAssetRequest(id="x"), metadata=(("x-api-key", key),))


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_wrong_keys_are_put_down_to_the_caller_and_good_ones_go_on(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Path
):
    # The caller comes by a socket and the service asks auth by TCP, so that their addresses differ.
    settings = settings_of(postgres, database, auth, tmp_path, listen=f"unix:{tmp_path}/asset.sock")
    known, new = [await auth.new_key(scopes=["assets:read"]) for _ in range(2)]
    async with serving(settings) as server, connect(server.address) as channel:
        await listing(channel, known)
        guesses = [listing(channel, api_key.generate("test"), ("x-gaia-client-address", "6.6.6.6")) for _ in range(20)]
        assert {await code_of(call) for call in guesses} == {grpc.StatusCode.UNAUTHENTICATED}
        streams = [download(channel, api_key.generate("test")).read() for _ in range(GUESSES - 20)]
        codes = asyncio.gather(*(code_of(call) for call in streams))
        for key in (known, new):
            await listing(channel, key)
        assert set(await codes) == {grpc.StatusCode.UNAUTHENTICATED}
        assert await code_of(download(channel, new).read()) is grpc.StatusCode.NOT_FOUND

        async def written() -> bool:
            return await auth.refused_from("unix") == GUESSES

        await eventually(written)
    assert await auth.refused_from("6.6.6.6") == 0
    assert await auth.refused_from("127.0.0.1") == 0


async def test_a_wrong_scope_behind_an_unknown_key_is_denied_and_put_down_to_its_caller(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Path
):
    settings = settings_of(postgres, database, auth, tmp_path, listen=f"unix:{tmp_path}/asset.sock")
    key = await auth.new_key(scopes=["chat:read"])
    async with serving(settings) as server, connect(server.address) as channel:
        # Asked about at first, and known the second time.
        for _ in range(2):
            assert await code_of(listing(channel, key)) is grpc.StatusCode.PERMISSION_DENIED
    # A service tells at its end of what it refused.

    async def written() -> list[str]:
        return await auth.audited(action="authorization.denied", target_id="gaia.asset.v1.AssetService.ListAssets")

    assert set(await eventually(written)) == {"unix"}


async def test_a_key_of_ten_megabytes_ends_the_call_and_nothing_else(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Path
):
    key = await auth.new_key(scopes=["assets:read"])
    async with (
        serving(settings_of(postgres, database, auth, tmp_path)) as server,
        connect(server.address) as channel,
        connect(server.address) as other,
    ):
        codes = {await code_of(listing(channel, "a" * size)) for size in (20_000, 10_000_000)}
        assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        await listing(other, key)
