"""The rules about API keys: whose they are, and that nobody gives away more than they have."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from services.auth.audit import Act
from services.auth.models import ApiKey, KeyChanges, NewApiKey, Secret
from services.auth.permissions import (
    Permissions,
    check_gift,
    check_permissions,
    dump_permissions,
    inherited,
    normalised,
)
from services.auth.store import Store
from services.auth.users import MAX_NAME, check_mask, check_name, parse_id
from shared.db.paging import Place
from shared.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Violation
from shared.identity import api_key
from shared.identity.principal import ADMIN, Principal

DEFAULT_SCOPES = ("chat:read", "chat:write", "assets:read", "assets:write", "usage:read")
API_KEY = "api_key"
_LIMITS = ("requests_per_minute", "tokens_per_minute", "monthly_budget_usd")
_PERMISSIONS = ("scopes", "allowed_models", "limits", *(f"limits.{name}" for name in _LIMITS))
UPDATABLE = ("name", "scopes", "is_active", "expires_at", *_PERMISSIONS[1:])
DEFAULT_GRACE_SECONDS = 86_400
MAX_GRACE_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What somebody wants a key to be. An empty `user_id` is the caller's, empty scopes are the default ones."""

    user_id: str
    name: str
    permissions: Permissions
    expires_at: dt.datetime | None


async def create_key(store: Store, act: Act, request: KeyRequest, now: dt.datetime) -> tuple[ApiKey, str]:
    """Stores a new key and returns it with its text, which is stored nowhere.

    Raises InvalidArgument, PermissionDenied for rights that the caller lacks, NotFound for a user that is not there.
    """
    caller = act.caller
    wanted = inherited(caller, request.permissions)
    if not wanted.scopes:
        scopes = tuple(scope for scope in DEFAULT_SCOPES if caller.has_any(frozenset((scope,))))
        wanted = replace(wanted, scopes=scopes)
    violations = _check_name(request.name) + check_permissions(wanted) + _check_end(request.expires_at, now)
    if violations:
        raise InvalidArgument.of(*violations)
    check_gift(caller, wanted)
    key = api_key.generate(caller.environment)
    new = NewApiKey(
        user_id=_owner(caller, request.user_id),
        name=request.name,
        secret=secret_of(key),
        permissions=normalised(wanted),
        expires_at=request.expires_at,
        created_by=uuid.UUID(caller.user_id),
    )
    given = dump_permissions(new.permissions)
    event = act.event("api_key.create", API_KEY, user_id=str(new.user_id), name=new.name, permissions=given)
    return await store.create_key(new, event), key


def secret_of(key: str) -> Secret:
    """Returns what is stored of a key's text."""
    return Secret(api_key.digest(key), api_key.public_prefix(key), key[-4:])


async def get_key(store: Store, caller: Principal, key_id: str) -> ApiKey:
    """Returns a key that the caller may see. Raises NotFound, also for a key of somebody else."""
    key = await store.get_key(parse_id(key_id, "API key"))
    if key is None or not (caller.is_admin or str(key.user_id) == caller.user_id):
        raise _missing(key_id)
    return key


async def list_keys(store: Store, caller: Principal, user_id: str, after: Place, limit: int) -> Sequence[ApiKey]:
    """Returns a page of a user's keys, the newest first. Raises PermissionDenied for another user's."""
    return await store.list_keys(_owner(caller, user_id), after, limit)


async def update_key(
    store: Store,
    act: Act,
    key_id: str,
    fields: Collection[str],
    wanted: KeyRequest,
    is_active: bool,
    now: dt.datetime,
) -> ApiKey:
    """Changes the named fields of a key.

    Raises InvalidArgument, PermissionDenied for rights that the caller lacks, NotFound.
    """
    check_mask(fields, UPDATABLE)
    violations = _check_name(wanted.name) if "name" in fields else []
    if not {*_PERMISSIONS}.isdisjoint(fields):
        violations += check_permissions(_merged(Permissions(()), wanted.permissions, fields))
    if "is_active" in fields and is_active:
        violations.append(Violation("is_active", "can only be set to false; a revoked key stays revoked"))
    if "expires_at" in fields:
        violations += _check_end(wanted.expires_at, now)
    if violations:
        raise InvalidArgument.of(*violations)
    caller = act.caller
    known = await get_key(store, caller, key_id)
    changed = normalised(_merged(known.permissions, wanted.permissions, fields))
    if changed != known.permissions:
        check_gift(caller, changed)
    if not {"name", "expires_at", *_PERMISSIONS}.isdisjoint(fields):
        # Nobody changes a key that can do more than they can, except to end it.
        check_gift(caller, known.permissions)
    given = {} if changed == known.permissions else {"permissions": dump_permissions(changed)}
    updated = await store.update_key(
        known.id,
        KeyChanges(
            name=wanted.name if "name" in fields else None,
            permissions=None if changed == known.permissions else changed,
            is_active=False if "is_active" in fields else None,
            expires_at=wanted.expires_at if "expires_at" in fields else None,
            clear_expires_at="expires_at" in fields and wanted.expires_at is None,
        ),
        act.event("api_key.update", API_KEY, str(known.id), fields=sorted(fields), **given),
    )
    if updated is None:
        raise _missing(key_id)
    return updated


async def rotate_key(
    store: Store, act: Act, key_id: str, grace_seconds: int | None, now: dt.datetime
) -> tuple[ApiKey, str]:
    """Gives a key a new secret and returns it with its text; the old one works on for the time of grace.

    Raises InvalidArgument, PermissionDenied for a key that can do more than the caller, NotFound, FailedPrecondition
    for a key that does not work.
    """
    grace = DEFAULT_GRACE_SECONDS if grace_seconds is None else grace_seconds
    if not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidArgument.field("grace_seconds", f"must be 0 to {MAX_GRACE_SECONDS} (30 days), not {grace}")
    known = await get_key(store, act.caller, key_id)
    check_gift(act.caller, known.permissions)
    if not known.is_active or (known.expires_at is not None and known.expires_at <= now):
        raise FailedPrecondition("this key does not work any more; create another", reason="KEY_ENDED")
    key = api_key.generate(act.caller.environment)
    end = now + dt.timedelta(seconds=grace) if grace else None
    event = act.event("api_key.rotate", API_KEY, str(known.id), grace_seconds=grace)
    rotated = await store.rotate_key(known.id, secret_of(key), end, event)
    if rotated is None:
        raise FailedPrecondition("this key does not work any more; create another", reason="KEY_ENDED")
    return rotated, key


async def revoke_key(store: Store, act: Act, key_id: str) -> ApiKey:
    """Revokes a key for good and returns it. Raises NotFound."""
    known = await get_key(store, act.caller, key_id)
    event = act.event("api_key.revoke", API_KEY, str(known.id))
    revoked = await store.update_key(known.id, KeyChanges(is_active=False), event)
    if revoked is None:
        raise _missing(key_id)
    return revoked


async def delete_key(store: Store, act: Act, key_id: str) -> None:
    """Ends a key and takes it out of every list; the audit trail tells what it was. Raises NotFound."""
    known = await get_key(store, act.caller, key_id)
    event = act.event(
        "api_key.delete", API_KEY, str(known.id), user_id=str(known.user_id), name=known.name, last_four=known.last_four
    )
    if not await store.delete_key(known.id, event):
        raise _missing(key_id)


def _merged(known: Permissions, wanted: Permissions, fields: Collection[str]) -> Permissions:
    """The known permissions with the named fields replaced."""
    limits = wanted.limits if "limits" in fields else known.limits
    named = {name: getattr(wanted.limits, name) for name in _LIMITS if f"limits.{name}" in fields}
    return Permissions(
        wanted.scopes if "scopes" in fields else known.scopes,
        wanted.allowed_models if "allowed_models" in fields else known.allowed_models,
        replace(limits, **named) if named else limits,
    )


def _owner(caller: Principal, user_id: str) -> uuid.UUID:
    if not user_id or user_id == caller.user_id:
        return uuid.UUID(caller.user_id)
    if not caller.is_admin:
        raise PermissionDenied(
            f"the keys of another user need the scope {ADMIN}", reason="MISSING_SCOPE", metadata={"scope": ADMIN}
        )
    return parse_id(user_id, "user")


def _missing(key_id: str) -> NotFound:
    return NotFound(f"there is no API key {key_id[:64]}")


def _check_name(name: str) -> list[Violation]:
    if not name.strip() or len(name) > MAX_NAME:
        return [Violation("name", f"must say what the key is for, in at most {MAX_NAME} characters")]
    return check_name(name)


def _check_end(expires_at: dt.datetime | None, now: dt.datetime) -> list[Violation]:
    if expires_at is not None and expires_at <= now:
        return [Violation("expires_at", "must lie in the future")]
    return []
