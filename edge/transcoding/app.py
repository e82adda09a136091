"""The ASGI application: HTTP and JSON in front of gRPC services."""

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from starlette.types import Receive, Scope, Send

from edge.transcoding.call import Slots, Surroundings
from edge.transcoding.codec import Codec
from edge.transcoding.compiler import ChannelSource, Compiler
from edge.transcoding.cross_origin import OriginPolicy, is_preflight, requested_methods
from edge.transcoding.errors import (
    Code,
    ErrorStyle,
    ProblemStyle,
    RpcFailure,
    Status,
    StatusStyle,
    failure,
    failure_of_binding,
)
from edge.transcoding.exchange import ClientGoneError, Exchange, ResponseCutError
from edge.transcoding.headers import (
    REQUEST_ID,
    Header,
    MetadataPair,
    RequestHeaders,
    ReservedNames,
    ResponseHeaders,
    sane_request_id,
)
from edge.transcoding.json_plan import ChoosingCodec
from edge.transcoding.options import CrossOrigin, HeaderRules, Limits, MethodOptionsSource, default_method_options
from edge.transcoding.paths import PathError
from edge.transcoding.profile import STRICT, Profile
from edge.transcoding.routes import Route
from edge.transcoding.transport.channel import Channel
from edge.transcoding.transport.grpc_aio import GrpcAioChannel
from edge.transcoding.violations import BindingError
from edge.transcoding.websocket import SocketExchange, serve_socket

_LOG = logging.getLogger(__name__)

Authorizer = Callable[[Route, Scope], Sequence[MetadataPair] | Awaitable[Sequence[MetadataPair]]]
"""Asked after routing and before the body is read: returns metadata to add, or raises `RpcFailure`.

An answer that is at hand is returned as it is and costs no task; one that must be waited for is an awaitable.
"""

StyleChooser = Callable[[str], str]
"""Names the error style for a path that no route matches."""

AnyChannel = Channel | grpc.aio.Channel

_RETRY = ((b"retry-after", b"1"),)


class Transcoder:
    """Serves the methods of `services` that have `google.api.http` rules; mounts in Starlette or runs by itself.

    `channel` is one channel for all services, or tells each service's: of `grpc.aio`, or of `transport.http2`, which
    costs less. `method_options` says what the rules cannot; `authorize` guards every route; `error_styles` are named by
    the options, the one named "" is the default, and "problem" (RFC 9457) is always there. `style_of_path` names the
    style for paths without a route. `http_status` may give a backend's status another HTTP status than the table.
    `headers`, `limits` and `cross_origin` hold over all methods. `codec` is the compiled one unless another is given.

    Raises `RouteTableError` with all faults of the contracts, and ValueError for what is no origin. Must be made where
    the channels' event loop runs.
    """

    def __init__(
        self,
        services: Iterable[ServiceDescriptor],
        channel: AnyChannel | Callable[[ServiceDescriptor], AnyChannel],
        *,
        profile: Profile = STRICT,
        method_options: MethodOptionsSource = default_method_options,
        authorize: Authorizer | None = None,
        error_styles: Mapping[str, ErrorStyle] | None = None,
        style_of_path: StyleChooser | None = None,
        http_status: Callable[[Status], int | None] | None = None,
        headers: HeaderRules | None = None,
        limits: Limits | None = None,
        cross_origin: CrossOrigin | None = None,
        codec: Codec | None = None,
    ) -> None:
        services = list(services)
        rules = headers if headers is not None else HeaderRules()
        self._limits = limits if limits is not None else Limits()
        self._origins = OriginPolicy(cross_origin or CrossOrigin(), rules.forwarded)
        self._profile = profile
        self._authorize = authorize
        self._style_of_path = style_of_path
        pools = list(dict.fromkeys(service.file.pool for service in services))
        self._styles: dict[str, ErrorStyle] = {
            "": StatusStyle(pools),
            "problem": ProblemStyle(pools),
            **(error_styles or {}),
        }
        self._default_style = self._styles[""]
        reserved = ReservedNames(rules.reserved)
        self._request_headers = RequestHeaders(rules, reserved, permanent_prefix=profile.permanent_header_prefix)
        compiler = Compiler(
            around=Surroundings(
                codec=codec if codec is not None else ChoosingCodec(),
                profile=profile,
                response_headers=ResponseHeaders(rules, reserved),
                body_offset=rules.body_offset,
                heartbeat=self._limits.heartbeat,
                streams=Slots(self._limits.max_streams),
                http_status=http_status if http_status is not None else _by_the_table,
            ),
            channel=_channel_source(channel),
            method_options=method_options,
            styles=self._styles,
            limits=self._limits,
            request_headers=self._request_headers,
        )
        compiled = compiler.compile(services)
        self._routes = compiled.routes
        self._table = compiled.table
        self._static = compiled.table.static
        self._sockets = compiled.sockets
        self._calls = 0

    @property
    def routes(self) -> Sequence[Route]:
        """The compiled routes, in the contracts' order."""
        return self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] != "http":
            await self._serve_other(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, style=self._default_style, watch_after=self._limits.disconnect_check)
        if self._origins.active:
            exchange.origins = self._origins
        self._calls += 1
        try:
            await self._serve(exchange)
        except ClientGoneError:
            pass  # nobody is left to hear
        except ResponseCutError:
            _LOG.warning("a response was cut after it began (request %s)", exchange.request_id)
            await exchange.cut()
        except RpcFailure as error:
            await exchange.fail(error)
        except BindingError as error:
            await exchange.fail(failure_of_binding(error))
        except PathError as error:
            await exchange.fail(failure(Code.INVALID_ARGUMENT, str(error)))
        except Exception:
            _LOG.exception("request %s met a fault in the transcoder", exchange.request_id)
            if exchange.started:
                await exchange.cut()
                return
            await exchange.fail(failure(Code.INTERNAL, f"internal error; quote request {exchange.request_id}"))
        finally:
            self._calls -= 1

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            socket = SocketExchange(
                scope, receive, send, style=self._default_style, watch_after=self._limits.disconnect_check
            )
            self._calls += 1
            try:
                await serve_socket(socket, self._serve_socket(socket))
            finally:
                self._calls -= 1
        elif scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return

    async def _serve_socket(self, exchange: SocketExchange) -> None:
        await exchange.receive()  # the handshake
        scope = exchange.scope
        # Not every server writes the names of a handshake's headers in lower case.
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        scope["headers"] = headers
        self._begin(exchange, headers)
        self._origins.check_socket(headers)
        path = self._checked_path(exchange, _raw_path(scope))
        self._sockets.check(path)
        found = self._sockets.match(path)
        if found is None:
            raise failure(Code.NOT_FOUND, "no streaming method has this path")
        endpoint, captures = found
        exchange.style = endpoint.style
        if self._authorize is not None:
            granted = self._authorize(endpoint.route, scope)
            exchange.head.metadata.extend(granted if isinstance(granted, Sequence) else await granted)
        await endpoint.serve(exchange, captures)

    async def _serve(self, exchange: Exchange) -> None:
        scope = exchange.scope
        path = _raw_path(scope)
        self._begin(exchange, scope["headers"])
        if scope["method"] == "OPTIONS" and exchange.origins is not None and is_preflight(scope["headers"]):
            # Before any rule that is bound to OPTIONS: browsers send no credentials along with this question.
            await self._answer_preflight(exchange, self._checked_path(exchange, path))
            return
        captures: Sequence[str] = ()
        endpoint = None
        static = self._static.get(scope["method"])
        if static is not None:
            endpoint = static.get(path)
        if endpoint is None:
            found = self._table.match(scope["method"], self._checked_path(exchange, path))
            if found is None:
                await self._answer_unrouted(exchange, path.decode("latin-1"))
                return
            endpoint, captures = found
        exchange.style = endpoint.style
        if self._authorize is not None:
            granted = self._authorize(endpoint.route, scope)
            exchange.head.metadata.extend(granted if isinstance(granted, Sequence) else await granted)
        await endpoint.serve(exchange, captures)

    def _begin(self, exchange: Exchange, headers: Sequence[Header]) -> None:
        """Read the head, settle the request id, and see that there is room."""
        limits = self._limits
        exchange.request_id = exchange.state.get("request_id", "")
        try:
            head = self._request_headers.read(headers, exchange.scope.get("client"), limits.max_header_bytes)
        except RpcFailure:
            exchange.request_id = exchange.request_id or _new_request_id()
            raise
        exchange.head = head
        if not exchange.request_id:
            exchange.request_id = exchange.state["request_id"] = sane_request_id(head.request_id) or _new_request_id()
        head.metadata.append((REQUEST_ID, exchange.request_id))
        if self._calls > limits.max_calls:
            raise failure(Code.UNAVAILABLE, "too many requests are under way; try again", headers=_RETRY)

    def _checked_path(self, exchange: Exchange, path: bytes) -> str:
        """Return a path for matching, having set the style of errors for paths without a route."""
        limit = self._limits.max_path_bytes
        if self._style_of_path is not None:
            exchange.style = self._styles[self._style_of_path(exchange.scope["path"])]
        if len(path) > limit:
            raise failure(
                Code.INVALID_ARGUMENT, f"the path holds {len(path)} bytes, the limit is {limit}", http_status=414
            )
        return path.decode("latin-1")

    async def _answer_preflight(self, exchange: Exchange, path: str) -> None:
        """Tell a browser what pages may do with a path.

        What is not there may be asked for: the page then reads that it is not, and what is near; after a preflight that
        fails it would learn nothing.
        """
        headers = exchange.scope["headers"]
        allowed = self._table.allowed(path) or requested_methods(headers)
        await exchange.reply(204, self._origins.preflight(headers, allowed), b"")

    async def _answer_unrouted(self, exchange: Exchange, path: str) -> None:
        """Answer a request that no route takes: OPTIONS with the path's methods, others with what would be right."""
        method, profile = exchange.scope["method"], self._profile
        allowed = self._table.allowed(path)
        if not allowed:
            near = self._table.near(path) if profile.name_near_routes else None
            hint = f"; did you mean {near}?" if near is not None else ""
            raise failure(Code.NOT_FOUND, f"no route matches this path{hint}")
        if profile.wrong_method_is_501:
            raise failure(Code.UNIMPLEMENTED, f"{method} is not implemented for this path")
        if profile.derive_head_and_options:
            allowed = sorted({*allowed, "OPTIONS"})
        allow = (b"allow", ", ".join(allowed).encode())
        if method == "OPTIONS" and profile.derive_head_and_options:
            await exchange.reply(204, [allow], b"")
            return
        raise failure(
            Code.UNIMPLEMENTED,
            f"{method} is not allowed for this path; it takes {', '.join(allowed)}",
            http_status=405,
            headers=(allow,),
        )


def _new_request_id() -> str:
    return os.urandom(16).hex()


def _by_the_table(_status: Status) -> None:
    """Leave every status to the table."""


def _channel_source(channel: AnyChannel | Callable[[ServiceDescriptor], AnyChannel]) -> ChannelSource:
    if callable(channel):
        source = channel
        return lambda service: _channel(source(service))
    only = _channel(channel)
    return lambda _service: only


def _channel(channel: AnyChannel) -> Channel:
    return GrpcAioChannel(channel) if isinstance(channel, grpc.aio.Channel) else channel


def _raw_path(scope: Scope) -> bytes:
    """Return the path as it came over the wire, below the place where the application is mounted."""
    raw: bytes | None = scope.get("raw_path")
    path = raw.partition(b"?")[0] if raw is not None else quote(scope["path"], safe="/:@!$&'()*+,;=-._~").encode()
    root = scope.get("root_path", "")
    if not root:
        return path
    # A mount's prefix may be escaped in the raw path, so segments are counted, not characters.
    segments = path.split(b"/")
    return b"/" + b"/".join(segments[root.count("/") + 1 :])
