"""Behaviour of edge/transcoding/reflection.py, against real servers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from edge.transcoding import reflection
from edge.transcoding.descriptors import DescriptorError, ServerAwayError
from edge.transcoding.reflection import reconnections, reflect
from tests.support.contracts import compile_contracts
from tests.support.ports import free_port
from tests.support.reflected import FIRST, running_echo

TWO_FILES = {
    "types.proto": 'syntax = "proto3"; package items.v1; message Item { string name = 1; }',
    "items.proto": """
        syntax = "proto3"; package items.v1; import "types.proto"; import "google/api/annotations.proto";
        service Items { rpc Get(Item) returns (Item) { option (google.api.http) = {get: "/v1/{name}"}; } }
    """,
}


@pytest.mark.parametrize("versions", [("v1",), ("v1alpha",), ("v1", "v1alpha")])
async def test_either_version_of_reflection_gives_the_contracts(versions: tuple[str, ...]) -> None:
    async with running_echo(FIRST, versions=versions) as (_, port), channel_to(port) as channel:
        contracts = await reflect(channel)
    assert [service.full_name for service in contracts.services] == ["items.v1.Items"]
    assert contracts.has_rules


async def test_a_server_that_sends_one_file_an_answer_is_asked_for_the_imports() -> None:
    async with running_one_by_one(TWO_FILES) as (asked, port), channel_to(port) as channel:
        contracts = await reflect(channel)
    assert contracts.has_rules
    # The annotations are not there, so that the bundled ones, and what they import, stand in for them.
    assert asked[:3] == ["items.v1.Items", "types.proto", "google/api/annotations.proto"]


async def test_an_import_that_the_server_does_not_have_is_named() -> None:
    files = {**TWO_FILES, "types.proto": ""}
    async with running_one_by_one(files) as (_, port), channel_to(port) as channel:
        with pytest.raises(DescriptorError, match=r"does not describe types\.proto, which its contracts import"):
            await reflect(channel)


async def test_a_service_that_is_listed_only_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    listed = ("items.v1.Items", "hidden.v1.Service", "grpc.reflection.v1.ServerReflection")
    async with running_echo(FIRST, listed=listed) as (_, port), channel_to(port) as channel:
        with caplog.at_level(logging.WARNING, "edge.transcoding.reflection"):
            contracts = await reflect(channel)
    assert [service.full_name for service in contracts.services] == ["items.v1.Items"]
    assert "left out: hidden.v1.Service" in caplog.text


async def test_a_server_without_reflection_is_told_apart_from_one_that_is_away() -> None:
    async with running_echo(FIRST, versions=()) as (_, port), channel_to(port) as channel:
        with pytest.raises(DescriptorError, match=r"offers no gRPC server reflection .* give a descriptor file"):
            await reflect(channel)
    async with channel_to(free_port()) as channel:
        with pytest.raises(ServerAwayError, match=r"cannot be reached: .*[Cc]onnection refused"):
            await reflect(channel)


async def test_a_server_that_never_answers_is_not_waited_for() -> None:
    async with running_raw(silent) as port, channel_to(port) as channel:
        with pytest.raises(ServerAwayError, match=r"within 0\.1 seconds"):
            await reflect(channel, timeout=0.1)


@pytest.mark.parametrize(
    ("limit", "said"),
    [("MAX_SERVICES", "lists 1 services, more than 0"), ("MAX_FILES", "more than 0 files"), ("MAX_BYTES", "0 bytes")],
)
async def test_what_a_server_says_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, said: str) -> None:
    monkeypatch.setattr(reflection, limit, 0)
    async with running_echo(FIRST) as (_, port), channel_to(port) as channel:
        with pytest.raises(DescriptorError, match=said):
            await reflect(channel)


async def test_nonsense_instead_of_descriptors_is_refused() -> None:
    async with running_raw(nonsense) as port, channel_to(port) as channel:
        with pytest.raises(DescriptorError, match="does not parse"):
            await reflect(channel)


async def test_a_server_in_the_place_of_another_is_noticed() -> None:
    async with asyncio.timeout(20), channel_to(free_port()) as channel:
        port = channel.port
        found = reconnections(channel)
        for _ in range(2):
            noticed = asyncio.ensure_future(anext(found))
            async with running_echo(FIRST, port=port):
                await noticed


@asynccontextmanager
async def channel_to(port: int) -> AsyncIterator[Any]:
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        channel.port = port  # type: ignore[attr-defined]
        yield channel


@asynccontextmanager
async def running_raw(answer: Any) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def silent(requests: Any, context: Any) -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield None


async def nonsense(requests: Any, context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        if request.HasField("list_services"):
            listed = reflection_pb2.ListServiceResponse(service=[reflection_pb2.ServiceResponse(name="a.B")])
            yield reflection_pb2.ServerReflectionResponse(list_services_response=listed)
        else:
            described = reflection_pb2.FileDescriptorResponse(file_descriptor_proto=[b"\xff\xff"])
            yield reflection_pb2.ServerReflectionResponse(file_descriptor_response=described)


@asynccontextmanager
async def running_one_by_one(sources: dict[str, str]) -> AsyncIterator[tuple[list[str], int]]:
    """A server that describes one file an answer, of those that have a text; gives what it was asked for."""
    pool = compile_contracts({**TWO_FILES, **{name: text for name, text in sources.items() if text}})
    asked: list[str] = []

    async def answer(requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request.HasField("list_services"):
                listed = reflection_pb2.ListServiceResponse(
                    service=[reflection_pb2.ServiceResponse(name="items.v1.Items")]
                )
                yield reflection_pb2.ServerReflectionResponse(list_services_response=listed)
                continue
            name = request.file_by_filename or "items.proto"
            asked.append(request.file_by_filename or request.file_containing_symbol)
            if not sources.get(name):
                error = reflection_pb2.ErrorResponse(error_code=5, error_message="not found")
                yield reflection_pb2.ServerReflectionResponse(error_response=error)
                continue
            file = FileDescriptorProto.FromString(pool.FindFileByName(name).serialized_pb)
            described = reflection_pb2.FileDescriptorResponse(file_descriptor_proto=[file.SerializeToString()])
            yield reflection_pb2.ServerReflectionResponse(file_descriptor_response=described)

    async with running_raw(answer) as port:
        yield asked, port
