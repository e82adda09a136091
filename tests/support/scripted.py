"""A gRPC backend for any contract: it does what its script says, and keeps what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

Pairs = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Script:
    """What the backend does with a call.

    `replies` are sent in order; None echoes the requests (a unary reply: the last one) where the types agree, else a
    unary reply is empty and a stream has none.
    `status` is the call's status behind the replies, None for OK. With `early` it fails before it reads a request.
    `hang` keeps the call from ending until it is cancelled.
    """

    replies: Sequence[Message] | None = None
    status: grpc.StatusCode | None = None
    message: str = ""
    metadata: Pairs = ()
    trailers: Pairs = ()
    early: bool = False
    hang: bool = False


@dataclass(slots=True)
class Call:
    """A call that the backend got: the method's full name, the requests, the metadata and the seconds it was given."""

    method: str
    messages: list[Message] = field(default_factory=list)
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    seconds: float | None = None


class ScriptedBackend:
    """Serves services; `calls` are those since the last script was set."""

    def __init__(self) -> None:
        self.script = Script()
        self.calls: list[Call] = []
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def follow(self, script: Script) -> None:
        """Do as this script says from now on."""
        self.script = script
        self.calls = []

    def handler(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        """Return the handler of one service."""
        handlers = {method.name: self._method(method) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _method(self, method: MethodDescriptor) -> Any:
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"

        async def stream(given: Any, context: Any) -> AsyncIterator[bytes]:
            async for reply in self._run(method, given, context):
                yield reply

        async def unary(given: Any, context: Any) -> bytes:
            replies = [reply async for reply in self._run(method, given, context)]
            return replies[0]

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        parse = GetMessageClass(method.input_type).FromString
        return make(stream if method.server_streaming else unary, request_deserializer=parse)

    async def _run(self, method: MethodDescriptor, given: Any, context: Any) -> AsyncIterator[bytes]:
        script = self.script
        call = Call(method.full_name, metadata=tuple(context.invocation_metadata()), seconds=context.time_remaining())
        self.calls.append(call)
        if script.metadata:
            await context.send_initial_metadata(script.metadata)
        context.set_trailing_metadata(script.trailers)
        if script.early and script.status is not None:
            await context.abort(script.status, script.message, script.trailers)
        echoes = script.replies is None and method.input_type is method.output_type
        async for request in given if method.client_streaming else _once(given):
            call.messages.append(request)
            if echoes and method.server_streaming:
                yield request.SerializeToString()
        for reply in self._replies(method, call, echoes=echoes):
            yield reply.SerializeToString()
        if script.hang:
            await asyncio.Event().wait()
        if script.status is not None:
            await context.abort(script.status, script.message, script.trailers)

    def _replies(self, method: MethodDescriptor, call: Call, *, echoes: bool) -> Sequence[Message]:
        if self.script.replies is not None:
            return self.script.replies
        if method.server_streaming:
            return ()
        return call.messages[-1:] if echoes and call.messages else [GetMessageClass(method.output_type)()]


async def _once(value: Any) -> AsyncIterator[Any]:
    yield value


@asynccontextmanager
async def running_backend(services: Sequence[ServiceDescriptor]) -> AsyncIterator[ScriptedBackend]:
    """Serve services on a free port of the loopback address."""
    backend = ScriptedBackend()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers(tuple(backend.handler(service) for service in services))
    backend.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield backend
    finally:
        await server.stop(None)


def pairs(values: Mapping[str, Any]) -> Pairs:
    """Return metadata of a mapping; a list gives several values, names that end in -bin take hexadecimal digits."""
    return tuple(
        (name, bytes.fromhex(one) if name.endswith("-bin") else str(one))
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
    )
