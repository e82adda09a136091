"""gRPC servers of contracts given as text: they echo, and describe themselves by reflection."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer  # its public ways serve one version only

from tests.support.contracts import compile_contracts

ITEMS = """
syntax = "proto3";
package items.v1;
import "google/api/annotations.proto";
message Item { string name = 1; int32 count = 2; %(field)s }
service Items {
  rpc Get(Item) returns (Item) { option (google.api.http) = {get: "/v1/items/{name}"}; }
  rpc Watch(Item) returns (stream Item) { option (google.api.http) = {get: "/v1/items/{name}:watch"}; }
  %(method)s
}
"""
FIRST = ITEMS % {"field": "", "method": ""}
SECOND = ITEMS % {
    "field": "string colour = 3;",
    "method": 'rpc Put(Item) returns (Item) { option (google.api.http) = {put: "/v1/items/{name}" body: "*"}; }',
}
AMBIGUOUS = ITEMS % {
    "field": "",
    "method": 'rpc Fetch(Item) returns (Item) { option (google.api.http) = {get: "/v1/items/{count}"}; }',
}
WITHOUT_RULES = """
syntax = "proto3";
package items.v1;
message Item { string name = 1; }
service Items { rpc Get(Item) returns (Item); }
"""


class EchoServer:
    """A server that answers every method with the request's own bytes; a stream of them `streamed` times.

    `hold` keeps streams from ending until it is set.
    """

    def __init__(self, pool: DescriptorPool, names: Collection[str], *, streamed: int = 3) -> None:
        self.services = [pool.FindServiceByName(name) for name in names]
        self.streamed = streamed
        self.hold = asyncio.Event()
        self.hold.set()
        self.streaming = asyncio.Event()

    def handler(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        """Return the handler of one service."""
        handlers = {method.name: self._method(method) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _method(self, method: MethodDescriptor) -> Any:
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    async def _unary(self, request: bytes, context: Any) -> bytes:
        return request

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(self.streamed):
            yield request
        self.streaming.set()
        await self.hold.wait()
        yield request


@asynccontextmanager
async def running_echo(
    source: str | Mapping[str, str],
    *,
    names: Collection[str] = ("items.v1.Items",),
    port: int = 0,
    versions: Collection[str] = ("v1", "v1alpha"),
    listed: Collection[str] | None = None,
    options: Sequence[tuple[str, int]] = (),
) -> AsyncIterator[tuple[EchoServer, int]]:
    """Serve contracts on a port of the loopback address, and give the server with its port.

    `versions` are those of reflection, `listed` the services that it names (all, by default), `options` gRPC's.
    """
    pool = compile_contracts({"items.proto": source} if isinstance(source, str) else source)
    echo = EchoServer(pool, names)
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(tuple(echo.handler(service) for service in echo.services))
    add_reflection(server, pool, names if listed is None else listed, versions)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield echo, bound
    finally:
        await server.stop(None)


def add_reflection(
    server: grpc.aio.Server, pool: DescriptorPool, listed: Collection[str], versions: Collection[str]
) -> None:
    """Have a server describe services by the versions of reflection given."""
    servicer = ReflectionServicer(listed, pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(
                f"grpc.reflection.{version}.ServerReflection", {"ServerReflectionInfo": handler}
            )
            for version in versions
        )
    )
