"""The backend of protos/library.proto: a real gRPC server that does what requests tell it to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from edge.transcoding.transport.channel import Channel
from tests.support.contracts import library_pool, message_class
from tests.support.transports import channel_to


def library_service() -> ServiceDescriptor:
    """Return the service's descriptor."""
    return library_pool().FindServiceByName("library.v1.Library")


def new(name: str, /, **fields: Any) -> Any:
    """Return a message of the contract."""
    return message_class(library_pool(), f"library.v1.{name}")(**fields)


class LibraryBackend:
    """The methods of the service; `started` and `cancelled` count calls that hang."""

    def __init__(self) -> None:
        self.hanging = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0
        self.received: list[Any] = []

    async def GetBook(self, request: Any, context: Any) -> Any:
        self.received.append(request)
        return new("Book", name=request.name, title="Title", copies=2)

    async def ListBooks(self, request: Any, context: Any) -> Any:
        books = [new("Book", name=f"{request.parent}/books/{tag}") for tag in request.tags]
        return new("ListBooksResponse", books=books, page_size=request.page_size)

    async def CreateBook(self, request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("location", f"/v1/{request.parent}/books/1"), ("x-shelf", "s")))
        context.set_trailing_metadata((("checksum", "abc"),))
        return new("Book", name=f"{request.parent}/books/1", title=request.book.title)

    async def UpdateBook(self, request: Any, context: Any) -> Any:
        return request

    async def DeleteBook(self, request: Any, context: Any) -> Any:
        return message_class(library_pool(), "google.protobuf.Empty")()

    async def LendBook(self, request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x-http-code", "202"), ("x-data-bin", b"\x00\xff")))
        return request

    async def Echo(self, request: Any, context: Any) -> Any:
        return request

    async def Inspect(self, request: Any, context: Any) -> Any:
        reply = new("InspectResponse", seconds_left=context.time_remaining() or 0)
        for key, value in context.invocation_metadata():
            text = value.hex() if isinstance(value, bytes) else value
            reply.metadata[key] = f"{reply.metadata[key]}|{text}" if key in reply.metadata else text
        return reply

    async def Fail(self, request: Any, context: Any) -> Any:
        if request.crash:
            raise RuntimeError("the database password is hunter2")
        code = next(code for code in grpc.StatusCode if code.value[0] == request.code)
        trailing: tuple[tuple[str, str | bytes], ...] = (("x-ratelimit-remaining", "0"),)
        if request.rich:
            trailing = (*trailing, ("grpc-status-details-bin", _rich(request.code, request.message)))
        await context.abort(code, request.message, trailing)

    async def Hang(self, request: Any, context: Any) -> Any:
        await self._hang()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for index in range(request.count):
            yield new("Book", name=f"b{index}", title="x" * request.size)
            self.sent += 1
        if request.hang:
            await self._hang()
        if request.fail:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more books")

    async def Ask(self, request: Any, context: Any) -> Any:
        return new("Book", name="whole")

    AskAloud = Watch

    async def Cover(self, request: Any, context: Any) -> Any:
        return _http_body(b"\x89PNG\r\n" + request.name.encode(), "image/png")

    async def Download(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.told:
            await context.send_initial_metadata((("x-body-length", str(request.told)), ("etag", '"v1"')))
        for index in range(request.chunks):
            self.sent += 1
            yield _http_body(b"chunk %d\n" % index, "text/plain; charset=utf-8" if index == 0 else "")
        if request.fail:
            await context.abort(grpc.StatusCode.DATA_LOSS, "the disk is gone")

    async def Blob(self, request: Any, context: Any) -> Any:
        return request

    async def Collect(self, requests: AsyncIterator[Any], context: Any) -> Any:
        reply = new("ListBooksResponse")
        async for book in requests:
            if book.title == "stop":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the shelf is full")
            if book.title == "hang":
                await self._hang()
            reply.books.append(book)
            self.received.append(book)
        return reply

    async def Talk(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for book in requests:
            if book.title == "stop":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough said")
            yield book

    async def Receive(self, requests: AsyncIterator[Any], context: Any) -> Any:
        reply = new("UploadResponse")
        async for request in requests:
            reply.path = reply.path or request.path
            reply.note = reply.note or request.note
            reply.content_type = reply.content_type or request.file.content_type
            reply.size += len(request.file.data)
            reply.head = (reply.head + request.file.data)[:16]
            self.sent += 1
        return reply

    async def Upload(self, request: Any, context: Any) -> Any:
        file = request.file
        return new(
            "UploadResponse",
            path=request.path,
            content_type=file.content_type,
            size=len(file.data),
            note=request.note,
            head=file.data[:16],
        )

    async def _hang(self) -> None:
        self.hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@asynccontextmanager
async def running_library(
    transport: str = "http2", *, window_grows: bool = True
) -> AsyncIterator[tuple[LibraryBackend, Channel]]:
    """Serve the backend on a free port, and give it with a channel to it by one of `transports.TRANSPORTS`.

    Unless its window grows with what it could take, a method that reads nothing is sent 64 KiB.
    """
    backend = LibraryBackend()
    server = grpc.aio.server(options=[("grpc.http2.bdp_probe", int(window_grows))])
    server.add_generic_rpc_handlers((service_handler(library_service(), backend),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with channel_to(f"127.0.0.1:{port}", transport) as channel:
            yield backend, channel
    finally:
        await server.stop(None)


def service_handler(service: ServiceDescriptor, implementation: object) -> grpc.GenericRpcHandler:
    """Return the handler of a service whose methods are those of an object."""
    handlers = {}
    for method in service.methods:
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        handlers[method.name] = make(
            getattr(implementation, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _http_body(data: bytes, content_type: str) -> Any:
    return message_class(library_pool(), "google.api.HttpBody")(data=data, content_type=content_type)


def _rich(code: int, message: str) -> bytes:
    violations = error_details_pb2.BadRequest()
    violations.field_violations.add(field="title", description="must not be empty")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    status = status_pb2.Status(code=code, message=message)
    for detail in (violations, retry):
        status.details.add().Pack(detail)
    status.details.append(AnyMessage(type_url="type.googleapis.com/nobody.Knows", value=b"\x08\x01"))
    serialised: bytes = status.SerializeToString()
    return serialised
