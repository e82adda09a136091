"""The edge: its routes and its middleware, in one visible list."""

import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import grpc
import orjson
from gaia.asset.v1 import asset_service_pb2
from gaia.auth.v1 import api_key_service_pb2, audit_service_pb2, auth_service_pb2, user_service_pb2
from gaia.chat.v1 import (
    chat_service_pb2,
    combined_chat_service_pb2,
    completion_service_pb2,
    conversation_service_pb2,
    embedding_service_pb2,
    media_service_pb2,
    message_service_pb2,
    model_service_pb2,
    persona_service_pb2,
    plain_chat_service_pb2,
    provider_service_pb2,
    response_service_pb2,
    usage_service_pb2,
)
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.auth import Authorizer
from edge.channels import calling
from edge.docs.document import gaia_document
from edge.docs.site import Site
from edge.errors import STYLES, http_status, style_of_path
from edge.health import HealthReporter
from edge.limits import RequestLimits
from edge.pages import CrossOriginPages, OtherMethods, Pages
from edge.rules import method_options
from edge.settings import EdgeSettings
from edge.transcoding.app import Authorizer as Authorize
from edge.transcoding.app import Transcoder
from edge.transcoding.options import CrossOrigin, HeaderRules
from edge.transcoding.profile import STRICT
from edge.transcoding.transport.channel import Channel
from edge.transcoding.transport.grpc_aio import GrpcAioChannel
from edge.transcoding.transport.http2.channel import ChannelOptions
from edge.transcoding.transport.http2.keepalive import Keepalive
from edge.transcoding.transport.http2.subchannel import Backoff
from shared import telemetry
from shared.heap import loading
from shared.metrics import identity_metrics, limiter_metrics, serving_metrics
from shared.rates.limiter import RateLimiter
from shared.rpc.channel import connect
from shared.rpc.mesh import following, mesh_identity, reporting
from shared.rpc.tls import load_certificates
from shared.rpc.transports import MAX_MESSAGE_BYTES

CONTRACTS: Mapping[str, tuple[FileDescriptor, ...]] = {
    "auth": (
        auth_service_pb2.DESCRIPTOR,
        user_service_pb2.DESCRIPTOR,
        api_key_service_pb2.DESCRIPTOR,
        audit_service_pb2.DESCRIPTOR,
    ),
    "chat": (
        chat_service_pb2.DESCRIPTOR,
        conversation_service_pb2.DESCRIPTOR,
        persona_service_pb2.DESCRIPTOR,
        plain_chat_service_pb2.DESCRIPTOR,
        combined_chat_service_pb2.DESCRIPTOR,
        completion_service_pb2.DESCRIPTOR,
        response_service_pb2.DESCRIPTOR,
        message_service_pb2.DESCRIPTOR,
        embedding_service_pb2.DESCRIPTOR,
        media_service_pb2.DESCRIPTOR,
        model_service_pb2.DESCRIPTOR,
        provider_service_pb2.DESCRIPTOR,
        usage_service_pb2.DESCRIPTOR,
    ),
    "asset": (asset_service_pb2.DESCRIPTOR,),
}
"""The contracts that the edge serves, by the process that implements them."""

HEADERS = HeaderRules(
    forwarded=(
        "traceparent",
        "tracestate",
        "idempotency-key",
        "cache-control",
        "accept-language",
        "anthropic-version",
        "anthropic-beta",
    ),
    # The key is read here and goes no further; identity is set here and comes from nowhere else.
    reserved=("authorization", "x-api-key", "x-gaia-", "cookie"),
    # What a translation between dialects had to drop is told, never silent; so is a count that is none.
    returned=(*HeaderRules().returned, "gaia-left-out", "gaia-cache", "gaia-estimated"),
)
PAGE_HEADERS = ("authorization", "x-api-key", "anthropic-*", "openai-*", "x-stainless-*")
"""Request headers that pages of other origins may send beside the contracts': the official SDKs send the rest."""
# As `shared.rpc.channel.connect` has it.
CALL_OPTIONS = ChannelOptions(
    round_robin=True,
    max_message_bytes=MAX_MESSAGE_BYTES,
    backoff=Backoff(initial=0.1, maximum=1.0),
    keepalive=Keepalive(time=20.0, timeout=5.0),
)
# What is not known is null, so that clients can index every field that the contract names.
PROFILE = replace(STRICT, emit_defaults=True, emit_nulls=True, null_optionals=True)


@contextlib.asynccontextmanager
async def serving(settings: EdgeSettings) -> AsyncIterator[ASGIApp]:
    """Yields the application while its channels are open."""
    targets = {"auth": settings.auth_target, "chat": settings.chat_target, "asset": settings.asset_target}
    async with contextlib.AsyncExitStack() as stack:
        certificates = load_certificates(settings)
        channels = {
            name: await stack.enter_async_context(connect(target, certificates)) for name, target in targets.items()
        }
        identity = mesh_identity(settings.env, channels["auth"], capacity=settings.key_cache_size)
        await stack.enter_async_context(following(identity.feed, channels["auth"]))
        await stack.enter_async_context(reporting(identity.refusals, channels["auth"]))
        limiter = await stack.enter_async_context(_rate_limiter(settings))
        limits = RequestLimits(
            limiter,
            per_key=settings.requests_per_minute_per_key,
            per_address=settings.requests_per_minute_per_address,
        )
        sources = (identity_metrics(identity.authenticator), limiter_metrics(limiter))
        await stack.enter_async_context(serving_metrics(settings.metrics_listen, sources))
        authorizer = Authorizer(services(), identity.authenticator, settings.trusted_proxies, limits, identity.refusals)
        # Compiled before the first request, so that faulty contracts stop the start.
        cross_origin = CrossOrigin(origins=settings.allowed_origins, headers=PAGE_HEADERS)
        calls = {
            name: await stack.enter_async_context(
                calling(
                    target,
                    channels[name],
                    CALL_OPTIONS,
                    transport=settings.edge_transport,
                    tls=certificates.client_context if certificates is not None else None,
                )
            )
            for name, target in targets.items()
        }
        with loading():
            transcoder = build_transcoder(calls, _noting_routes(authorizer), cross_origin)
        ways: dict[str, list[Channel]] = {name: [channel] for name, channel in calls.items()}
        # Keys are asked about by the stubs of the gRPC library.
        ways["auth"].append(GrpcAioChannel(channels["auth"]))
        pages = Pages(HealthReporter(ways, version()), version())
        site = Site(orjson.dumps(gaia_document(transcoder.routes, PROFILE, version())))
        own = CrossOriginPages(Starlette(routes=page_routes(pages, site)), cross_origin)
        yield _traced(Edge(own, transcoder))


def _noting_routes(authorizer: Authorizer) -> Authorize:
    """Lets spans know the route, where spans are made."""
    if telemetry.tracing.get() is None:
        return authorizer
    from edge.tracing import TracedAuthorizer  # loads OpenTelemetry

    return TracedAuthorizer(authorizer)


def _traced(app: ASGIApp) -> ASGIApp:
    """Makes spans of requests, where the operator wants them."""
    tracing = telemetry.tracing.get()
    if tracing is None:
        return app
    from edge.tracing import TracedEdge

    return TracedEdge(app, tracing)


class Edge:
    """The application: the edge's own pages by their exact path, everything else by the contracts.

    One look-up decides, so that no call pays for the pages.
    """

    def __init__(self, pages: CrossOriginPages, contracts: ASGIApp) -> None:
        self._pages = pages
        self._paths = pages.paths
        self._contracts = contracts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        chosen = self._pages if scope.get("path") in self._paths else self._contracts
        await chosen(scope, receive, send)


@contextlib.asynccontextmanager
async def _rate_limiter(settings: EdgeSettings) -> AsyncIterator[RateLimiter]:
    limiter = RateLimiter(settings.rate_limit_url.get_secret_value() if settings.rate_limit_url else "")
    try:
        yield limiter
    finally:
        await limiter.close()


def page_routes(pages: Pages, site: Site) -> list[BaseRoute]:
    """The edge's own pages; what else there is, the contracts declare."""
    own = {
        "/": pages.index,
        "/health": pages.health,
        "/livez": pages.alive,
        "/readyz": pages.ready,
        "/api/v0.2": pages.v02,
        "/api/v0.2/health": pages.v02_health,
        **site.pages(),
    }
    listed: list[BaseRoute] = []
    for path, page in own.items():
        both = dict.fromkeys((path, path.rstrip("/") + "/"))  # with and without the slash, and never a redirect
        for form in both:
            # A page refuses other methods in the words of the routes beside it.
            listed += [Route(form, page, methods=["GET"]), Route(form, OtherMethods())]
    return listed


def build_transcoder(
    channels: Mapping[str, Channel | grpc.aio.Channel],
    authorizer: Authorize,
    cross_origin: CrossOrigin | None = None,
) -> Transcoder:
    """Compiles the contracts' routes. Raises RouteTableError naming every fault in them."""
    owner = {service.full_name: name for name, files in CONTRACTS.items() for service in _services(files)}
    return Transcoder(
        services(),
        lambda service: channels[owner[service.full_name]],
        profile=PROFILE,
        method_options=method_options,
        authorize=authorizer,
        error_styles=STYLES,
        style_of_path=style_of_path,
        http_status=http_status,
        headers=HEADERS,
        cross_origin=cross_origin,
    )


def services() -> list[ServiceDescriptor]:
    """Every service of the contracts."""
    return [service for files in CONTRACTS.values() for service in _services(files)]


def version() -> str:
    """The version of Gaia that is installed."""
    return importlib.metadata.version("gaia")


def _services(files: tuple[FileDescriptor, ...]) -> list[ServiceDescriptor]:
    return [service for file in files for service in file.services_by_name.values()]
