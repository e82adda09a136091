"""The RPCs of the auth service, in the order of the contracts: decode, call one domain function, encode."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any

from gaia.auth.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
    user_pb2,
    user_service_pb2,
    user_service_pb2_grpc,
)
from google.protobuf.timestamp_pb2 import Timestamp

from services.auth import keys, users
from services.auth.credentials import CredentialCheck, SignedIdentity
from services.auth.keys import KeyRequest
from services.auth.models import ApiKey, User
from services.auth.revocations import RevocationHub
from services.auth.store import Store
from shared.db.paging import Place, page_size, parse_token
from shared.errors import Unauthenticated
from shared.identity.principal import current_principal
from shared.identity.token import SigningKeys, TokenVerifier

Clock = Callable[[], dt.datetime]
Context = Any  # grpc.aio.ServicerContext, which the handlers do not use


class AuthHandlers(auth_service_pb2_grpc.AuthServiceServicer):
    """gaia.auth.v1.AuthService."""

    def __init__(
        self,
        check: CredentialCheck,
        signing_keys: SigningKeys,
        verifier: TokenVerifier,
        hub: RevocationHub,
        store: Store,
    ) -> None:
        self._check = check
        self._signing_keys = signing_keys
        self._verifier = verifier
        self._hub = hub
        self._store = store

    async def Authenticate(
        self, request: auth_service_pb2.AuthenticateRequest, context: Context
    ) -> auth_service_pb2.AuthenticateResponse:
        """Turns an API key into a principal and a signed identity token."""
        return encode_identity(await self._check.authenticate(request.api_key))

    async def ListSigningKeys(
        self, request: auth_service_pb2.ListSigningKeysRequest, context: Context
    ) -> auth_service_pb2.ListSigningKeysResponse:
        """Lists the public keys that verify identity tokens."""
        response = auth_service_pb2.ListSigningKeysResponse()
        for kid, key in self._signing_keys.items():
            response.keys.add(kid=kid, public_key=key.public_bytes_raw())
        return response

    async def WatchRevocations(
        self, request: auth_service_pb2.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[auth_service_pb2.WatchRevocationsResponse]:
        """Streams revocations, and a heartbeat at least every second."""
        async for event in self._hub.watch(request.after_sequence):
            yield auth_service_pb2.WatchRevocationsResponse(
                sequence=event.sequence, api_key_id=event.api_key_id, user_id=event.user_id, reset=event.reset
            )

    async def ValidateCredential(
        self, request: auth_service_pb2.ValidateCredentialRequest, context: Context
    ) -> auth_service_pb2.ValidateCredentialResponse:
        """Says whether a credential is valid."""
        response = auth_service_pb2.ValidateCredentialResponse(auth_type="none")
        try:
            if request.api_key:
                response.user_id = (await self._check.authenticate(request.api_key)).principal.user_id
                response.auth_type = "api_key"
            elif request.token:
                response.user_id = (await self._verifier.verify(request.token)).user_id
                response.auth_type = "jwt"
            else:
                response.error = "no credential; send api_key or token"
        except Unauthenticated as error:
            response.error = str(error)
        response.valid = not response.error
        return response

    async def GetMe(self, request: auth_service_pb2.GetMeRequest, context: Context) -> auth_service_pb2.GetMeResponse:
        """Returns the caller."""
        principal = current_principal()
        user = await users.get_user(self._store, principal.user_id)
        return auth_service_pb2.GetMeResponse(
            user=_encode_user(user), api_key_id=principal.api_key_id, scopes=sorted(principal.scopes)
        )


class UserHandlers(user_service_pb2_grpc.UserServiceServicer):
    """gaia.auth.v1.UserService."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateUser(
        self, request: user_service_pb2.CreateUserRequest, context: Context
    ) -> user_service_pb2.CreateUserResponse:
        """Creates a user."""
        user = await users.create_user(self._store, request.email, request.name)
        return user_service_pb2.CreateUserResponse(user=_encode_user(user))

    async def GetUser(
        self, request: user_service_pb2.GetUserRequest, context: Context
    ) -> user_service_pb2.GetUserResponse:
        """Returns a user."""
        return user_service_pb2.GetUserResponse(user=_encode_user(await users.get_user(self._store, request.id)))

    async def ListUsers(
        self, request: user_service_pb2.ListUsersRequest, context: Context
    ) -> user_service_pb2.ListUsersResponse:
        """Lists users."""
        size = page_size(request.page_size)
        found = await users.list_users(self._store, parse_token(request.page_token), size + 1)
        return user_service_pb2.ListUsersResponse(
            users=[_encode_user(user) for user in found[:size]],
            next_page_token=Place(found[size - 1].created_at, found[size - 1].id).token() if len(found) > size else "",
        )

    async def UpdateUser(
        self, request: user_service_pb2.UpdateUserRequest, context: Context
    ) -> user_service_pb2.UpdateUserResponse:
        """Changes the named fields of a user."""
        wanted = request.user
        user = await users.update_user(self._store, wanted.id, request.update_mask.paths, wanted.name, wanted.is_active)
        return user_service_pb2.UpdateUserResponse(user=_encode_user(user))

    async def DeleteUser(
        self, request: user_service_pb2.DeleteUserRequest, context: Context
    ) -> user_service_pb2.DeleteUserResponse:
        """Makes a user inactive."""
        await users.deactivate_user(self._store, request.id)
        return user_service_pb2.DeleteUserResponse()


class ApiKeyHandlers(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """gaia.auth.v1.ApiKeyService."""

    def __init__(self, store: Store, now: Clock) -> None:
        self._store = store
        self._now = now

    async def CreateApiKey(
        self, request: api_key_service_pb2.CreateApiKeyRequest, context: Context
    ) -> api_key_service_pb2.CreateApiKeyResponse:
        """Creates a key."""
        wanted = KeyRequest(request.user_id, request.name, request.scopes, _decode_time(request, "expires_at"))
        created, key = await keys.create_key(self._store, current_principal(), wanted, self._now())
        encoded = _encode_key(created)
        encoded.key = key
        return api_key_service_pb2.CreateApiKeyResponse(api_key=encoded)

    async def GetApiKey(
        self, request: api_key_service_pb2.GetApiKeyRequest, context: Context
    ) -> api_key_service_pb2.GetApiKeyResponse:
        """Returns a key."""
        key = await keys.get_key(self._store, current_principal(), request.id)
        return api_key_service_pb2.GetApiKeyResponse(api_key=_encode_key(key))

    async def ListApiKeys(
        self, request: api_key_service_pb2.ListApiKeysRequest, context: Context
    ) -> api_key_service_pb2.ListApiKeysResponse:
        """Lists keys."""
        size = page_size(request.page_size)
        place = parse_token(request.page_token)
        found = await keys.list_keys(self._store, current_principal(), request.user_id, place, size + 1)
        return api_key_service_pb2.ListApiKeysResponse(
            api_keys=[_encode_key(key) for key in found[:size]],
            next_page_token=Place(found[size - 1].created_at, found[size - 1].id).token() if len(found) > size else "",
        )

    async def UpdateApiKey(
        self, request: api_key_service_pb2.UpdateApiKeyRequest, context: Context
    ) -> api_key_service_pb2.UpdateApiKeyResponse:
        """Changes the named fields of a key."""
        sent = request.api_key
        wanted = KeyRequest("", sent.name, sent.scopes, _decode_time(sent, "expires_at"))
        fields = request.update_mask.paths
        key = await keys.update_key(self._store, current_principal(), sent.id, fields, wanted, sent.is_active)
        return api_key_service_pb2.UpdateApiKeyResponse(api_key=_encode_key(key))

    async def RevokeApiKey(
        self, request: api_key_service_pb2.RevokeApiKeyRequest, context: Context
    ) -> api_key_service_pb2.RevokeApiKeyResponse:
        """Revokes a key."""
        await keys.revoke_key(self._store, current_principal(), request.id)
        return api_key_service_pb2.RevokeApiKeyResponse()


def encode_identity(identity: SignedIdentity) -> auth_service_pb2.AuthenticateResponse:
    """Encodes what Authenticate answers."""
    principal = identity.principal
    return auth_service_pb2.AuthenticateResponse(
        principal=auth_service_pb2.Principal(
            user_id=principal.user_id,
            email=principal.email,
            api_key_id=principal.api_key_id,
            scopes=sorted(principal.scopes),
            environment=principal.environment,
        ),
        identity_token=identity.token,
        identity_expires_at=Timestamp(seconds=int(identity.expires_at)),
        revocation_sequence=identity.revocation_sequence,
    )


def _encode_user(user: User) -> user_pb2.User:
    return user_pb2.User(
        id=str(user.id),
        email=user.email,
        name=user.name,
        is_active=user.is_active,
        created_at=_encode_time(user.created_at),
        updated_at=_encode_time(user.updated_at),
    )


def _encode_key(key: ApiKey) -> api_key_pb2.ApiKey:
    return api_key_pb2.ApiKey(
        id=str(key.id),
        user_id=str(key.user_id),
        name=key.name,
        prefix=key.prefix,
        last_four=key.last_four,
        scopes=key.scopes,
        is_active=key.is_active,
        expires_at=_encode_time(key.expires_at),
        last_used_at=_encode_time(key.last_used_at),
        created_at=_encode_time(key.created_at),
        updated_at=_encode_time(key.updated_at),
    )


def _encode_time(moment: dt.datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    encoded = Timestamp()
    encoded.FromDatetime(moment)
    return encoded


def _decode_time(
    message: api_key_service_pb2.CreateApiKeyRequest | api_key_pb2.ApiKey, field: str
) -> dt.datetime | None:
    if not message.HasField(field):  # type: ignore[arg-type] # the caller names a field of the message
        return None
    moment: dt.datetime = getattr(message, field).ToDatetime(tzinfo=dt.UTC)
    return moment
