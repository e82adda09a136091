"""What a handler is given beside the request: grpc.aio's ServicerContext."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import grpc

from shared.http2.literals import Metadata, MetadataEncoder
from shared.http2.server.call import ServerCall
from shared.http2.server.peers import AuthContext

_OK = grpc.StatusCode.OK


class CallContext(grpc.aio.ServicerContext[Any, Any]):
    """Implements grpc.aio.ServicerContext for one call; `parse` and `serialize` are its method's.

    Answers are never compressed, whatever a handler asks for.
    """

    parse: Callable[[bytes], Any] | None = None
    serialize: Callable[[Any], bytes] | None = None
    _code: grpc.StatusCode | None = None
    _details = ""
    _trailing: tuple[tuple[str, str | bytes], ...] = ()
    _encoded = b""
    _callbacks: list[Callable[[Any], None]] | None = None

    def __init__(self, call: ServerCall, encoder: MetadataEncoder, max_message_bytes: int) -> None:
        self._call = call
        self._encoder = encoder
        self._max = max_message_bytes

    # What grpc.aio's handlers use; see there.

    async def read(self) -> Any:
        """Return the next request, grpc.aio.EOF at their end."""
        message = await self._call.receive()
        return grpc.aio.EOF if message is None else self.parsed(message)

    async def write(self, message: Any) -> None:
        """Send an answer; returns when the client, by its windows, has taken all of it."""
        await self._call.send(await self.serialized(message))

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Send the initial metadata, before the first answer."""
        if self._call.head_sent:
            raise grpc.aio.UsageError("the initial metadata were sent already")
        self._call.send_head(self._encoder.encode(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Set what is sent with the status."""
        trailing = tuple((str(name), value) for name, value in trailing_metadata)
        self._encoded = self._encoder.encode(trailing)
        self._trailing = trailing

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata | None = None
    ) -> NoReturn:
        """End the call with a status that is not OK; raises AbortError, which is not to be caught."""
        if code is _OK:
            raise grpc.aio.UsageError("a call is aborted with a status that is not OK")
        if trailing_metadata:
            self.set_trailing_metadata((*self._trailing, *trailing_metadata))
        self._code, self._details = code, details
        self._call.end(code, details, self._encoded)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a status, its details and its trailing metadata."""
        given: Any = status
        await self.abort(given.code, given.details, given.trailing_metadata)

    def invocation_metadata(self) -> Any:
        """Return what the client sent, as pairs."""
        return self._call.head.metadata

    def trailing_metadata(self) -> Any:
        """Return what was set, as pairs."""
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status that the call ends with when the handler returns."""
        self._code = code

    def code(self) -> Any:
        """Return the status that was set, None while none was."""
        return self._code

    def set_details(self, details: str) -> None:
        """Set what is said beside the status."""
        self._details = details

    def details(self) -> str:
        """Return what was set."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: a server may leave its answers as they are."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: no answer is compressed."""

    def peer(self) -> str:
        """Return where the client is, as gRPC writes it."""
        return self._call.connection.peer

    def peer_identities(self) -> Iterable[bytes] | None:
        """Return the names in the client's certificate, None where it showed none."""
        key = self.peer_identity_key()
        return None if key is None else self.auth_context()[key]

    def peer_identity_key(self) -> str | None:
        """Return under which name of `auth_context` they are."""
        known = self.auth_context()
        return next((key for key in ("x509_subject_alternative_name", "x509_common_name") if known.get(key)), None)

    def auth_context(self) -> AuthContext:
        """Return what is known of the client's certificate; nothing without TLS."""
        return self._call.connection.auth_context

    def time_remaining(self) -> Any:
        """Return the seconds until the client's deadline, None where it has none."""
        return self._call.remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have a function called with this context when the handler has ended."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self._call.cancelled

    def done(self) -> bool:
        """Whether the call has ended."""
        return self._call.ended

    # What the server uses.

    def parsed(self, message: bytes) -> Any:
        """Return a request of its bytes."""
        return message if self.parse is None else self.parse(message)

    async def serialized(self, message: Any) -> bytes:
        """Return an answer's bytes; ends the call where they are too many."""
        data: bytes = message if self.serialize is None else self.serialize(message)
        if len(data) > self._max:
            await self.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"an answer of {len(data)} bytes, the limit is {self._max}"
            )
        return data

    async def finish(self, message: Any = None, *, unary: bool) -> None:
        """End the call as the handler left it, of a unary one with its answer."""
        call, code = self._call, self._code
        if code is not None and code is not _OK:
            call.end(code, self._details, self._encoded)
        elif unary:
            await call.reply(await self.serialized(message), self._encoded)
        else:
            call.end(_OK, self._details, self._encoded)

    def tell_done(self) -> None:
        """Call what wants to know of the end."""
        for callback in self._callbacks or ():
            callback(self)


class Requests:
    """The requests of a client stream, as a handler iterates over them."""

    def __init__(self, context: CallContext, call: ServerCall) -> None:
        self._context = context
        self._call = call

    def __aiter__(self) -> "Requests":
        """Return itself: they come once."""
        return self

    async def __anext__(self) -> Any:
        """Return the next one."""
        message = await self._call.receive()
        if message is None:
            raise StopAsyncIteration
        return self._context.parsed(message)
