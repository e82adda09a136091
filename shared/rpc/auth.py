"""The one check of a caller's identity, the same in every service."""

import contextvars
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gaia.auth.v1 import auth_service_pb2 as pb
from google.protobuf.descriptor import ServiceDescriptor

from shared import telemetry
from shared.errors import GaiaError, PermissionDenied, Unauthenticated
from shared.identity.authenticator import IDENTITY_METADATA, Authenticator
from shared.identity.jwt_form import looks_like_jwt
from shared.identity.principal import Principal, set_principal
from shared.identity.refusals import RefusalCounter
from shared.identity.throttle import FailureThrottle
from shared.identity.token import CheckedIdentity, SigningKeys, TokenVerifier
from shared.identity.wire import decode_principal
from shared.rpc import peers, status
from shared.rpc.entering import Enter, entered
from shared.rpc.metadata import API_KEY, REQUEST_ID
from shared.rpc.rules import Access, access_table

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

OPEN_PREFIXES = ("/grpc.health.", "/grpc.reflection.")
"""Services of gRPC itself, which say nothing about anybody."""
EXCHANGE_TIMEOUT_SECONDS = 2.0
_TOKENS = (IDENTITY_METADATA, "authorization")
MISSING_CREDENTIAL = "no credential; send an API key as x-api-key"
CONFLICTING_CREDENTIALS = "two different credentials in one call; send one"

_presented: contextvars.ContextVar[str] = contextvars.ContextVar("presented_key")

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Verifies the caller, checks the scope that the contract declares, and puts the principal in context.

    A caller is known by an identity token (`x-gaia-identity`, or `authorization: Bearer`) or by an API key
    (`x-api-key`). Methods that are not in the contracts given here are refused. Addresses that send wrong keys are
    slowed down as at the edge.
    """

    def __init__(
        self,
        services: Iterable[ServiceDescriptor],
        verifier: TokenVerifier,
        authenticator: Authenticator,
        refusals: RefusalCounter,
    ) -> None:
        self._access = access_table(services)
        self._verifier = verifier
        self._authenticator = authenticator
        self._refusals = refusals
        self._throttle = FailureThrottle()
        # By method, for callers with keys: a handler, and the same one with a check before it.
        self._keyed: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Implements grpc.aio.ServerInterceptor. The handler runs in this task, so it sees the principal set here."""
        method = handler_call_details.method
        access = self._access.get(method)
        if access is None:
            if method.startswith(OPEN_PREFIXES):
                return await continuation(handler_call_details)
            return None  # gRPC answers UNIMPLEMENTED
        if access.public:
            set_principal(None)
            return await continuation(handler_call_details)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        token, principal = "", None
        try:
            token, key = _credentials(handler_call_details.invocation_metadata)
            if key:
                # Whoever has a key speaks for itself.
                peers.believe(False)
                _presented.set(key)
                return self._with_key(handler, access, method)
            principal = await self._principal(token)
            check_scope(principal, access)
        except GaiaError as error:
            return entered(handler, self._refusing(error, method, principal, token))
        set_principal(principal)
        return handler

    async def _principal(self, token: str) -> Principal:
        if not token:
            raise Unauthenticated(MISSING_CREDENTIAL)
        try:
            return self._verifier.cached(token) or await self._verifier.verify(token)
        except Unauthenticated:
            peers.believe(False)
            raise

    def _with_key(self, handler: Any, access: Access, method: str) -> Any:
        known = self._keyed.get(method)
        if known is None or known[0] is not handler:
            known = self._keyed[method] = (handler, entered(handler, partial(self._enter, access, method)))
        return known[1]

    async def _enter(self, access: Access, method: str, _context: object) -> None:
        """Checks a key inside of the call, where its own address is known: a wrong key is put down to it."""
        key, principal = _presented.get(), None
        try:
            identity = self._authenticator.cached(key)
            if identity is None:
                address = telemetry.client_address.get()
                identity = await self._throttle.authenticate(self._authenticator, key, address)
            principal = identity.principal
            check_scope(principal, access)
        except GaiaError as error:
            self._note(error, method, principal, "")
            raise
        set_principal(principal)

    def _refusing(self, error: GaiaError, method: str, principal: Principal | None, token: str) -> Enter:
        async def refuse(_context: object) -> None:
            self._note(error, method, principal, token)
            raise error

        return refuse

    def _note(self, error: GaiaError, method: str, principal: Principal | None, token: str) -> None:
        """Notes a refusal for the audit trail, inside of the call.

        Keys that are refused are noted by the authenticator, or by auth when it was asked.
        """
        address, request_id = telemetry.client_address.get(), telemetry.request_id.get()
        if principal is not None and isinstance(error, PermissionDenied):
            scope = error.metadata.get("scope", "")
            self._refusals.deny(principal, name_of(method), scope, address, request_id)
        elif token and isinstance(error, Unauthenticated):
            self._refusals.record(address, request_id)


def _credentials(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str]:
    """Returns the identity token and the API key of a call; at most one of them is not empty."""
    token = key = ""
    for name, value in metadata:
        if name == API_KEY:
            if key and value != key:
                raise Unauthenticated(CONFLICTING_CREDENTIALS)
            key = str(value)
        elif name in _TOKENS:
            found = str(value) if name == IDENTITY_METADATA else _bearer(str(value))
            if token and found and found != token:
                raise Unauthenticated(CONFLICTING_CREDENTIALS)
            token = found or token
    if token and key:
        raise Unauthenticated(CONFLICTING_CREDENTIALS)
    return token, key


def name_of(method: str) -> str:
    """Returns the full name of a method, such as `gaia.auth.v1.UserService.ListUsers`, of its path."""
    return method[1:].replace("/", ".")


def check_scope(principal: Principal, access: Access) -> None:
    """Raises PermissionDenied, naming the scope, when the principal has none of those that the method needs."""
    if access.scopes and not principal.has_any(access.scopes):
        needed = " or ".join(sorted(access.scopes))
        raise PermissionDenied(f"this key lacks the scope {needed}", reason="MISSING_SCOPE", metadata={"scope": needed})


def remote_exchange(auth: "AuthServiceAsyncStub") -> Callable[[str], Awaitable[pb.AuthenticateResponse]]:
    """Returns the function that asks the auth service for the identity behind a key, or behind an outside JWT.

    Until auth has answered for the first time, it is waited for: services start side by side.
    """
    has_answered = False

    async def exchange(key: str) -> pb.AuthenticateResponse:
        nonlocal has_answered
        request = pb.AuthenticateRequest(client_address=telemetry.client_address.get())
        if looks_like_jwt(key):
            request.token = key
        else:
            request.api_key = key
        try:
            response = await auth.Authenticate(
                request, timeout=EXCHANGE_TIMEOUT_SECONDS, metadata=_onward(), wait_for_ready=not has_answered
            )
        except grpc.aio.AioRpcError as error:
            raise _as_outage(error) from error
        has_answered = True
        return response

    return exchange


def remote_check(auth: "AuthServiceAsyncStub") -> Callable[[str], Awaitable[CheckedIdentity]]:
    """Returns the function that asks the auth service whether what an identity token says still holds."""

    async def check(token: str) -> CheckedIdentity:
        request = pb.CheckIdentityRequest(identity_token=token)
        try:
            response = await auth.CheckIdentity(request, timeout=EXCHANGE_TIMEOUT_SECONDS, metadata=_onward())
        except grpc.aio.AioRpcError as error:
            raise _as_outage(error) from error
        return CheckedIdentity(decode_principal(response.principal), response.revocation_sequence)

    return check


def remote_signing_keys(auth: "AuthServiceAsyncStub") -> Callable[[], Awaitable[SigningKeys]]:
    """Returns the function that fetches the auth service's signing keys.

    Until auth has answered for the first time, it is waited for: services start side by side.
    """
    has_answered = False

    async def fetch() -> SigningKeys:
        nonlocal has_answered
        try:
            response = await auth.ListSigningKeys(
                pb.ListSigningKeysRequest(), timeout=EXCHANGE_TIMEOUT_SECONDS, wait_for_ready=not has_answered
            )
        except grpc.aio.AioRpcError as error:
            raise _as_outage(error) from error
        has_answered = True
        return {key.kid: Ed25519PublicKey.from_public_bytes(key.public_key) for key in response.keys}

    return fetch


def _onward() -> tuple[tuple[str, str], ...]:
    """Metadata that tells auth on whose behalf it is asked."""
    request_id = telemetry.request_id.get()
    return (*(((REQUEST_ID, request_id),) if request_id else ()), *telemetry.trace_context.get())


def _as_outage(error: grpc.aio.AioRpcError) -> GaiaError:
    # An outage must never look like a bad key: only auth's own UNAUTHENTICATED does.
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return status.from_rpc_error(error, "auth")
    return status.unavailable("auth")


def _bearer(header: str) -> str:
    scheme, _, credential = header.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
