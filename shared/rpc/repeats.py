"""Answering a repeated request of a method that creates something with the answer to the first one."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from shared import idempotency
from shared.db.idempotency import IdempotencyRecords
from shared.errors import AlreadyExists
from shared.identity.principal import current_principal

LEASE_SECONDS = 120.0
"""How long a key stays claimed by a request whose process is gone; longer than any such method takes."""

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class RepeatInterceptor(grpc.aio.ServerInterceptor):
    """Heeds the Idempotency-Key of `methods`, which take and return one message. Comes behind the caller's check.

    An answer of `secret` methods is not kept: what repeats their request learns that it was carried out before. Only
    answers are kept, no failures; a process that ends between the two leaves the key claimed until its lease is over.
    """

    def __init__(
        self,
        records: IdempotencyRecords,
        methods: Iterable[MethodDescriptor],
        secret: Iterable[MethodDescriptor] = (),
    ) -> None:
        self._records = records
        self._answers = {_path(method): GetMessageClass(method.output_type) for method in methods}
        self._secret = {_path(method) for method in secret}

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Implements grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or (method not in self._answers and method not in self._secret):
            return handler
        metadata = handler_call_details.invocation_metadata
        sent = next((value for name, value in metadata if name == idempotency.METADATA), None)
        if sent is None or handler.unary_unary is None:
            return handler

        async def call(request: Message, context: Any) -> Any:
            return await self._once(method, idempotency.checked_key(sent), handler.unary_unary, request, context)

        return handler._replace(unary_unary=call)

    async def _once(self, method: str, key: str, carry_out: Any, request: Message, context: Any) -> Message:
        wanted = idempotency.fingerprint(method, request.SerializeToString(deterministic=True))
        call_id, user_id = uuid.uuid4(), uuid.UUID(current_principal().user_id)
        lease = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=LEASE_SECONDS)
        kept = await self._records.claim(user_id, key, wanted, call_id, lease)
        if kept is not None:
            answer = idempotency.answer_of(kept, wanted)
            if method in self._secret:
                raise AlreadyExists(
                    "this request was carried out before, and what it made is shown once",
                    reason="IDEMPOTENCY_KEY_REUSED",
                )
            return self._answers[method].FromString(answer)
        try:
            response: Message = await carry_out(request, context)
        except BaseException:
            await asyncio.shield(self._records.release(call_id))
            raise
        await asyncio.shield(
            self._records.keep(call_id, b"" if method in self._secret else response.SerializeToString())
        )
        return response


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"
