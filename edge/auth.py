"""Who is calling: from a request's key to the metadata that carries the caller's identity to the services."""

import math
from collections.abc import Awaitable, Iterable, Sequence

from gaia.rest.v1 import options_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import code_pb2
from starlette.types import Scope

from edge.callers import address_of, key_of, refuse_key_in_url, unauthenticated
from edge.limits import RESPONSE_HEADERS, Limit, RequestLimits
from edge.rules import rules_of
from edge.transcoding.errors import failure
from edge.transcoding.headers import MetadataPair
from edge.transcoding.routes import Route
from shared import telemetry
from shared.errors import GaiaError, PermissionDenied, ResourceExhausted, Unauthenticated
from shared.identity.authenticator import Authenticator, Identity
from shared.identity.refusals import RefusalCounter
from shared.identity.throttle import FailureThrottle
from shared.rates.limiter import RateLimiter
from shared.rpc.auth import check_scope
from shared.rpc.metadata import CLIENT_ADDRESS
from shared.rpc.rules import Access, access_table

REQUEST_ID = b"request-id"
"""Where Anthropic's SDKs look for the request's id; all others read `x-request-id`."""
NO_METADATA: tuple[MetadataPair, ...] = ()

Metadata = Sequence[MetadataPair]


class Authorizer:
    """Authenticates each request on its decoded route, checks the scope early, and attaches the identity.

    The services check again: what is decided here only saves them the work. A request with a cached key is answered
    without awaiting anything, unless its limits are counted in a shared store. Without `limits` only those hold that
    the contracts declare. `refusals` is told of callers who lack a scope, for the audit trail.
    """

    def __init__(
        self,
        services: Iterable[ServiceDescriptor],
        authenticator: Authenticator,
        trusted_proxies: int,
        limits: RequestLimits | None = None,
        refusals: RefusalCounter | None = None,
    ) -> None:
        services = list(services)
        self._authenticator = authenticator
        self._access = {path.removeprefix("/").replace("/", "."): rule for path, rule in access_table(services).items()}
        # Gaia's own services; what else is called, as by `gaia proxy`, is not told more than it needs.
        self._address_wanted = frozenset(self._access)
        self._method_limits = {
            method.full_name: limit
            for service in services
            for method in service.methods
            if (limit := rules_of(method).calls_per_minute_per_address)
        }
        self._request_id_wanted = frozenset(
            method.full_name
            for service in services
            for method in service.methods
            if options_pb2.ERROR_STYLE_ANTHROPIC
            in (rules_of(method).error_style, rules_of(method).header_error_style.error_style)
        )
        self._limits = limits if limits is not None else RequestLimits(RateLimiter())
        self._refusals = refusals if refusals is not None else RefusalCounter()
        self._throttle = FailureThrottle()
        self._trusted_proxies = trusted_proxies

    def __call__(self, route: Route, scope: Scope) -> Metadata | Awaitable[Metadata]:
        """Returns the metadata to add. Raises RpcFailure: 400, 401, 403, 429 or 503."""
        name = route.method.full_name
        if name in self._request_id_wanted:
            state = scope["state"]
            state[RESPONSE_HEADERS] = [(REQUEST_ID, state.get("request_id", "").encode())]
        refuse_key_in_url(scope)
        method_limit = self._method_limits.get(name, 0)
        if method_limit or self._limits.per_address:
            limits = self._limits.of_address(self._address(scope), name, method_limit)
            counting = self._limits.count(scope, limits)
            if counting is not None:
                return self._after(counting, name, scope)
        return self._identify(name, scope)

    async def _after(self, counting: Awaitable[None], name: str, scope: Scope) -> Metadata:
        await counting
        metadata = self._identify(name, scope)
        return metadata if isinstance(metadata, Sequence) else await metadata

    def _identify(self, name: str, scope: Scope) -> Metadata | Awaitable[Metadata]:
        access, address = self._access[name], self._address(scope)
        # Into the question to auth, a renewal in the background included, and from there into its audit trail.
        telemetry.client_address.set(address)
        if access.public:
            return self._told(name, NO_METADATA, address)
        key = key_of(scope)
        identity = self._authenticator.cached(key)
        if identity is None:
            return self._authenticate(name, key, access, scope, address)
        limits = self._admit(identity, access, name, scope, address)
        counting = self._limits.count(scope, limits) if limits else None
        metadata = self._told(name, identity.metadata, address)
        return metadata if counting is None else _once(counting, metadata)

    async def _authenticate(self, name: str, key: str, access: Access, scope: Scope, address: str) -> Metadata:
        telemetry.request_id.set(scope["state"].get("request_id", ""))
        try:
            identity = await self._throttle.authenticate(self._authenticator, key, address)
        except Unauthenticated as error:
            raise unauthenticated(str(error)) from error
        except GaiaError as error:
            wait = b"%d" % math.ceil(error.retry_after or 1)
            code = code_pb2.RESOURCE_EXHAUSTED if isinstance(error, ResourceExhausted) else code_pb2.UNAVAILABLE
            raise failure(code, str(error), headers=((b"retry-after", wait),)) from error
        counting = self._limits.count(scope, self._admit(identity, access, name, scope, address))
        if counting is not None:
            await counting
        return self._told(name, identity.metadata, address)

    def _admit(self, identity: Identity, access: Access, name: str, scope: Scope, address: str) -> Sequence[Limit]:
        """The caller's limits, once its scope is checked."""
        try:
            check_scope(identity.principal, access)
        except PermissionDenied as error:
            needed, request_id = error.metadata.get("scope", ""), scope["state"].get("request_id", "")
            self._refusals.deny(identity.principal, name, needed, address, request_id)
            raise failure(code_pb2.PERMISSION_DENIED, str(error)) from error
        return self._limits.of_caller(identity.principal)

    def _told(self, name: str, metadata: Metadata, address: str) -> Metadata:
        """The metadata, with the client's address for limits and the audit trail of those who are called."""
        if name not in self._address_wanted:
            return metadata
        return (*metadata, (CLIENT_ADDRESS, address))

    def _address(self, scope: Scope) -> str:
        return address_of(scope, self._trusted_proxies)


async def _once(counting: Awaitable[None], metadata: Metadata) -> Metadata:
    await counting
    return metadata
