"""Running an asset service, and a provider that does what a test tells it to."""

import asyncio
import base64
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from gaia.asset.v1 import asset_service_pb2 as pb
from gaia.asset.v1.asset_service_pb2_grpc import AssetServiceStub
from google.rpc import error_details_pb2, status_pb2
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.asset.server import serving
from services.asset.settings import AssetSettings
from shared.rpc.channel import connect
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer

CAT = pb.GenerateAssetRequest(category="image", description="a cat on a wall")
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
    "output_tokens": 439,
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 439},
    "total_tokens": 459,
}
PROVIDER_KEY = "sk-test-4f1d0c9b8a7e6d5c"
Answer = Callable[[Request], Awaitable[Response]]


def png(width: int = 1, height: int = 1) -> bytes:
    """A real PNG of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    rows = (b"\x00" + b"\x20\x40\x80" * width) * height
    # Stored, not deflated, so that a test can have as many bytes as it wants.
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def image_reply(data: bytes, **more: Any) -> JSONResponse:
    """What the OpenAI Images API answers."""
    return JSONResponse({"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}], **more})


@dataclass
class Provider:
    """An OpenAI-shaped upstream; `answer` answers, `requests` holds the JSON bodies it got, `headers` the last ones."""

    url: str = ""
    answer: Answer | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def answers(self, response: Response) -> None:
        """Answers every request with this response."""

        async def answer(_request: Request) -> Response:
            return response

        self.answer = answer

    async def serve(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.headers = dict(request.headers)
        assert self.answer is not None
        return await self.answer(request)


@dataclass(frozen=True)
class Assets:
    """The running service, as a test uses it."""

    address: str
    channel: grpc.aio.Channel
    auth: Auth
    folder: Path
    database: "asyncpg.Connection[asyncpg.Record]"

    @property
    def stub(self) -> Any:
        return AssetServiceStub(self.channel)

    async def new_caller(self, *scopes: str) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of a new user with a key of these scopes."""
        key = await self.auth.new_key(scopes=scopes or ("assets:read", "assets:write"))
        return (("x-api-key", key),)

    def files(self) -> list[Path]:
        """All files in the store."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    async def rows(self) -> int:
        """How many rows there are."""
        return int(await self.database.fetchval("SELECT count(*) FROM assets"))

    async def download(self, asset_id: str, metadata: Any) -> tuple[Any, list[Any]]:
        """Returns the initial metadata and the parts of a download."""
        call = self.stub.DownloadAsset(pb.DownloadAssetRequest(id=asset_id), metadata=metadata)
        parts = [part async for part in call]
        return dict(await call.initial_metadata()), parts


def settings_of(postgres: PostgresServer, database: str, auth: Auth, folder: Path, **more: Any) -> AssetSettings:
    """Settings of a service on a free port."""
    given: dict[str, Any] = {
        "env": "test",
        "listen": "127.0.0.1:0",
        "database_url": SecretStr(postgres.url(database, "gaia_asset")),
        "auth_target": auth.address,
        "asset_store": folder.as_uri(),
        "drain_seconds": 0.5,
        "openai_api_key": None,
        "max_generations": 2,
    }
    return AssetSettings(**{**given, **more})


@contextlib.asynccontextmanager
async def running_assets(
    auth: Auth, settings: AssetSettings, folder: Path, reload: asyncio.Event | None = None
) -> AsyncIterator[Assets]:
    """Runs the service."""
    database = await asyncpg.connect(auth.owner_url)
    try:
        async with serving(settings, reload) as server, connect(server.address) as channel:
            yield Assets(server.address, channel, auth, folder, database)
    finally:
        await database.close()


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Returns the rich details of an error: violations by field, the reason, seconds to wait."""
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
    found: dict[str, Any] = {"fields": [], "reason": "", "retry_after": None}
    for detail in status.details:
        for kind in (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            message = kind()
            if not detail.Unpack(message):
                continue
            if kind is error_details_pb2.BadRequest:
                found["fields"] = [violation.field for violation in message.field_violations]
            elif kind is error_details_pb2.ErrorInfo:
                found["reason"] = message.reason
            else:
                found["retry_after"] = message.retry_delay.ToMilliseconds() / 1000
    return found


def hanging() -> tuple[Answer, asyncio.Event, asyncio.Event]:
    """Returns an answer that never comes, and the events of the question and of the asker's leaving."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Response:
        asked.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left.set()
        return Response(status_code=500)

    return answer, asked, left
