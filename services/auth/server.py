"""Building the auth service from its settings and its database."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import httpx
from gaia.auth.v1 import (
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
)

from services.auth.audit import AuditTrail
from services.auth.credentials import CredentialCheck
from services.auth.encoding import encode_identity
from services.auth.handlers_api_key import ApiKeyHandlers
from services.auth.handlers_audit import AuditHandlers
from services.auth.handlers_auth import AuthHandlers
from services.auth.handlers_user import UserHandlers
from services.auth.issuer import OutsideIssuer
from services.auth.issuer_http import DiscoveredKeys, issuer_client
from services.auth.outside import OutsideUsers
from services.auth.revocations import RevocationHub
from services.auth.settings import AuthSettings
from services.auth.signing import IdentitySigner
from services.auth.store_postgres import PostgresStore
from services.auth.usage import UseRecorder
from shared import telemetry
from shared.db.idempotency import IdempotencyRecords
from shared.db.metrics import service_metrics
from shared.db.pool import Database
from shared.errors import Unauthenticated
from shared.identity.authenticator import Authenticator
from shared.identity.jwt_form import looks_like_jwt
from shared.identity.refusals import RefusalCounter
from shared.identity.revocations import RevocationFeed
from shared.identity.token import CheckedIdentity, SigningKeys, TokenVerifier
from shared.metrics import serving_metrics
from shared.rpc.mesh import MeshIdentity, background
from shared.rpc.repeats import RepeatInterceptor
from shared.rpc.server import RpcServer, ServerTls
from shared.rpc.tls import load_certificates
from shared.rpc.transports import Limits

SERVICES = (
    auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
    user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
    api_key_service_pb2.DESCRIPTOR.services_by_name["ApiKeyService"],
    audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
)
CREATING = (user_service_pb2.DESCRIPTOR.services_by_name["UserService"].methods_by_name["CreateUser"],)
"""Methods that heed an Idempotency-Key."""
_KEYS = api_key_service_pb2.DESCRIPTOR.services_by_name["ApiKeyService"]
CREATING_SECRETS = (_KEYS.methods_by_name["CreateApiKey"], _KEYS.methods_by_name["RotateApiKey"])
"""Those of them whose answers hold a key, which is told once and kept nowhere."""


@contextlib.asynccontextmanager
async def serving(settings: AuthSettings) -> AsyncIterator[RpcServer]:
    """Serves while the block runs, and drains at its end. Raises SettingsError, or OSError for the address."""
    signer = IdentitySigner(settings.load_signing_keys())
    url = settings.database_url.get_secret_value()
    database = Database(url, size=settings.database_pool_size)
    store = PostgresStore(database)
    uses = UseRecorder(store)
    issuers = issuer_client()
    check = CredentialCheck(settings.env, store, signer, uses, _now, _outside_users(settings, store, issuers))
    hub = RevocationHub(url)
    refusals = RefusalCounter()
    trail = AuditTrail(store, refusals, interval=settings.audit_flush_seconds)
    certificates = load_certificates(settings)
    identity = _own_identity(settings.env, check, signer.public_keys, refusals)
    repeats = IdempotencyRecords(database)
    server = RpcServer(
        listen=settings.listen,
        services=SERVICES,
        register=(
            lambda server: auth_service_pb2_grpc.add_AuthServiceServicer_to_server(
                AuthHandlers(check, signer.public_keys, identity.verifier, hub, store, refusals), server
            ),
            lambda server: user_service_pb2_grpc.add_UserServiceServicer_to_server(UserHandlers(store, trail), server),
            lambda server: api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server(
                ApiKeyHandlers(store, trail, _now), server
            ),
            lambda server: audit_service_pb2_grpc.add_AuditServiceServicer_to_server(
                AuditHandlers(store, refusals), server
            ),
        ),
        interceptors=[*identity.interceptors(SERVICES), RepeatInterceptor(repeats, CREATING, CREATING_SECRETS)],
        probes={"database": database.ping},
        tls=ServerTls.of(settings, certificates),
        kind=settings.rpc_server,
        limits=Limits.of(settings),
    )
    await database.open()
    try:
        async with (
            serving_metrics(settings.metrics_listen, service_metrics(identity, database)),
            background(hub.run()),
            background(_follow_own(hub, identity.feed)),
            background(uses.run()),
            background(trail.run()),
        ):
            await server.start()
            try:
                yield server
            finally:
                await server.stop(settings.drain_seconds)
                await uses.flush()
                await trail.flush()
    finally:
        await issuers.aclose()
        await database.close()


def _outside_users(settings: AuthSettings, store: PostgresStore, client: httpx.AsyncClient) -> OutsideUsers | None:
    if settings.oidc_issuer is None:
        return None
    issuer = OutsideIssuer(
        settings.oidc_issuer,
        settings.oidc_audience,
        DiscoveredKeys(settings.oidc_issuer, client),
        user_claim=settings.oidc_user_claim,
        scopes_claim=settings.oidc_scopes_claim,
    )
    return OutsideUsers(issuer, store, scopes=settings.oidc_scope_names, create=settings.oidc_create_users)


def _own_identity(
    environment: str, check: CredentialCheck, public_keys: SigningKeys, refusals: RefusalCounter
) -> MeshIdentity:
    """Auth knows its callers by the same rules as every service, and asks itself."""

    async def exchange(key: str) -> auth_service_pb2.AuthenticateResponse:
        try:
            if looks_like_jwt(key):
                return encode_identity(await check.authenticate_token(key))
            return encode_identity(await check.authenticate(key))
        except Unauthenticated:
            refusals.record(telemetry.client_address.get(), telemetry.request_id.get())
            raise

    async def fetch_keys() -> SigningKeys:
        return public_keys

    async def check_token(token: str) -> CheckedIdentity:
        claims, _ = await verifier.decode(token)
        return await check.check(claims)

    feed = RevocationFeed()
    verifier = TokenVerifier(environment, fetch_keys, check_token, feed)
    return MeshIdentity(feed, verifier, Authenticator(exchange, feed, refusals=refusals), refusals)


async def _follow_own(hub: RevocationHub, feed: RevocationFeed) -> None:
    async for event in hub.watch(0):
        feed.take(
            auth_service_pb2.WatchRevocationsResponse(
                sequence=event.sequence, api_key_id=event.api_key_id, user_id=event.user_id, reset=event.reset
            )
        )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
