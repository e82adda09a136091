"""Every vector of this folder, over real HTTP and gRPC; tests/support/vectors.py says what a vector is."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from starlette.types import Receive, Scope, Send

from edge.http_protocol import BoundedHttpProtocol
from edge.transcoding.app import Transcoder
from edge.transcoding.errors import Code
from edge.transcoding.transport.channel import Channel
from tests.support.asgi_server import running_asgi
from tests.support.scripted import Call, ScriptedBackend, running_backend
from tests.support.transports import channel_to
from tests.support.vectors import PROFILES, Vector, changed_profile, load_vectors, services
from tests.support.wire import Response, send

VECTORS = load_vectors()


class Bench:
    """Backends and transcoders, made when first asked for, behind one HTTP server."""

    def __init__(self, stack: AsyncExitStack, transport: str) -> None:
        self._stack = stack
        self._transport = transport
        self._backends: dict[str, tuple[ScriptedBackend, Channel]] = {}
        self._transcoders: dict[str, Transcoder] = {}
        self._current: Transcoder
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve by the transcoder of the current vector."""
        await self._current(scope, receive, send)

    async def prepare(self, vector: Vector) -> ScriptedBackend:
        """Set the current vector, and return its backend."""
        found = self._backends.get(vector.contract)
        if found is None:
            backend = await self._stack.enter_async_context(running_backend(services(vector.contract)))
            channel = await self._stack.enter_async_context(channel_to(backend.address, self._transport))
            found = self._backends[vector.contract] = backend, channel
        configuration = vector.configuration()
        if configuration not in self._transcoders:
            self._transcoders[configuration] = Transcoder(
                services(vector.contract),
                found[1],
                profile=changed_profile(vector),
                method_options=vector.method_options,
                headers=vector.header_rules(),
                limits=vector.limit_options(),
                cross_origin=vector.cross_origin(),
            )
        self._current = self._transcoders[configuration]
        await heard_of_all_calls(found[1])
        found[0].follow(vector.script())
        return found[0]


@asynccontextmanager
async def running_bench(transport: str) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        bench = Bench(stack, transport)
        bench.url = await stack.enter_async_context(running_asgi(bench, proxy_headers=False, http=BoundedHttpProtocol))
        yield bench


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with running_bench("http2") as running:
        yield running


@pytest.fixture(scope="module")
async def reference() -> AsyncIterator[Bench]:
    """The same, whose calls go by the gRPC library."""
    async with running_bench("grpc") as running:
        yield running


@pytest.mark.parametrize("vector", VECTORS, ids=[vector.id for vector in VECTORS])
async def test_vector(vector: Vector, bench: Bench) -> None:
    await check(vector, bench)


# What never reaches a backend does not depend on the way to it.
CALLING = [vector for vector in VECTORS if vector.get("method") and vector.profile == "strict"]


@pytest.mark.parametrize("vector", CALLING, ids=[vector.id for vector in CALLING])
async def test_vector_by_the_grpc_library(vector: Vector, reference: Bench) -> None:
    await check(vector, reference)


async def check(vector: Vector, bench: Bench) -> None:
    """Send a vector's request and compare what comes of it."""
    backend = await bench.prepare(vector)
    method, target = vector.method_and_target
    response = await send(bench.url, method, target, vector.headers, vector.body)
    check_response(vector, response)
    check_calls(vector, backend.calls)


async def heard_of_all_calls(channel: Channel) -> None:
    """Return when the backend has heard of what the vector before began and cancelled with nothing sent."""
    nothing = channel.method("/none.v1.None/None", client_streaming=False, server_streaming=False)
    with pytest.raises(grpc.aio.AioRpcError):
        await nothing(b"", timeout=10, metadata=())


def check_calls(vector: Vector, calls: list[Call]) -> None:
    """Compare what the backend got."""
    if vector.get("method") is None and "method" in vector.keys:
        # A streamed call opens while its first message is still being read; a wrong one cancels it with nothing sent.
        # Every other call carries its one message.
        assert [call for call in calls if call.messages] == []
    if not vector.get("method"):
        return
    assert [call.method.partition(".v1.")[2] for call in calls] == [vector.get("method")]
    expected = vector.expected_messages()
    if expected is not None:
        assert calls[0].messages == expected
    got: dict[str, list[str]] = {}
    for name, value in calls[0].metadata:
        got.setdefault(name, []).append(value.hex() if isinstance(value, bytes) else value)
    for name, value in vector.get("metadata", {}).items():
        wanted = None if value is None else [str(v) for v in (value if isinstance(value, list) else [value])]
        assert got.get(name) == wanted, name
    if "seconds" in vector.keys:
        assert calls[0].seconds is not None
        # gRPC rounds timeouts up, by up to a hundredth.
        assert vector.get("seconds") - 2 < calls[0].seconds <= vector.get("seconds") * 1.01 + 0.1


def check_response(vector: Vector, response: Response) -> None:
    """Compare what the client got."""
    assert response.status == vector.get("status", 200), response.body
    assert response.complete is vector.get("complete", True), response.body
    for name, value in vector.get("response", {}).items():
        assert response.header(name) == (None if value is None else str(value)), name
    for name, value in vector.get("trailers", {}).items():
        assert response.trailer(name) == (None if value is None else str(value)), name
    if "json" in vector.keys:
        assert json.loads(response.body) == vector.get("json")
    if "text" in vector.keys:
        assert response.body.decode() == vector.get("text")
    if "hex" in vector.keys:
        assert response.body.hex() == vector.get("hex").replace(" ", "")
    if "error" in vector.keys:
        check_error(vector.get("error"), json.loads(response.body))


def check_error(expected: dict[str, Any], body: dict[str, Any]) -> None:
    """Compare an error's body with what is said of it."""
    assert set(body) == {"code", "message", "details"}
    assert Code(body["code"]).name == expected.get("code", "INVALID_ARGUMENT")
    assert expected.get("message", "") in body["message"]
    if "fields" in expected:
        violations = body["details"][0]["field_violations"]
        got = {violation.get("field", ""): violation["description"] for violation in violations}
        assert set(got) == set(expected["fields"])
        for path, description in expected["fields"].items():
            assert description in got[path]
    if "details" in expected:
        assert body["details"] == expected["details"]


def test_there_are_vectors_for_every_row_of_behaviour() -> None:
    assert {vector.row for vector in VECTORS} == ROWS
    for profile in PROFILES:
        assert sum(vector.profile == profile for vector in VECTORS) >= 500


# Live descriptors and OpenAPI are no matter of single requests; they have tests of their own.
ROWS = {
    "template grammar",
    "routing",
    "verbs",
    "percent-encoding",
    "trailing slash, case",
    "wrong method",
    "HEAD, OPTIONS",
    "one source per field",
    "query",
    "unknown query parameter, unknown JSON field",
    "body",
    "response_body",
    "PATCH",
    "JSON out",
    "Content-Type, Accept",
    "HttpBody",
    "multipart/form-data",
    "server streaming",
    "error after the stream began",
    "client streaming",
    "bidirectional",
    "status",
    "error body",
    "request headers",
    "response headers",
    "deadline",
    "limits",
    "web",
    "gRPC-Web, Connect unary",
}
