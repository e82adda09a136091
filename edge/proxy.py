"""REST in front of any gRPC server whose methods have `google.api.http` rules: what `gaia proxy` runs."""

import asyncio
import contextlib
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from starlette.types import Scope

from edge.auth import Authorizer, Metadata
from edge.channels import TRANSPORTS, calling
from edge.docs.beside import Documented, document_of
from edge.server import HttpsFiles
from edge.transcoding.app import Transcoder
from edge.transcoding.comments import Comments
from edge.transcoding.cross_origin import OriginPolicy
from edge.transcoding.descriptors import Contracts, DescriptorError, ServerAwayError, read_descriptor_file
from edge.transcoding.live import POLL_SECONDS, LiveTranscoder, ReadContracts
from edge.transcoding.options import CrossOrigin, HeaderRules
from edge.transcoding.profile import GRPC_GATEWAY, STRICT
from edge.transcoding.reflection import reconnections, reflect, transport_reason
from edge.transcoding.routes import Route, RouteTableError
from edge.transcoding.transport.channel import Channel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel, TlsSource
from edge.transcoding.transport.http2.subchannel import Backoff
from shared.heap import loading, settle
from shared.identity.authenticator import Authenticator
from shared.rpc.channel import connect
from shared.rpc.mesh import background, following, mesh_identity, reporting
from shared.rpc.rules import Access
from shared.settings import split_listen_address

PROFILES = {"strict": STRICT, "grpc-gateway": GRPC_GATEWAY}
"""The profiles by the names that the command line uses."""

REACH_SECONDS = 5.0
MAX_MESSAGE_BYTES = 48 << 20
"""As large as between Gaia's own services; gRPC's default of 4 MiB is less than what downloads send at once."""
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # What a call may send ahead of a slow client; left to itself gRPC lets a fast backend send tens of megabytes.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    # No keep-alive pings: a server that was not told to expect them takes them for an attack.
]
_CALL_OPTIONS = ChannelOptions(max_message_bytes=MAX_MESSAGE_BYTES, backoff=Backoff(initial=0.1, maximum=1.0))
_ANY_KEY = Access(public=False, scopes=frozenset())
_HEADERS = HeaderRules(reserved=("x-gaia-",))
# With --auth the key is read here and goes no further.
_HEADERS_WITH_AUTH = HeaderRules(
    forwarded=tuple(name for name in HeaderRules().forwarded if name != "authorization"),
    reserved=("authorization", "x-api-key", "x-gaia-", "cookie"),
)


class ProxyError(Exception):
    """What keeps the proxy from starting; the message names the option and says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """TLS to the upstream: the authorities to trust (the public ones unless given), and a certificate to show."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Raises ProxyError."""
        if self.authorities is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.authorities)
            except OSError as error:
                raise ProxyError(f"--upstream-ca {self.authorities}: {_what_is_wrong(error)}") from error
        if (self.certificate is None) != (self.key is None):
            raise ProxyError("--upstream-cert, --upstream-key: need each other")
        if self.certificate is not None and self.key is not None:
            _check_pair("--upstream-cert, --upstream-key", self.certificate, self.key)

    def source(self) -> TlsSource:
        """Returns what gives the same to connections over HTTP/2."""
        context = ssl.create_default_context(cafile=self.authorities)
        context.set_alpn_protocols(["h2"])
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return lambda: context

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials of a channel."""
        files = (self.authorities, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(None if file is None else file.read_bytes() for file in files))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """What to serve and where.

    `upstream` and `auth` are HOST:PORT or any gRPC target. Contracts come from the file `descriptors`, or by reflection
    where there is none. Without `auth` only a loopback `host` is listened on. `environment` is the one that auth's
    keys belong to. Pages of `cors_origins` may call. `https` are the files to serve TLS with.
    """

    upstream: str
    tls: UpstreamTls | None = None
    authority: str = ""
    """Name that the upstream is asked for, instead of the one in its address."""
    descriptors: Path | None = None
    profile: str = "strict"
    auth: str | None = None
    environment: str = "dev"
    host: str = "127.0.0.1"
    transport: str = "auto"
    """One of `channels.TRANSPORTS`: how requests go to the upstream."""
    cors_origins: tuple[str, ...] = ()
    https: HttpsFiles | None = None

    def check(self) -> None:
        """Raises ProxyError."""
        _check_target("--upstream", self.upstream)
        if self.auth is not None:
            _check_target("--auth", self.auth)
        elif not _is_loopback(self.host):
            raise ProxyError(
                f"--host {self.host}: without --auth anybody who reaches this address could call {self.upstream}; "
                "listen on 127.0.0.1, or give --auth HOST:PORT"
            )
        if self.profile not in PROFILES:
            raise ProxyError(f"--profile {self.profile}: there is no such profile; it is {' or '.join(PROFILES)}")
        if self.transport not in TRANSPORTS:
            raise ProxyError(
                f"--transport {self.transport}: there is no such transport; it is {' or '.join(TRANSPORTS)}"
            )
        try:
            OriginPolicy(CrossOrigin(origins=self.cors_origins))
        except ValueError as error:
            raise ProxyError(f"--cors-origin: {error}") from None
        if self.tls is not None:
            self.tls.check()
        if self.https is not None:
            _check_pair("--tls-cert, --tls-key", self.https.certificate, self.https.key)


class KeyAuthorizer(Authorizer):
    """Has every route take any valid key, whatever the contracts say, and attaches the caller's identity.

    A key in the URL is not looked for: parameters of these names may be the contracts' own.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        super().__init__((), authenticator, trusted_proxies=0)
        self._access = _AnyMethod()

    def __call__(self, route: Route, scope: Scope) -> Metadata | Awaitable[Metadata]:
        """Returns the metadata to add. Raises RpcFailure: 400, 401, 429 or 503."""
        return self._identify(route.method.full_name, scope)


class _AnyMethod(dict[str, Access]):
    """Every method there is, needing a key and no scope."""

    def __missing__(self, name: str) -> Access:
        return _ANY_KEY


@contextlib.asynccontextmanager
async def proxying(settings: ProxySettings) -> AsyncIterator[LiveTranscoder]:
    """Yields the application, its contracts loaded and followed. Raises ProxyError."""
    settings.check()
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(_upstream(settings))
        authorizer = None
        if settings.auth is not None:
            auth = await stack.enter_async_context(connect(settings.auth))
            identity = mesh_identity(settings.environment, auth)
            await stack.enter_async_context(following(identity.feed, auth))
            await stack.enter_async_context(reporting(identity.refusals, auth))
            authorizer = KeyAuthorizer(identity.authenticator)
        calls = await stack.enter_async_context(
            calling(
                settings.upstream,
                channel,
                _CALL_OPTIONS,
                transport=settings.transport,
                tls=settings.tls.source() if settings.tls is not None else None,
                authority=settings.authority,
            )
        )

        def swapped() -> None:
            settle()
            if isinstance(calls, Http2Channel):
                # The contracts came by another connection, and this one may lead to the server of before.
                calls.renew()

        app = LiveTranscoder(_source(settings, channel), _builder(settings, calls, authorizer), swapped=swapped)
        with loading():
            await _load(app, settings, channel)
        by_file = settings.descriptors is not None
        await stack.enter_async_context(
            background(
                app.follow(poll=None if by_file else POLL_SECONDS, changes=None if by_file else reconnections(channel))
            )
        )
        yield app


def _upstream(settings: ProxySettings) -> grpc.aio.Channel:
    options: list[tuple[str, str | int]] = [*_CHANNEL_OPTIONS]
    if settings.authority:
        options.append(("grpc.default_authority", settings.authority))
    if settings.tls is None:
        return grpc.aio.insecure_channel(settings.upstream, options=options)
    if settings.authority:
        options.append(("grpc.ssl_target_name_override", settings.authority))
    return grpc.aio.secure_channel(settings.upstream, settings.tls.credentials(), options=options)


def _source(settings: ProxySettings, channel: grpc.aio.Channel) -> ReadContracts:
    path = settings.descriptors
    if path is None:
        return partial(reflect, channel)
    return partial(asyncio.to_thread, read_descriptor_file, path)


def _builder(
    settings: ProxySettings, channel: Channel, authorizer: Authorizer | None
) -> Callable[[Contracts], Documented]:
    profile = PROFILES[settings.profile]

    def build(contracts: Contracts) -> Documented:
        transcoder = Transcoder(
            contracts.services,
            channel,
            profile=profile,
            authorize=authorizer,
            headers=_HEADERS if authorizer is None else _HEADERS_WITH_AUTH,
            cross_origin=CrossOrigin(origins=settings.cors_origins, headers=("authorization", "x-api-key")),
        )
        keyed = authorizer is not None

        def document() -> dict[str, Any]:
            comments = Comments.of_files(contracts.files)
            return document_of(transcoder.routes, profile, title=settings.upstream, comments=comments, keyed=keyed)

        return Documented(transcoder, document)

    return build


async def _load(app: LiveTranscoder, settings: ProxySettings, channel: grpc.aio.Channel) -> None:
    source = "--reflect" if settings.descriptors is None else "--descriptors"
    try:
        await _reach(channel)
        await app.load()
    except ServerAwayError as error:
        raise ProxyError(f"--upstream {settings.upstream}: {error}; {_advice(str(error), settings)}") from error
    except DescriptorError as error:
        raise ProxyError(f"{source}: {error}") from error
    except RouteTableError as error:
        raise ProxyError(f"{source}: {error}") from error


def _advice(reason: str, settings: ProxySettings) -> str:
    """What would be right, as far as gRPC's words let one guess."""
    if "Hostname Verification" in reason:
        return "its certificate is for another name; give that one as --upstream-authority"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "its certificate is signed by nobody who is trusted; give its authority as --upstream-ca"
    if "WRONG_VERSION_NUMBER" in reason:
        return "it does not speak TLS; leave out --upstream-tls"
    if "Socket closed" in reason:
        if settings.tls is None:
            return "does it speak TLS? Then give --upstream-tls"
        return "does it ask for a certificate? Then give --upstream-cert and --upstream-key"
    return "is a gRPC server running there?"


async def _reach(channel: grpc.aio.Channel) -> None:
    """Raises ServerAwayError where no gRPC server answers; any answer will do."""
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        await check(b"", timeout=REACH_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise ServerAwayError(f"cannot be reached: {transport_reason(error)}") from error


def _check_target(option: str, target: str) -> None:
    # What is no HOST:PORT must name its scheme, since gRPC would look any word up in the DNS.
    if re.match(r"[a-z][a-z0-9+.-]*:(?://|/)|unix(?:-abstract)?:", target):
        return
    try:
        split_listen_address(target)
    except ValueError as error:
        raise ProxyError(f"{option} {target}: {error}, or a gRPC target such as unix:/run/app.sock") from None


def _check_pair(options: str, certificate: Path, key: Path) -> None:
    try:
        # Any password will do: a key that is encrypted is refused rather than asked for at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise ProxyError(f"{options}: {_what_is_wrong(error)}") from error


def _what_is_wrong(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not the certificate's"
        return "PEM is expected, and an unencrypted key"
    return f"{error.filename or 'the file'} cannot be read: {error.strerror}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
