"""gaia.auth.v1.AuditService, in the order of the contract: decode, call one domain function, encode."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from gaia.auth.v1 import audit_pb2, audit_service_pb2_grpc
from gaia.auth.v1 import audit_service_pb2 as pb

from services.auth.audit import MAX_ID, AuditEvent, AuditFilter, export_events
from services.auth.encoding import decode_time, encode_time
from services.auth.store import Store
from shared.db.paging import Place, page_size, parse_token
from shared.errors import InvalidArgument
from shared.identity.refusals import MAX_REFUSALS, Refusal, RefusalCounter
from shared.rpc.peers import MAX_ADDRESS

Context = Any  # grpc.aio.ServicerContext, which these handlers do not use
_MAX_COUNT = 1_000_000_000
_MAX_ENTRIES = MAX_REFUSALS + 2  # and one each for those that are not told apart
_MAX_REQUEST_ID = 128


class AuditHandlers(audit_service_pb2_grpc.AuditServiceServicer):
    """Shows who did what."""

    def __init__(self, store: Store, refusals: RefusalCounter) -> None:
        self._store = store
        self._refusals = refusals

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        """Lists entries."""
        size = page_size(request.page_size)
        place = parse_token(request.page_token)
        found = await self._store.list_audit_events(_decode_filter(request), place, size + 1)
        return pb.ListAuditEventsResponse(
            events=[_encode_event(event) for event in found[:size]],
            next_page_token=Place(found[size - 1].created_at, found[size - 1].id).token() if len(found) > size else "",
        )

    async def ExportAuditEvents(
        self, request: pb.ExportAuditEventsRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditEventsResponse]:
        """Streams entries."""
        async for event in export_events(self._store, _decode_filter(request)):
            yield pb.ExportAuditEventsResponse(event=_encode_event(event))

    async def ReportRefusals(self, request: pb.ReportRefusalsRequest, context: Context) -> pb.ReportRefusalsResponse:
        """Notes what another door refused."""
        if len(request.refusals) > _MAX_ENTRIES:
            raise InvalidArgument.field("refusals", f"must have at most {_MAX_ENTRIES} entries")
        decoded = [(_decode_refusal(number, one), one) for number, one in enumerate(request.refusals)]
        for what, one in decoded:
            self._refusals.add(what, one.request_id[:_MAX_REQUEST_ID], min(max(one.count, 1), _MAX_COUNT))
        return pb.ReportRefusalsResponse()


def _decode_refusal(number: int, message: pb.Refusals) -> Refusal:
    address = message.address[:MAX_ADDRESS]
    if not message.method:
        return Refusal(address)
    place = f"refusals[{number}]"
    user_id = _decode_id(message.user_id, f"{place}.user_id")
    api_key_id = _decode_id(message.api_key_id, f"{place}.api_key_id")
    return Refusal(address, message.method[:MAX_ID], message.scope[:MAX_ID], str(user_id or ""), str(api_key_id or ""))


def _decode_filter(request: pb.ListAuditEventsRequest | pb.ExportAuditEventsRequest) -> AuditFilter:
    return AuditFilter(
        actor_user_id=_decode_id(request.actor_user_id, "actor_user_id"),
        actor_key_id=_decode_id(request.actor_api_key_id, "actor_api_key_id"),
        action=request.action or None,
        target_id=request.target_id[:MAX_ID] or None,
        result=request.result or None,
        address=request.address or None,
        start_time=decode_time(request.start_time, "start_time") if request.HasField("start_time") else None,
        end_time=decode_time(request.end_time, "end_time") if request.HasField("end_time") else None,
    )


def _decode_id(text: str, field: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError as error:
        raise InvalidArgument.field(field, "must be a UUID") from error


def _encode_event(event: AuditEvent) -> audit_pb2.AuditEvent:
    encoded = audit_pb2.AuditEvent(
        id=str(event.id),
        created_at=encode_time(event.created_at),
        action=event.action,
        result=event.result,
        actor_user_id=str(event.actor_user_id or ""),
        actor_api_key_id=str(event.actor_key_id or ""),
        target_type=event.target_type,
        target_id=event.target_id,
        request_id=event.request_id,
        address=event.address,
    )
    encoded.details.update(event.details)
    return encoded
