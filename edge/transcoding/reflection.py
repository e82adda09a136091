"""Contracts asked from a running server by gRPC server reflection (grpc.reflection.v1 and v1alpha)."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from edge.transcoding.descriptors import (
    MAX_BYTES,
    MAX_FILES,
    Contracts,
    DescriptorError,
    ServerAwayError,
    bundled_file,
    contracts_of_files,
)

_LOG = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20.0
MAX_SERVICES = 5_000

# The two versions differ in the package's name alone, so that one set of messages serves both.
_VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
_NOT_SERVED = tuple(f"{version}." for version in _VERSIONS)
_CONNECT_ERROR = re.compile(r"remote host: (?:connect: )?(?P<reason>[^:;]+?)(?: \(\d+\))?\Z")
# What says that a server is away or busy, not that it lacks reflection.
_PASSING = frozenset(
    (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
)


async def reflect(channel: grpc.aio.Channel, *, timeout: float = TIMEOUT_SECONDS) -> Contracts:  # noqa: ASYNC109 - it bounds all questions together
    """Return the contracts of every service that a server lists, reflection itself excepted.

    A service that the server lists and does not describe is left out, with a line in the log. Raises `ServerAwayError`
    where the server cannot be reached or does not answer within `timeout` seconds, and `DescriptorError` where it
    offers no reflection or what it says is no set of contracts. At most `MAX_SERVICES` services, `MAX_FILES` files and
    `MAX_BYTES` bytes are taken.
    """
    try:
        async with asyncio.timeout(timeout):
            files = await _fetch(channel)
            # Large sets take a while to build, and the loop has requests to serve.
            return await asyncio.to_thread(contracts_of_files, files)
    except TimeoutError:
        raise ServerAwayError(f"it did not answer its reflection questions within {timeout:g} seconds") from None
    except grpc.aio.AioRpcError as error:
        if error.code() in _PASSING:
            raise ServerAwayError(f"cannot be reached: {transport_reason(error)}") from error
        raise DescriptorError(f"reflection failed: {error.code().name}: {transport_reason(error)}") from error


def transport_reason(error: grpc.aio.AioRpcError) -> str:
    """Return why a call did not arrive, in a few words where the transport's are known."""
    details = " ".join((error.details() or error.code().name).split())
    refused = _CONNECT_ERROR.search(details)
    return refused["reason"].lower() if refused is not None else details[:300]


async def reconnections(channel: grpc.aio.Channel) -> AsyncIterator[None]:
    """Yield each time the channel has found the server, or another one in its place; keeps it connected."""
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.SHUTDOWN:
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            yield


async def _fetch(channel: grpc.aio.Channel) -> list[FileDescriptorProto]:
    for version in _VERSIONS:
        try:
            return await _files(_Questions(channel, version))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
    raise DescriptorError(
        "the server offers no gRPC server reflection (v1 or v1alpha); enable it there, or give a descriptor file"
    )


async def _files(questions: "_Questions") -> list[FileDescriptorProto]:
    listed = await questions.ask(ServerReflectionRequest(list_services="*"))
    names = [service.name for service in listed.list_services_response.service]
    if len(names) > MAX_SERVICES:
        raise DescriptorError(f"the server lists {len(names)} services, more than {MAX_SERVICES}")
    known: dict[str, FileDescriptorProto] = {}
    left_out = []
    for name in names:
        if name.startswith(_NOT_SERVED):
            continue
        if not _keep(await questions.ask(ServerReflectionRequest(file_containing_symbol=name)), known):
            left_out.append(name)
    if left_out:
        _LOG.warning("the server lists services without describing them; they are left out: %s", ", ".join(left_out))
    await _fetch_imports(questions, known)
    return list(known.values())


async def _fetch_imports(questions: "_Questions", known: dict[str, FileDescriptorProto]) -> None:
    """Ask for what known files import and the server has not sent along; what it does not have may be bundled."""
    while missing := _missing(known.values(), known):
        for name in missing:
            if not _keep(await questions.ask(ServerReflectionRequest(file_by_filename=name)), known):
                file = bundled_file(name)
                if file is None:
                    raise DescriptorError(f"the server does not describe {name}, which its contracts import")
                known[name] = file
            elif name not in known:
                raise DescriptorError(f"asked for {name}, the server describes other files")


def _missing(files: Iterable[FileDescriptorProto], known: dict[str, FileDescriptorProto]) -> Sequence[str]:
    return list(dict.fromkeys(name for file in files for name in file.dependency if name not in known))


def _keep(response: ServerReflectionResponse, known: dict[str, FileDescriptorProto]) -> bool:
    """Add what a response describes; returns False where it describes nothing."""
    for data in response.file_descriptor_response.file_descriptor_proto:
        try:
            file = FileDescriptorProto.FromString(data)
        except DecodeError as error:
            raise DescriptorError("the server's reflection sends a file descriptor that does not parse") from error
        known.setdefault(file.name, file)
        if len(known) > MAX_FILES:
            raise DescriptorError(f"the server describes more than {MAX_FILES} files")
    return bool(response.file_descriptor_response.file_descriptor_proto)


class _Questions:
    """Asks one version of reflection.

    Each question is a call of its own: in one long stream a write that fails would hide the status that the server
    ended it with, and with it that the server lacks this version.
    """

    def __init__(self, channel: grpc.aio.Channel, version: str) -> None:
        self._method: Any = channel.unary_stream(
            f"/{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        self._left = MAX_BYTES

    async def ask(self, question: ServerReflectionRequest) -> ServerReflectionResponse:
        """Return the answer; raises AioRpcError."""
        call = self._method(question)
        try:
            answer = await call.read()
        finally:
            call.cancel()
        if answer is grpc.aio.EOF:
            raise DescriptorError("the server ended its reflection without an answer")
        self._left -= answer.ByteSize()
        if self._left < 0:
            raise DescriptorError(f"the server's reflection sends more than {MAX_BYTES} bytes")
        assert isinstance(answer, ServerReflectionResponse)
        return answer
