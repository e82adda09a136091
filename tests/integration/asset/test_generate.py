"""Generating assets: from the request over the provider to bytes and a row, and nothing of either when it fails."""

import asyncio
import hashlib
from typing import Any

import grpc
import pytest
from gaia.asset.v1 import asset_service_pb2 as pb
from gaia.asset.v1.asset_service_pb2_grpc import AssetServiceStub
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.asset.generators.generator import ImageOrder
from services.asset.generators.openai_images import MAX_IMAGE_BYTES, MAX_REPLY_BYTES, OpenAIImages, connect_openai
from services.asset.generators.public_fetch import PublicFetcher
from services.asset.server import serving
from shared.rpc.channel import connect
from tests.integration.asset.running import (
    CAT,
    PROVIDER_KEY,
    USAGE,
    Assets,
    Provider,
    details,
    hanging,
    image_reply,
    png,
    running_assets,
    settings_of,
)
from tests.support.asgi_server import running_asgi
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer


async def failure(assets: Assets, request: pb.GenerateAssetRequest, metadata: Any, **more: Any) -> Any:
    """The error that a generation ends with; checks that it left neither row nor bytes."""
    before = (assets.files(), await assets.rows())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await assets.stub.GenerateAsset(request, metadata=metadata, **more)
    assert (assets.files(), await assets.rows()) == before
    return caught.value


async def generate(assets: Assets, metadata: Any) -> Any:
    """A generation as a coroutine, which gRPC's own call is not."""
    return await assets.stub.GenerateAsset(CAT, metadata=metadata)


async def test_an_image_is_stored_and_described(assets: Assets, provider: Provider, caller: Any) -> None:
    data = png(64, 64)
    provider.answers(image_reply(data, usage=USAGE))
    request = pb.GenerateAssetRequest(category="texture", description=" mossy stone ", style="low-poly")
    request.requirements.quality = "low"
    made = await assets.stub.GenerateAsset(request, metadata=caller)

    row = await assets.database.fetchrow("SELECT * FROM assets WHERE id = $1", made.asset_id)
    assert row is not None
    assert (row["category"], row["style"], row["source"], row["provider"]) == (
        "texture",
        "low-poly",
        "generated",
        "openai",
    )
    assert (row["content_type"], row["size_bytes"]) == ("image/png", len(data))
    assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert row["storage_path"] == f"assets/{row['user_id']}/{made.asset_id}.png"
    assert (assets.folder / row["storage_path"]).read_bytes() == data
    assert made.source == "generated"
    assert made.response_time_ms >= 0
    assert made.asset_data.file_format == "png"
    assert made.asset_data.file_size_mb == len(data) / 2**20
    assert made.asset_data.download_url == f"/api/v1/assets/{made.asset_id}/download"
    assert made.asset_data.preview_image_url == made.asset_data.download_url
    assert made.storage_info.storage_type == "local"
    assert made.storage_info.bucket_name == assets.folder.name
    assert made.storage_info.file_path == row["storage_path"]
    assert made.metadata["provider"] == "openai"
    assert made.metadata["usage"]["output_tokens"] == 439


async def test_the_provider_is_asked_for_one_base64_image_without_more(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    request = pb.GenerateAssetRequest(category="image", description="a cat", style="watercolour")
    request.requirements.format = "png"
    await assets.stub.GenerateAsset(request, metadata=caller)
    assert provider.requests == [
        {
            "model": "gpt-image-2.5-flare",
            "prompt": "a cat\nStyle: watercolour",
            "n": 1,
            "size": "1024x1024",
            "quality": "medium",
            "output_format": "png",
        }
    ]
    assert provider.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert provider.headers["accept-encoding"] == "identity"


async def test_older_models_are_asked_for_base64_by_their_own_parameter(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    request = pb.GenerateAssetRequest(category="image", description="a cat", model="stable-diffusion")
    made = await assets.stub.GenerateAsset(request, metadata=caller)
    assert provider.requests[0]["response_format"] == "b64_json"
    assert not {"quality", "output_format"} & set(provider.requests[0])
    assert made.metadata["model"] == "stable-diffusion"


async def test_the_cost_is_what_the_reported_usage_costs(assets: Assets, provider: Provider, caller: Any) -> None:
    provider.answers(image_reply(png(), usage=USAGE))
    made = await assets.stub.GenerateAsset(CAT, metadata=caller)
    # 20 text tokens at 5 USD and 439 image tokens at 30 USD a million.
    assert made.cost == made.cost_breakdown.generation == made.cost_breakdown.total == pytest.approx(0.01327)
    assert made.cost_breakdown.currency == "USD"


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": -1, "output_tokens": "x"}, "nonsense"])
async def test_a_cost_that_nobody_reported_is_absent(
    assets: Assets, provider: Provider, caller: Any, usage: Any
) -> None:
    provider.answers(image_reply(png(), usage=usage))
    made = await assets.stub.GenerateAsset(CAT, metadata=caller)
    assert not made.HasField("cost")
    assert not made.cost_breakdown.HasField("total")
    assert await assets.database.fetchval("SELECT cost_usd IS NULL FROM assets WHERE id = $1", made.asset_id)


async def test_a_revised_prompt_is_kept_in_a_form_that_can_be_stored(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    reply = {"data": [{"b64_json": "iVBORw0KGgo=", "revised_prompt": "a grey\0 cat"}]}
    provider.answers(JSONResponse(reply))
    made = await assets.stub.GenerateAsset(CAT, metadata=caller)
    assert made.metadata["revised_prompt"] == "a grey cat"


async def test_all_that_is_wrong_is_said_at_once(assets: Assets, provider: Provider, caller: Any) -> None:
    request = pb.GenerateAssetRequest(category="picture", description=" ", style="x" * 201, model="-")
    request.requirements.quality = "best"
    request.requirements.format = "bmp"
    request.requirements.polygon_count_max = -1
    request.requirements.file_size_max_mb = float("nan")
    request.preferences.max_cost = -0.5
    request.preferences.max_wait_time_ms = -1
    error = await failure(assets, request, caller)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert set(details(error)["fields"]) == {
        "category",
        "description",
        "style",
        "model",
        "requirements.quality",
        "requirements.format",
        "requirements.polygon_count_max",
        "requirements.file_size_max_mb",
        "preferences.max_cost",
        "preferences.max_wait_time_ms",
    }
    assert provider.requests == []


@pytest.mark.parametrize("category", ["environment", "character", "prop", "audio", "animation"])
async def test_a_category_that_no_provider_makes_is_refused(
    assets: Assets, provider: Provider, caller: Any, category: str
) -> None:
    error = await failure(assets, pb.GenerateAssetRequest(category=category, description="x"), caller)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert category in error.details()
    assert details(error)["reason"] == "CATEGORY_NOT_SERVED"
    assert provider.requests == []


async def test_nothing_is_generated_against_the_callers_wish(assets: Assets, provider: Provider, caller: Any) -> None:
    request = pb.GenerateAssetRequest(category="image", description="x")
    request.preferences.allow_generation = False
    error = await failure(assets, request, caller)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)["reason"] == "GENERATION_NOT_ALLOWED"
    assert provider.requests == []


async def test_what_costs_too_much_is_not_bought(assets: Assets, provider: Provider, caller: Any) -> None:
    request = pb.GenerateAssetRequest(category="image", description="x")
    request.requirements.quality = "high"
    request.preferences.max_cost = 0.05
    error = await failure(assets, request, caller)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)["reason"] == "COST_ABOVE_LIMIT"
    assert "0.05268 USD" in error.details()
    assert provider.requests == []
    request.preferences.max_cost = 0.06
    await assets.stub.GenerateAsset(request, metadata=caller)


async def test_a_key_that_may_only_read_generates_nothing(assets: Assets, provider: Provider) -> None:
    error = await failure(assets, CAT, await assets.new_caller("assets:read"))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert provider.requests == []


async def test_without_a_provider_key_the_missing_setting_is_named(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Any
) -> None:
    settings = settings_of(postgres, database, auth, tmp_path)
    async with running_assets(auth, settings, tmp_path) as assets:
        error = await failure(assets, CAT, await assets.new_caller())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "OPENAI_API_KEY" in error.details()
        assert details(error)["reason"] == "PROVIDER_UNCONFIGURED"
        assert details(error)["retry_after"] > 0


def refusal(status: int, code: str | None = None, param: str | None = None, **headers: str) -> JSONResponse:
    """An OpenAI-shaped error that repeats the key, as some have done."""
    error = {"message": f"bad thing {PROVIDER_KEY}", "type": "x", "code": code, "param": param}
    return JSONResponse({"error": error}, status, headers)


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (refusal(429), "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
        (refusal(429, "insufficient_quota"), "RESOURCE_EXHAUSTED", "PROVIDER_QUOTA_EXHAUSTED"),
        (refusal(400, "billing_hard_limit_reached"), "RESOURCE_EXHAUSTED", "PROVIDER_QUOTA_EXHAUSTED"),
        (refusal(500), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
        (refusal(503), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
        (refusal(400), "INVALID_ARGUMENT", "PROVIDER_REFUSED"),
        (refusal(400, "moderation_blocked"), "INVALID_ARGUMENT", "CONTENT_REFUSED"),
        (refusal(401), "INTERNAL", "BAD_UPSTREAM"),
        (refusal(403), "INTERNAL", "BAD_UPSTREAM"),
        (refusal(404, "model_not_found"), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (refusal(404), "INTERNAL", "BAD_UPSTREAM"),
        (refusal(418), "INTERNAL", "BAD_UPSTREAM"),
        (Response(status_code=302, headers={"location": "http://127.0.0.1:1/"}), "INTERNAL", "BAD_UPSTREAM"),
        (PlainTextResponse("<html>"), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse([1]), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse({"data": []}), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse({"data": [{}]}), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse({"data": [{"b64_json": "@@@"}]}), "INTERNAL", "BAD_UPSTREAM"),
        (image_reply(b"<svg/>"), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse({"data": [{"url": "http://127.0.0.1:9/x.png"}]}), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse({"data": [{"url": "http://localhost:9/x.png"}]}), "INTERNAL", "BAD_UPSTREAM"),
        (JSONResponse({"data": [{"url": "file:///etc/passwd"}]}), "INTERNAL", "BAD_UPSTREAM"),
        (Response(b"x", headers={"content-encoding": "gzip"}), "INTERNAL", "BAD_UPSTREAM"),
    ],
)
async def test_a_providers_failure_keeps_its_class_and_leaves_nothing(
    assets: Assets, provider: Provider, caller: Any, answer: Response, code: str, reason: str
) -> None:
    provider.answers(answer)
    error = await failure(assets, CAT, caller)
    assert (error.code().name, details(error)["reason"]) == (code, reason)
    assert PROVIDER_KEY not in repr((error.details(), error.trailing_metadata()))
    assert len(provider.requests) == 1


async def test_a_rate_limit_says_when_to_come_back(assets: Assets, provider: Provider, caller: Any) -> None:
    provider.answers(refusal(429, **{"retry-after": "17"}))
    assert details(await failure(assets, CAT, caller))["retry_after"] == 17


async def test_a_parameter_that_the_provider_refuses_is_named_as_the_contract_names_it(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    provider.answers(refusal(400, "invalid_value", "prompt"))
    error = await failure(assets, CAT, caller)
    assert details(error)["fields"] == ["description"]
    assert "bad thing [secret]" in error.details()


async def test_a_reply_that_ends_early_is_an_outage(assets: Assets, provider: Provider, caller: Any) -> None:
    async def cut() -> Any:
        yield b'{"data": [{"b64_json": "iVBO'

    provider.answers(StreamingResponse(cut(), headers={"content-length": "4000"}))
    error = await failure(assets, CAT, caller)
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")


async def test_a_reply_without_end_is_cut(assets: Assets, provider: Provider, caller: Any) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 4 * MAX_REPLY_BYTES:
            await asyncio.sleep(0)  # lets the server see that nobody reads any more
            yield b" " * 1_000_000
            sent += 1_000_000

    provider.answers(StreamingResponse(endless()))
    error = await failure(assets, CAT, caller)
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.INTERNAL, "BAD_UPSTREAM")
    assert sent < 2 * MAX_REPLY_BYTES


async def test_a_provider_that_takes_too_long_is_reported_before_the_caller_gives_up(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    provider.answer, _, left = hanging()
    error = await failure(assets, CAT, caller, timeout=3.2)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(error)["reason"] == "PROVIDER_TIMEOUT"
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_provider_that_is_away_is_an_outage(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Any
) -> None:
    settings = settings_of(
        postgres, database, auth, tmp_path, openai_api_key=SecretStr("k"), openai_base_url="http://127.0.0.1:1/v1"
    )
    async with running_assets(auth, settings, tmp_path) as assets:
        error = await failure(assets, CAT, await assets.new_caller())
        assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")


async def test_an_image_in_another_format_than_asked_for_is_refused(
    assets: Assets, provider: Provider, caller: Any
) -> None:
    request = pb.GenerateAssetRequest(category="image", description="x")
    request.requirements.format = "webp"
    error = await failure(assets, request, caller)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "answered png where webp was asked for" in error.details()


async def test_an_image_larger_than_asked_for_is_refused(assets: Assets, provider: Provider, caller: Any) -> None:
    provider.answers(image_reply(png(256, 256)))
    request = pb.GenerateAssetRequest(category="image", description="x")
    request.requirements.file_size_max_mb = 0.01
    error = await failure(assets, request, caller)
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.FAILED_PRECONDITION, "ASSET_TOO_LARGE")


async def test_a_row_that_fails_takes_its_bytes_with_it(assets: Assets, provider: Provider, caller: Any) -> None:
    await assets.database.execute("REVOKE INSERT ON assets FROM gaia_asset")
    try:
        error = await failure(assets, CAT, caller)
    finally:
        await assets.database.execute("GRANT INSERT ON assets TO gaia_asset")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert len(provider.requests) == 1


async def test_bytes_that_cannot_be_written_are_an_outage(
    postgres: PostgresServer, database: str, auth: Auth, provider: Provider, tmp_path: Any
) -> None:
    settings = settings_of(
        postgres, database, auth, tmp_path, openai_api_key=SecretStr("k"), openai_base_url=provider.url
    )
    async with running_assets(auth, settings, tmp_path) as assets:
        (tmp_path / "assets").write_text("a file where a folder must be")
        error = await failure(assets, CAT, await assets.new_caller())
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.UNAVAILABLE, "ASSET_STORE_UNAVAILABLE")
    assert str(tmp_path) not in error.details()


async def test_no_money_is_spent_while_the_database_is_away(
    auth: Auth, postgres: PostgresServer, database: str, provider: Provider, tmp_path: Any
) -> None:
    nowhere = f"postgresql://gaia_asset@/nowhere?host={tmp_path}"
    settings = settings_of(
        postgres,
        database,
        auth,
        tmp_path,
        openai_api_key=SecretStr("k"),
        openai_base_url=provider.url,
        database_url=SecretStr(nowhere),
    )
    async with running_assets(auth, settings, tmp_path) as assets:
        error = await failure(assets, CAT, await assets.new_caller())
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert provider.requests == []


async def test_a_caller_who_leaves_ends_the_providers_work(assets: Assets, provider: Provider, caller: Any) -> None:
    provider.answer, asked, left = hanging()
    before = (assets.files(), await assets.rows())
    call = assets.stub.GenerateAsset(CAT, metadata=caller)
    async with asyncio.timeout(10):
        await asked.wait()
        call.cancel()
        await left.wait()
    assert (assets.files(), await assets.rows()) == before


async def test_more_generations_than_allowed_are_sent_away(assets: Assets, provider: Provider, caller: Any) -> None:
    release, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def answer(_request: Request) -> Response:
        asked.release()
        await release.wait()
        return image_reply(png())

    provider.answer = answer
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = [group.create_task(generate(assets, caller)) for _ in range(2)]
        for _ in running:
            await asked.acquire()
        error = await failure(assets, CAT, caller)
        release.set()
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.UNAVAILABLE, "TOO_MANY_CALLS")
    assert len({task.result().asset_id for task in running}) == 2


async def test_a_stopping_service_finishes_what_is_being_generated(
    postgres: PostgresServer, database: str, auth: Auth, provider: Provider, tmp_path: Any
) -> None:
    release, asked = asyncio.Event(), asyncio.Event()

    async def answer(_request: Request) -> Response:
        asked.set()
        await release.wait()
        return image_reply(png())

    provider.answer = answer
    settings = settings_of(
        postgres,
        database,
        auth,
        tmp_path,
        openai_api_key=SecretStr("k"),
        openai_base_url=provider.url,
        drain_seconds=10,
    )
    key = await auth.new_key(scopes=["assets:write"])
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(settings) as server:
            address.set_result(server.address)
            await stop.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        server = group.create_task(serve())
        async with connect(await address) as channel:
            stub: Any = AssetServiceStub(channel)
            pending = asyncio.ensure_future(stub.GenerateAsset(CAT, metadata=(("x-api-key", key),)))
            await asked.wait()
            stop.set()
            # A server that stops says so on its connections.
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            release.set()
            made = await pending
            await server
    assert (tmp_path / made.storage_info.file_path).read_bytes() == png()


async def test_an_image_that_is_only_named_is_fetched(provider: Provider) -> None:
    data = png(20, 20)

    async def picture(_request: Request) -> Response:
        return Response(data, media_type="text/plain")

    async with running_asgi(Starlette(routes=[Route("/signed", picture)])) as url:
        provider.answers(JSONResponse({"data": [{"url": f"{url}/signed"}]}))
        order = ImageOrder("a cat", "", "medium", "")
        fetcher = PublicFetcher(max_bytes=MAX_IMAGE_BYTES, is_allowed=lambda address: address.is_loopback)
        async with connect_openai(PROVIDER_KEY, provider.url) as client:
            made = await OpenAIImages(client, "dall-e-3", fetcher.fetch).generate(order, 10)
        await fetcher.close()
    assert made.data == data
    assert (made.model, made.cost_usd) == ("dall-e-3", None)
