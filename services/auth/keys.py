"""The rules about API keys: whose they are, and that nobody gives away more than they have."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.auth.models import ApiKey, NewApiKey
from services.auth.store import Store
from services.auth.users import MAX_NAME, check_mask, parse_id
from shared.db.paging import Place
from shared.errors import InvalidArgument, NotFound, PermissionDenied, Violation
from shared.identity import api_key
from shared.identity.principal import ADMIN, SCOPES, Principal

DEFAULT_SCOPES = ("chat:read", "chat:write", "assets:read", "assets:write", "usage:read")
UPDATABLE = ("name", "scopes", "is_active", "expires_at")


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What somebody wants a key to be. An empty `user_id` is the caller's, empty `scopes` are the default ones."""

    user_id: str
    name: str
    scopes: Sequence[str]
    expires_at: dt.datetime | None


async def create_key(store: Store, caller: Principal, request: KeyRequest, now: dt.datetime) -> tuple[ApiKey, str]:
    """Stores a new key and returns it with its text, which is stored nowhere.

    Raises InvalidArgument, PermissionDenied for scopes that the caller lacks, NotFound for a user that is not there.
    """
    scopes = request.scopes or [scope for scope in DEFAULT_SCOPES if caller.has_any(frozenset((scope,)))]
    violations = _check_name(request.name) + _check_scopes(scopes) + _check_end(request.expires_at, now)
    if violations:
        raise InvalidArgument.of(*violations)
    _check_subset(caller, scopes)
    key = api_key.generate(caller.environment)
    new = describe(
        key,
        user_id=_owner(caller, request.user_id),
        name=request.name,
        scopes=scopes,
        expires_at=request.expires_at,
        created_by=uuid.UUID(caller.user_id),
    )
    return await store.create_key(new), key


def describe(
    key: str,
    *,
    user_id: uuid.UUID,
    name: str,
    scopes: Sequence[str],
    expires_at: dt.datetime | None = None,
    created_by: uuid.UUID | None = None,
) -> NewApiKey:
    """Returns what is stored of a new key."""
    return NewApiKey(
        user_id=user_id,
        name=name,
        digest=api_key.digest(key),
        prefix=api_key.public_prefix(key),
        last_four=key[-4:],
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        expires_at=expires_at,
        created_by=created_by,
    )


async def get_key(store: Store, caller: Principal, key_id: str) -> ApiKey:
    """Returns a key that the caller may see. Raises NotFound, also for a key of somebody else."""
    key = await store.get_key(parse_id(key_id, "API key"))
    if key is None or not (caller.is_admin or str(key.user_id) == caller.user_id):
        raise NotFound(f"there is no API key {key_id[:64]}")
    return key


async def list_keys(store: Store, caller: Principal, user_id: str, after: Place, limit: int) -> Sequence[ApiKey]:
    """Returns a page of a user's keys, the newest first. Raises PermissionDenied for another user's."""
    return await store.list_keys(_owner(caller, user_id), after, limit)


async def update_key(
    store: Store, caller: Principal, key_id: str, fields: Collection[str], wanted: KeyRequest, is_active: bool
) -> ApiKey:
    """Changes the named fields of a key.

    Raises InvalidArgument, PermissionDenied for scopes that the caller lacks, NotFound.
    """
    check_mask(fields, UPDATABLE)
    violations = _check_name(wanted.name) if "name" in fields else []
    violations += _check_scopes(wanted.scopes) if "scopes" in fields else []
    if "is_active" in fields and is_active:
        violations.append(Violation("is_active", "can only be set to false; a revoked key stays revoked"))
    if violations:
        raise InvalidArgument.of(*violations)
    known = await get_key(store, caller, key_id)
    if "scopes" in fields:
        _check_subset(caller, wanted.scopes)
    if {"name", "scopes", "expires_at"} & set(fields):
        # Nobody changes a key that can do more than they can, except to end it.
        _check_subset(caller, known.scopes)
    updated = await store.update_key(
        known.id,
        name=wanted.name if "name" in fields else None,
        scopes=tuple(scope for scope in SCOPES if scope in wanted.scopes) if "scopes" in fields else None,
        is_active=False if "is_active" in fields else None,
        expires_at=wanted.expires_at if "expires_at" in fields else None,
        clear_expires_at="expires_at" in fields and wanted.expires_at is None,
    )
    if updated is None:
        raise NotFound(f"there is no API key {key_id[:64]}")
    return updated


async def revoke_key(store: Store, caller: Principal, key_id: str) -> None:
    """Revokes a key for good. Raises NotFound."""
    nothing = KeyRequest("", "", (), None)
    await update_key(store, caller, key_id, ("is_active",), nothing, is_active=False)


def _owner(caller: Principal, user_id: str) -> uuid.UUID:
    if not user_id or user_id == caller.user_id:
        return uuid.UUID(caller.user_id)
    if not caller.is_admin:
        raise PermissionDenied(
            f"the keys of another user need the scope {ADMIN}", reason="MISSING_SCOPE", metadata={"scope": ADMIN}
        )
    return parse_id(user_id, "user")


def _check_subset(caller: Principal, scopes: Sequence[str]) -> None:
    if lacking := [scope for scope in scopes if not caller.has_any(frozenset((scope,)))]:
        names = " ".join(lacking)
        raise PermissionDenied(
            f"this key lacks the scopes it would give away: {names}", reason="MISSING_SCOPE", metadata={"scope": names}
        )


def _check_name(name: str) -> list[Violation]:
    if not name.strip() or len(name) > MAX_NAME:
        return [Violation("name", f"must say what the key is for, in at most {MAX_NAME} characters")]
    return []


def _check_scopes(scopes: Sequence[str]) -> list[Violation]:
    if unknown := sorted(set(scopes) - set(SCOPES)):
        return [Violation("scopes", f"no such scope: {', '.join(unknown)}; there are {', '.join(SCOPES)}")]
    return []


def _check_end(expires_at: dt.datetime | None, now: dt.datetime) -> list[Violation]:
    if expires_at is not None and expires_at <= now:
        return [Violation("expires_at", "must lie in the future")]
    return []
