"""Who is calling: from a request's key to the metadata that carries the caller's identity to the services."""

import ipaddress
import math
import time
from collections.abc import Awaitable, Iterable, Sequence

from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import code_pb2
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.types import Scope

from edge.rules import rules_of
from edge.throttle import FailureThrottle
from edge.transcoding.errors import RpcFailure, failure
from edge.transcoding.headers import MetadataPair
from edge.transcoding.routes import Route
from shared import telemetry
from shared.errors import GaiaError, PermissionDenied, ResourceExhausted, Unauthenticated
from shared.identity.authenticator import Authenticator, Identity
from shared.rpc.auth import check_scope
from shared.rpc.metadata import CLIENT_ADDRESS
from shared.rpc.rules import Access, access_table

MAX_KEY_BYTES = 256
CHALLENGE = ((b"www-authenticate", b'Bearer realm="gaia"'),)
MISSING_KEY = "no API key; send one as X-API-Key or as Authorization: Bearer"
TWO_KEYS = "two different API keys in one request; send one"
AUDITED = "gaia.auth."
"""The services that keep an audit trail."""
NO_METADATA: tuple[MetadataPair, ...] = ()

Metadata = Sequence[MetadataPair]


class Authorizer:
    """Authenticates each request on its decoded route, checks the scope early, and attaches the identity.

    The services check again: what is decided here only saves them the work. A request with a cached key is answered
    without awaiting anything.
    """

    def __init__(
        self, services: Iterable[ServiceDescriptor], authenticator: Authenticator, trusted_proxies: int
    ) -> None:
        services = list(services)
        self._authenticator = authenticator
        self._access = {path.removeprefix("/").replace("/", "."): rule for path, rule in access_table(services).items()}
        self._address_wanted = frozenset(name for name in self._access if name.startswith(AUDITED))
        self._limits = {
            method.full_name: RateLimitItemPerMinute(limit)
            for service in services
            for method in service.methods
            if (limit := rules_of(method).calls_per_minute_per_address)
        }
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._throttle = FailureThrottle()
        self._trusted_proxies = trusted_proxies

    def __call__(self, route: Route, scope: Scope) -> Metadata | Awaitable[Metadata]:
        """Returns the metadata to add. Raises RpcFailure: 400, 401, 403, 429 or 503."""
        name = route.method.full_name
        access = self._access[name]
        if access.public:
            limit = self._limits.get(name)
            return self._told(name, NO_METADATA, scope) if limit is None else self._count(limit, name, scope)
        key = key_of(scope)
        identity = self._authenticator.cached(key)
        if identity is None:
            return self._authenticate(name, key, access, scope)
        return self._told(name, _admit(identity, access), scope)

    def _told(self, name: str, metadata: Metadata, scope: Scope) -> Metadata:
        """The metadata, with the client's address for those whose audit trail keeps it."""
        if name not in self._address_wanted:
            return metadata
        return (*metadata, (CLIENT_ADDRESS, address_of(scope, self._trusted_proxies)))

    async def _authenticate(self, name: str, key: str, access: Access, scope: Scope) -> Metadata:
        address = address_of(scope, self._trusted_proxies)
        # Into the question to auth, and from there into its audit trail.
        telemetry.client_address.set(address)
        telemetry.request_id.set(scope["state"].get("request_id", ""))
        try:
            if self._throttle.is_slow(address) and not self._authenticator.knows(key):
                async with self._throttle.lane():
                    identity = await self._authenticator.authenticate(key)
            else:
                identity = await self._authenticator.authenticate(key)
        except Unauthenticated as error:
            self._throttle.failed(address)
            raise _unauthenticated(str(error)) from error
        except GaiaError as error:
            wait = b"%d" % math.ceil(error.retry_after or 1)
            code = code_pb2.RESOURCE_EXHAUSTED if isinstance(error, ResourceExhausted) else code_pb2.UNAVAILABLE
            raise failure(code, str(error), headers=((b"retry-after", wait),)) from error
        return self._told(name, _admit(identity, access), scope)

    async def _count(self, limit: RateLimitItemPerMinute, name: str, scope: Scope) -> Metadata:
        address = address_of(scope, self._trusted_proxies)
        allowed = await self._limiter.hit(limit, name, address)
        stats = await self._limiter.get_window_stats(limit, name, address)
        wait = max(1, math.ceil(stats.reset_time - time.time()))
        headers = [
            (b"x-ratelimit-limit", b"%d" % limit.amount),
            (b"x-ratelimit-remaining", b"%d" % stats.remaining),
            (b"x-ratelimit-reset", b"%d" % wait),
        ]
        if not allowed:
            message = f"more than {limit.amount} calls a minute from this address; wait {wait} s"
            headers.append((b"retry-after", b"%d" % wait))
            raise failure(code_pb2.RESOURCE_EXHAUSTED, message, headers=headers)
        scope["state"].setdefault("response_headers", []).extend(headers)
        return self._told(name, NO_METADATA, scope)


def key_of(scope: Scope) -> str:
    """Returns the key of a request. Raises RpcFailure when there is none, or more than one."""
    found: set[bytes] = set()
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization":
            scheme, _, credential = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise _unauthenticated("Authorization must be `Bearer <API key>`")
            found.add(credential.strip())
    found.discard(b"")
    if not found:
        raise _unauthenticated(MISSING_KEY)
    if len(found) > 1:
        raise failure(code_pb2.INVALID_ARGUMENT, TWO_KEYS)
    key = found.pop()
    # What is longer than any key is not worth a digest.
    return key.decode("latin-1") if len(key) <= MAX_KEY_BYTES else ""


def address_of(scope: Scope, trusted_proxies: int) -> str:
    """Returns the caller's address: the peer's, or what the nearest untrusted hop of X-Forwarded-For is.

    An IPv6 address counts as its /64, which is what one subscriber has.
    """
    client = scope.get("client")
    address = client[0] if client else ""
    if trusted_proxies:
        values = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        hops = [hop.strip() for hop in values.decode("latin-1").split(",") if hop.strip()]
        if hops:
            address = hops[-min(trusted_proxies, len(hops))]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _admit(identity: Identity, access: Access) -> Metadata:
    try:
        check_scope(identity.principal, access)
    except PermissionDenied as error:
        raise failure(code_pb2.PERMISSION_DENIED, str(error)) from error
    return identity.metadata


def _unauthenticated(message: str) -> RpcFailure:
    return failure(code_pb2.UNAUTHENTICATED, message, headers=CHALLENGE)
