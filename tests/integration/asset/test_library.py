"""Listing, reading, downloading and deleting assets, each caller its own."""

import asyncio
import datetime as dt
import hashlib
import uuid
from typing import Any

import grpc
import pytest
from gaia.asset.v1 import asset_service_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.asset.blobs import CHUNK_BYTES
from tests.integration.asset.running import Assets, Provider, details, image_reply, png

NOBODYS = "00000000-0000-4000-8000-000000000000"


async def generate(assets: Assets, metadata: Any, description: str = "a cat", **more: Any) -> Any:
    request = pb.GenerateAssetRequest(**{"category": "image", "description": description, **more})
    return await assets.stub.GenerateAsset(request, metadata=metadata)


async def refused(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def download_refused(assets: Assets, asset_id: str, metadata: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await assets.download(asset_id, metadata)
    return caught.value


async def list_all(assets: Assets, metadata: Any, **query: Any) -> list[list[Any]]:
    """All pages of a list."""
    pages, token = [], ""
    while True:
        page = await assets.stub.ListAssets(pb.ListAssetsRequest(page_token=token, **query), metadata=metadata)
        pages.append(list(page.assets))
        token = page.next_page_token
        if not token:
            return pages


async def test_the_service_says_that_it_answers(assets: Assets, caller: Any) -> None:
    said = await assets.stub.TestAssets(pb.TestAssetsRequest(), metadata=caller)
    assert (said.status, said.service) == ("ok", "asset-service")


async def test_the_database_is_probed_by_health_checks(assets: Assets) -> None:
    health: Any = health_pb2_grpc.HealthStub(assets.channel)
    for service in ("database", "gaia.asset.v1.AssetService"):
        response = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_download_has_the_bytes_their_type_and_their_etag(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    data = png(700, 700)
    provider.answers(image_reply(data))
    made = await generate(assets, caller)
    metadata, parts = await assets.download(made.asset_id, caller)
    assert metadata["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert b"".join(part.data for part in parts) == data
    assert [part.content_type for part in parts] == ["image/png"] + [""] * (len(parts) - 1)
    assert [len(part.data) for part in parts[:-1]] == [CHUNK_BYTES] * (len(data) // CHUNK_BYTES)


async def test_a_download_that_nobody_reads_is_not_read_from_the_store(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    provider.answers(image_reply(png(1500, 1500)))
    made = await generate(assets, caller)
    call = assets.stub.DownloadAsset(pb.DownloadAssetRequest(id=made.asset_id), metadata=caller)
    first = await call.read()
    assert first.content_type == "image/png"
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    # The service goes on serving the same asset.
    _, parts = await assets.download(made.asset_id, caller)
    assert sum(len(part.data) for part in parts) == len(png(1500, 1500))


@pytest.mark.parametrize(
    ("asked", "offset"),
    [
        ({"x-body-offset": "1000"}, 1000),
        ({"x-body-offset": "1000", "x-body-offset-if": "current"}, 1000),
        ({"x-body-offset": "1000", "x-body-offset-if": '"another"'}, 0),
        ({"x-body-offset": "100000000"}, 0),
        ({"x-body-offset": "9" * 5000}, 0),
        ({"x-body-offset": "-1"}, 0),
    ],
)
async def test_a_download_begins_where_the_edge_asks_for_if_there_is_such_a_place(
    assets: Assets, provider: Provider, caller: Any, asked: dict[str, str], offset: int
) -> None:
    data = png(700, 700)
    provider.answers(image_reply(data))
    made = await generate(assets, caller)
    current = {
        name: f'"{hashlib.sha256(data).hexdigest()}"' if value == "current" else value for name, value in asked.items()
    }
    metadata, parts = await assets.download(made.asset_id, (*caller, *current.items()))
    assert (metadata["x-body-offset"], metadata["x-body-length"]) == (str(offset), str(len(data)))
    assert b"".join(part.data for part in parts) == data[offset:]


async def test_an_asset_without_bytes_is_one_part(assets: Assets, provider: Provider, caller: Any) -> None:
    made = await generate(assets, caller)
    (assets.folder / made.storage_info.file_path).write_bytes(b"")
    await assets.database.execute("UPDATE assets SET size_bytes = 0 WHERE id = $1", made.asset_id)
    _, parts = await assets.download(made.asset_id, caller)
    assert [(part.content_type, part.data) for part in parts] == [("image/png", b"")]


async def test_an_asset_is_described(assets: Assets, provider: Provider, caller: Any) -> None:
    made = await generate(assets, caller, "a red cat", style="pixel art")
    asset = (await assets.stub.GetAsset(pb.GetAssetRequest(id=made.asset_id), metadata=caller)).asset
    assert (asset.id, asset.category, asset.description, asset.style) == (
        made.asset_id,
        "image",
        "a red cat",
        "pixel art",
    )
    assert (asset.source, asset.provider, asset.model) == ("generated", "openai", "gpt-image-2.5-flare")
    assert (asset.content_type, asset.size_bytes) == ("image/png", len(png()))
    assert asset.sha256 == hashlib.sha256(png()).hexdigest()
    assert asset.download_url == f"/api/v1/assets/{made.asset_id}/download"
    assert not asset.HasField("cost_usd")
    age = await assets.database.fetchval("SELECT now() - $1::timestamptz", asset.created_at.ToDatetime(tzinfo=dt.UTC))
    assert 0 <= age.total_seconds() < 60


async def test_a_foreign_asset_is_as_unknown_as_one_that_never_was(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    made = await generate(assets, caller)
    stranger = await assets.new_caller()
    for asset_id in (made.asset_id, NOBODYS, "not-an-id", "", "1" * 5000):
        for call in (
            assets.stub.GetAsset(pb.GetAssetRequest(id=asset_id), metadata=stranger),
            assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=asset_id), metadata=stranger),
        ):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.NOT_FOUND
            assert error.details() == f"there is no asset {asset_id[:64]}"
        error = await download_refused(assets, asset_id, stranger)
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, f"there is no asset {asset_id[:64]}")
    assert await list_all(assets, stranger) == [[]]
    assert (assets.folder / made.storage_info.file_path).exists()


async def test_an_admin_sees_and_deletes_everybodys_assets(assets: Assets, provider: Provider, caller: Any) -> None:
    made = await generate(assets, caller, "something only here")
    admin = await assets.new_caller("admin")
    assert [[one.id for one in page] for page in await list_all(assets, admin, search="something only here")] == [
        [made.asset_id]
    ]
    _, parts = await assets.download(made.asset_id, admin)
    assert parts[0].data == png()
    await assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=made.asset_id), metadata=admin)
    error = await refused(assets.stub.GetAsset(pb.GetAssetRequest(id=made.asset_id), metadata=caller))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_deleting_takes_row_and_bytes(assets: Assets, provider: Provider, caller: Any) -> None:
    made = await generate(assets, caller)
    path = assets.folder / made.storage_info.file_path
    assert path.exists()
    await assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=made.asset_id), metadata=caller)
    assert not path.exists()
    error = await refused(assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=made.asset_id), metadata=caller))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    error = await download_refused(assets, made.asset_id, caller)
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_deleting_an_asset_whose_bytes_are_gone_succeeds(assets: Assets, provider: Provider, caller: Any) -> None:
    made = await generate(assets, caller)
    (assets.folder / made.storage_info.file_path).unlink()
    error = await download_refused(assets, made.asset_id, caller)
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.NOT_FOUND, "BYTES_MISSING")
    await assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=made.asset_id), metadata=caller)
    assert await list_all(assets, caller) == [[]]


async def test_bytes_of_another_size_are_not_handed_out(assets: Assets, provider: Provider, caller: Any) -> None:
    made = await generate(assets, caller)
    (assets.folder / made.storage_info.file_path).write_bytes(png()[:-1])
    error = await download_refused(assets, made.asset_id, caller)
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.UNAVAILABLE, "BYTES_DAMAGED")


async def test_a_key_that_may_only_write_reads_nothing(assets: Assets) -> None:
    writer = await assets.new_caller("assets:write")
    error = await refused(assets.stub.ListAssets(pb.ListAssetsRequest(), metadata=writer))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    reader = await assets.new_caller("assets:read")
    error = await refused(assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=NOBODYS), metadata=reader))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    error = await download_refused(assets, NOBODYS, writer)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_pages_hold_every_asset_once_and_the_newest_first(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    made = [await generate(assets, caller, f"number {index}") for index in range(7)]
    user = await assets.database.fetchval("SELECT user_id FROM assets WHERE id = $1", made[0].asset_id)
    # Some of one moment, so that the id has to decide.
    moment = "UPDATE assets SET created_at = date_trunc('minute', created_at)"
    await assets.database.execute(f"{moment} WHERE user_id = $1 AND description < 'number 5'", user)
    pages = await list_all(assets, caller, page_size=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    listed = [asset for page in pages for asset in page]
    assert {asset.id for asset in listed} == {one.asset_id for one in made}
    order = [(asset.created_at.ToMicroseconds(), uuid.UUID(asset.id)) for asset in listed]
    assert order == sorted(order, reverse=True)
    page = await assets.stub.ListAssets(pb.ListAssetsRequest(page_size=3), metadata=caller)
    assert page.total == 7


async def test_a_last_page_that_is_full_has_no_next_one(assets: Assets, provider: Provider, caller: Any) -> None:
    for _ in range(2):
        await generate(assets, caller)
    page = await assets.stub.ListAssets(pb.ListAssetsRequest(page_size=2), metadata=caller)
    assert (len(page.assets), page.total, page.next_page_token) == (2, 2, "")


async def test_filters_narrow_the_list_and_its_total(assets: Assets, provider: Provider, caller: Any) -> None:
    await generate(assets, caller, "A Mossy wall", category="texture")
    await generate(assets, caller, "a mossy cat")
    await generate(assets, caller, "a dog", style="mossy")
    await generate(assets, caller, "a dog")
    queries: tuple[tuple[dict[str, Any], int], ...] = (
        ({"category": "texture"}, 1),
        ({"category": "image"}, 3),
        ({"category": "audio"}, 0),
        ({"search": "MOSSY"}, 3),
        ({"search": "mossy", "category": "image"}, 2),
        ({"search": "bird"}, 0),
        ({}, 4),
    )
    for query, expected in queries:
        page = await assets.stub.ListAssets(pb.ListAssetsRequest(**query), metadata=caller)
        assert (len(page.assets), page.total) == (expected, expected), query


@pytest.mark.parametrize("text", ["100%", "a_b", "a\\b", "it's", "'; DROP TABLE assets; --"])
async def test_searched_text_is_found_as_it_stands(assets: Assets, provider: Provider, caller: Any, text: str) -> None:
    await generate(assets, caller, f"has {text} in it")
    await generate(assets, caller, "100x a-b a/b its")
    page = await assets.stub.ListAssets(pb.ListAssetsRequest(search=text), metadata=caller)
    assert [asset.description for asset in page.assets] == [f"has {text} in it"]


async def test_everything_wrong_with_a_list_is_said_at_once(assets: Assets, caller: Any) -> None:
    request = pb.ListAssetsRequest(category="pictures", search="\0", page_size=-1, page_token="?")
    error = await refused(assets.stub.ListAssets(request, metadata=caller))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert set(details(error)["fields"]) == {"category", "search", "page_size", "page_token"}


async def test_many_downloads_at_once_all_get_their_bytes(assets: Assets, provider: Provider, caller: Any) -> None:
    data = png(400, 400)
    provider.answers(image_reply(data))
    made = await generate(assets, caller)
    got = await asyncio.gather(*(assets.download(made.asset_id, caller) for _ in range(20)))
    assert all(b"".join(part.data for part in parts) == data for _, parts in got)
