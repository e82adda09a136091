"""A gRPC server for bytes without end: `python -m tests.support.bulk PORT`. It keeps none of them.

`PUT /v1/blobs/{name}` counts what it is sent, but for the name `stalled`, of which it takes one message and no more.
`GET /v1/blobs/{size}` sends so many bytes.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.support.contracts import compile_contracts, descriptor_files, message_class

SERVICE = "bulk.v1.Bulk"
CONTRACT = """
syntax = "proto3";
package bulk.v1;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
message Blob {
  string name = 1;
  google.api.HttpBody body = 2;
}
message GetRequest { int64 size = 1; }
message Counted { int64 size = 1; }
service Bulk {
  rpc Put(stream Blob) returns (Counted) { option (google.api.http) = {put: "/v1/blobs/{name}" body: "body"}; }
  rpc Get(GetRequest) returns (stream google.api.HttpBody) { option (google.api.http) = {get: "/v1/blobs/{size}"}; }
}
"""
PIECE = bytes(1 << 18)


@cache
def _messages() -> tuple[Any, Any, Any]:
    pool = compile_contracts({"bulk.proto": CONTRACT})
    blob, request, counted = (message_class(pool, f"bulk.v1.{name}") for name in ("Blob", "GetRequest", "Counted"))
    return blob, request, counted


def write_descriptors(path: Path) -> None:
    """Write the contract's descriptor set."""
    path.write_bytes(FileDescriptorSet(file=descriptor_files({"bulk.proto": CONTRACT})).SerializeToString())


async def _put(blobs: Any, _context: Any) -> Any:
    size = 0
    async for blob in blobs:
        size += len(blob.body.data)
        if blob.name == "stalled":
            await asyncio.Event().wait()
    return _messages()[2](size=size)


async def _get(request: Any, context: Any) -> AsyncIterator[HttpBody]:
    await context.send_initial_metadata((("x-body-length", str(request.size)),))
    left = request.size
    while left > 0:
        yield HttpBody(content_type="application/octet-stream", data=PIECE[:left])
        left -= len(PIECE)


@contextlib.asynccontextmanager
async def running_bulk(port: int = 0) -> AsyncIterator[str]:
    """Serve on a port of the loopback address, a free one unless given, and yield the address."""
    blob, request, counted = _messages()
    server = grpc.aio.server()
    handlers = {
        "Put": grpc.stream_unary_rpc_method_handler(_put, blob.FromString, counted.SerializeToString),
        "Get": grpc.unary_stream_rpc_method_handler(_get, request.FromString, HttpBody.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)


async def _serve(port: int) -> None:
    async with running_bulk(port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
