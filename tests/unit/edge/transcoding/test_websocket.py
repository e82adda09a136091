"""Behaviour of edge/transcoding/websocket.py, over real sockets and gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Scope
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edge.transcoding.errors import Code, RpcFailure, Status
from edge.transcoding.options import CrossOrigin, HeaderRules, MethodOptions
from edge.transcoding.routes import Route
from tests.support.transcoder import Edge, running_edge
from tests.support.transports import TRANSPORTS


@pytest.fixture(scope="module", params=TRANSPORTS)
async def edge(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with running_edge(
        request.param,
        method_options=lambda _: MethodOptions(max_message_bytes=1000, max_stream_bytes=3000, idle_timeout=0.5),
        cross_origin=CrossOrigin(origins=("https://game.example",)),
    ) as running:
        yield running


def socket(edge: Edge, path: str, **options: Any) -> Any:
    return connect(edge.url.replace("http", "ws") + path, **options)


async def received(client: ClientConnection) -> tuple[list[Any], int, str]:
    """Return the frames until the socket closes, its close code and reason."""
    frames: list[Any] = []
    try:
        while True:
            frame = await asyncio.wait_for(client.recv(), 5)
            frames.append(json.loads(frame) if isinstance(frame, str) else frame)
    except ConnectionClosed:
        return frames, client.close_code or 0, client.close_reason or ""


async def test_messages_go_both_ways_a_frame_each(edge: Edge) -> None:
    async with socket(edge, "/v1/talk/n") as client:
        await client.send('{"title":"a"}')
        assert json.loads(await client.recv()) == {"name": "n", "title": "a"}
        await client.send(b'{"title":"b"}')
        assert json.loads(await client.recv()) == {"title": "b"}
        await client.send("")
        assert await received(client) == ([], 1000, "")


async def test_a_stream_up_is_answered_by_one_frame(edge: Edge) -> None:
    async with socket(edge, "/v1/shelves/1:collect") as client:
        for title in ("a", "b"):
            await client.send(json.dumps({"title": title}))
        await client.send("")
        frames, code, _ = await received(client)
        assert [book["title"] for book in frames[0]["books"]] == ["a", "b"]
        assert code == 1000


async def test_a_stream_down_needs_no_frame_where_the_rule_takes_no_body(edge: Edge) -> None:
    async with socket(edge, "/v1/watch?count=2") as client:
        assert await received(client) == ([{"name": "b0"}, {"name": "b1"}], 1000, "")


async def test_bytes_go_as_binary_frames(edge: Edge) -> None:
    async with socket(edge, "/v1/files/a?chunks=2") as client:
        assert await received(client) == ([b"chunk 0\n", b"chunk 1\n"], 1000, "")


async def test_a_status_closes_with_its_code_and_message(edge: Edge) -> None:
    async with socket(edge, "/v1/talk/n") as client:
        await client.send('{"title":"stop"}')
        assert await received(client) == ([], 4009, "enough said")
    async with socket(edge, "/v1/watch?count=1&fail=true") as client:
        assert await received(client) == ([{"name": "b0"}], 4008, "no more books")


async def test_silence_for_too_long_closes_with_a_deadline_status(edge: Edge) -> None:
    async with socket(edge, "/v1/watch?hang=true") as client:
        assert (await received(client))[1] == 4004


@pytest.mark.parametrize(
    ("frames", "code", "reason"),
    [
        (["{}", '{"titel":1}'], 4003, "message 2: titel:"),
        (["{}", "{broken"], 4003, "message 2:"),
        (['{"title":"' + "x" * 2000 + '"}'], 1009, "limit of 1000 bytes"),
        (['{"title":"' + "x" * 900 + '"}'] * 4, 1009, "the messages are larger than this route's limit of 3000 bytes"),
    ],
)
async def test_a_frame_that_does_not_fit_closes_with_the_reason(
    edge: Edge, frames: list[str], code: int, reason: str
) -> None:
    async with socket(edge, "/v1/talk/n") as client:
        for frame in frames:
            await client.send(frame)
        _, closed, said = await received(client)
        assert closed == code
        assert reason in said


async def test_a_client_that_leaves_cancels_the_call(edge: Edge) -> None:
    edge.backend.hanging.clear()
    edge.backend.cancelled.clear()
    async with socket(edge, "/v1/shelves/1:collect") as client:
        await client.send('{"title":"hang"}')
        await asyncio.wait_for(edge.backend.hanging.wait(), 5)
    await asyncio.wait_for(edge.backend.cancelled.wait(), 5)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/nothing", 404), ("/v1/echo", 404), ("/v1/talk/%zz", 400)],
)
async def test_a_handshake_for_no_streaming_method_is_refused(edge: Edge, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await socket(edge, path)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"")["message"]


async def test_a_handshake_is_authorized_and_its_headers_become_metadata() -> None:
    def authorize(route: Route, scope: Scope) -> list[tuple[str, str]]:
        keys = [value for name, value in scope["headers"] if name == b"x-api-key"]
        if keys != [b"good"]:
            raise RpcFailure(Status(Code.UNAUTHENTICATED, "no key"))
        return [("x-gaia-user", "u1")]

    async with running_edge(authorize=authorize, headers=HeaderRules(reserved=("x-gaia-",))) as edge:
        with pytest.raises(InvalidStatus) as caught:
            await socket(edge, "/v1/talk/n")
        assert caught.value.response.status_code == 401
        async with socket(edge, "/v1/talk/n", additional_headers={"X-API-Key": "good"}) as client:
            await client.send("{}")
            assert json.loads(await client.recv()) == {"name": "n"}


async def test_an_authorizer_chooses_a_subprotocol() -> None:
    def choose(route: Route, scope: Scope) -> list[tuple[str, str]]:
        assert scope["subprotocols"] == ["secret", "spoken"]
        scope["state"]["subprotocol"] = "spoken"
        return []

    async with (
        running_edge(authorize=choose) as edge,
        socket(edge, "/v1/talk/n", subprotocols=["secret", "spoken"]) as client,
    ):
        assert client.subprotocol == "spoken"
        await client.send("")
        assert await received(client) == ([], 1000, "")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://game.example"},
        {"Origin": "https://edge.example", "X-Forwarded-Host": "edge.example"},
        {"Origin": "https://edge.example", "X-Forwarded-Host": "edge.example:443"},
    ],
)
async def test_programs_and_pages_of_named_origins_may_connect(edge: Edge, headers: dict[str, str]) -> None:
    async with socket(edge, "/v1/watch?count=1", additional_headers=headers) as client:
        assert await received(client) == ([{"name": "b0"}], 1000, "")


async def test_a_page_of_the_servers_own_may_connect(edge: Edge) -> None:
    async with socket(edge, "/v1/watch?count=1", origin=edge.url) as client:
        assert await received(client) == ([{"name": "b0"}], 1000, "")


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://game.example:8443", "http://game.example", "null", "https://", "127.0.0.1"],
)
async def test_other_pages_are_refused_before_the_socket_is_open(edge: Edge, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket(edge, "/v1/watch?count=1", origin=origin):
            pass
    assert refused.value.response.status_code == 403
    assert f"pages of {origin} may not open a WebSocket here" in json.loads(refused.value.response.body)["message"]


async def test_unless_told_no_other_page_may_connect() -> None:
    async with running_edge() as edge:
        with pytest.raises(InvalidStatus):
            async with socket(edge, "/v1/watch?count=1", origin="https://game.example"):
                pass


async def test_a_handshake_may_say_how_long_the_call_may_take(edge: Edge) -> None:
    async with socket(edge, "/v1/watch?hang=true", additional_headers={"X-Request-Timeout": "0.1"}) as client:
        assert await received(client) == ([], 4004, "the call did not end before its deadline")
    with pytest.raises(InvalidStatus) as refused:
        async with socket(edge, "/v1/watch?hang=true", additional_headers={"Grpc-Timeout": "soon"}):
            pass
    assert refused.value.response.status_code == 400
