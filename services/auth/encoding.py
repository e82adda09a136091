"""Between the domain's values and the contracts' messages."""

import datetime as dt
from decimal import InvalidOperation

from gaia.auth.v1 import api_key_pb2, api_key_service_pb2, auth_service_pb2, user_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.auth.credentials import SignedIdentity
from services.auth.models import ApiKey, User
from services.auth.permissions import Permissions
from services.auth.users import BUDGET, UserRequest
from shared.errors import InvalidArgument
from shared.identity.principal import NO_LIMITS
from shared.identity.wire import decode_budget, decode_limits, encode_budget, encode_limits, encode_principal

KeyMessage = api_key_service_pb2.CreateApiKeyRequest | api_key_pb2.ApiKey


def encode_identity(identity: SignedIdentity) -> auth_service_pb2.AuthenticateResponse:
    """Encodes what Authenticate answers."""
    return auth_service_pb2.AuthenticateResponse(
        principal=encode_principal(identity.principal),
        identity_token=identity.token.text,
        identity_expires_at=Timestamp(seconds=int(identity.token.expires_at)),
        identity_lifetime_ms=int(identity.token.lifetime * 1000),
        revocation_sequence=identity.revocation_sequence,
    )


def encode_user(user: User) -> user_pb2.User:
    """Encodes a user."""
    return user_pb2.User(
        id=str(user.id),
        email=user.email,
        name=user.name,
        is_active=user.is_active,
        created_at=encode_time(user.created_at),
        updated_at=encode_time(user.updated_at),
        monthly_budget_usd=encode_budget(user.monthly_budget_usd),
    )


def decode_user(message: user_pb2.User) -> UserRequest:
    """Decodes what a user is to be. Raises InvalidArgument for a budget that is no amount."""
    try:
        budget = decode_budget(message.monthly_budget_usd) if message.HasField("monthly_budget_usd") else None
    except InvalidOperation as error:
        raise InvalidArgument.field(BUDGET, "must be an amount in US dollars") from error
    return UserRequest(message.name, message.is_active, budget)


def encode_key(key: ApiKey) -> api_key_pb2.ApiKey:
    """Encodes a key, without its secret."""
    permissions = key.permissions
    return api_key_pb2.ApiKey(
        id=str(key.id),
        user_id=str(key.user_id),
        name=key.name,
        prefix=key.prefix,
        last_four=key.last_four,
        scopes=permissions.scopes,
        allowed_models=permissions.allowed_models,
        limits=encode_limits(permissions.limits),
        is_active=key.is_active,
        expires_at=encode_time(key.expires_at),
        previous_secret_expires_at=encode_time(key.previous_expires_at),
        last_used_at=encode_time(key.last_used_at),
        created_at=encode_time(key.created_at),
        updated_at=encode_time(key.updated_at),
    )


def encode_time(moment: dt.datetime | None) -> Timestamp | None:
    """Encodes a moment; None is absent."""
    if moment is None:
        return None
    encoded = Timestamp()
    encoded.FromDatetime(moment)
    return encoded


def decode_permissions(message: KeyMessage) -> Permissions:
    """Decodes what a key is to be allowed. Raises InvalidArgument for a budget that is no amount."""
    try:
        limits = decode_limits(message.limits) if message.HasField("limits") else NO_LIMITS
    except InvalidOperation as error:
        raise InvalidArgument.field("limits.monthly_budget_usd", "must be an amount in US dollars") from error
    return Permissions(tuple(message.scopes), tuple(message.allowed_models), limits)


def decode_end(message: KeyMessage) -> dt.datetime | None:
    """Decodes when a key is to end."""
    if not message.HasField("expires_at"):
        return None
    return decode_time(message.expires_at, "expires_at")


def decode_time(timestamp: Timestamp, field: str) -> dt.datetime:
    """Decodes a moment. Raises InvalidArgument for one that no calendar has."""
    try:
        return timestamp.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument.field(field, "must lie between the years 1 and 9999") from error
