"""gaia.auth.v1.ApiKeyService, in the order of the contract: decode, call one domain function, encode."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from gaia.auth.v1 import api_key_service_pb2 as pb
from gaia.auth.v1 import api_key_service_pb2_grpc

from services.auth import keys
from services.auth.acting import current_act
from services.auth.audit import MAX_ID, AuditTrail
from services.auth.encoding import decode_end, decode_permissions, encode_key
from services.auth.keys import KeyRequest
from services.auth.store import Store
from shared.db.paging import Place, page_size, parse_token
from shared.identity.principal import current_principal

Clock = Callable[[], dt.datetime]
Context = Any  # grpc.aio.ServicerContext, whose type arguments say nothing here


class ApiKeyHandlers(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Creates, lists, changes, rotates, revokes and deletes API keys."""

    def __init__(self, store: Store, trail: AuditTrail, now: Clock) -> None:
        self._store = store
        self._trail = trail
        self._now = now

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        """Creates a key."""
        wanted = KeyRequest(request.user_id, request.name, decode_permissions(request), decode_end(request))
        act = current_act()
        with self._trail.attempt(act.event("api_key.create", keys.API_KEY)):
            created, key = await keys.create_key(self._store, act, wanted, self._now())
        encoded = encode_key(created)
        encoded.key = key
        return pb.CreateApiKeyResponse(api_key=encoded)

    async def GetApiKey(self, request: pb.GetApiKeyRequest, context: Context) -> pb.GetApiKeyResponse:
        """Returns a key."""
        key = await keys.get_key(self._store, current_principal(), request.id)
        return pb.GetApiKeyResponse(api_key=encode_key(key))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        """Lists keys."""
        size = page_size(request.page_size)
        place = parse_token(request.page_token)
        found = await keys.list_keys(self._store, current_principal(), request.user_id, place, size + 1)
        return pb.ListApiKeysResponse(
            api_keys=[encode_key(key) for key in found[:size]],
            next_page_token=Place(found[size - 1].created_at, found[size - 1].id).token() if len(found) > size else "",
        )

    async def UpdateApiKey(self, request: pb.UpdateApiKeyRequest, context: Context) -> pb.UpdateApiKeyResponse:
        """Changes the named fields of a key."""
        sent = request.api_key
        wanted = KeyRequest("", sent.name, decode_permissions(sent), decode_end(sent))
        act, fields = current_act(), request.update_mask.paths
        with self._trail.attempt(
            act.event("api_key.update", keys.API_KEY, sent.id[:MAX_ID], fields=sorted(fields)[:10])
        ):
            key = await keys.update_key(self._store, act, sent.id, fields, wanted, sent.is_active, self._now())
        return pb.UpdateApiKeyResponse(api_key=encode_key(key))

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: Context) -> pb.RotateApiKeyResponse:
        """Gives a key a new secret."""
        grace = request.grace_seconds if request.HasField("grace_seconds") else None
        act = current_act()
        with self._trail.attempt(act.event("api_key.rotate", keys.API_KEY, request.id[:MAX_ID])):
            rotated, key = await keys.rotate_key(self._store, act, request.id, grace, self._now())
        encoded = encode_key(rotated)
        encoded.key = key
        return pb.RotateApiKeyResponse(api_key=encoded)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        """Revokes a key."""
        act = current_act()
        with self._trail.attempt(act.event("api_key.revoke", keys.API_KEY, request.id[:MAX_ID])):
            key = await keys.revoke_key(self._store, act, request.id)
        return pb.RevokeApiKeyResponse(api_key=encode_key(key))

    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, context: Context) -> pb.DeleteApiKeyResponse:
        """Deletes a key."""
        act = current_act()
        with self._trail.attempt(act.event("api_key.delete", keys.API_KEY, request.id[:MAX_ID])):
            await keys.delete_key(self._store, act, request.id)
        return pb.DeleteApiKeyResponse()
