"""gaia.chat.v1.CombinedChatService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from gaia.chat.v1 import chat_service_pb2, combined_chat_service_pb2_grpc
from gaia.chat.v1 import combined_chat_service_pb2 as pb
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format

from services.chat.asking import Context, asking
from services.chat.bodies import JSON, events_of, told_beside
from services.chat.chatting import ChatCall
from services.chat.combining import Combined
from services.chat.completing import PreparedCompletion
from services.chat.dialects import combined
from services.chat.dialects.openai_chat_reply import error_record
from services.chat.handlers_chat import decode_call
from shared.errors import InvalidArgument

NATIVE_FIELDS = frozenset(chat_service_pb2.ChatRequest.DESCRIPTOR.fields_by_name)
OPENAIS = frozenset({"stream", "temperature", "max_tokens"})
"""Fields of both; beside `messages` they are OpenAI's, and checked as such."""


class CombinedChatHandlers(combined_chat_service_pb2_grpc.CombinedChatServiceServicer):
    """The chat of version 1. `total_seconds` is the longest time of a reply."""

    def __init__(self, combined_chat: Combined, total_seconds: float) -> None:
        self._combined = combined_chat
        self._total_seconds = total_seconds

    async def CombinedChat(self, request: pb.CombinedChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Answers a message or a list of messages: one body, or a stream of events."""
        asked = combined.parse(request.body.data)
        call = self._decode(asked, request, context)
        async with await self._combined.prepare(asked, call) as prepared:
            if isinstance(prepared, PreparedCompletion) and (told := told_beside(prepared)):
                await context.send_initial_metadata(told)
            if not asked.stream:
                yield HttpBody(content_type=JSON, data=await self._combined.answer(prepared))
                return
            async with aclosing(events_of(self._combined.stream(prepared), error_record)) as bodies:
                async for body in bodies:
                    yield body

    def _decode(self, asked: combined.CombinedRequest, request: pb.CombinedChatRequest, context: Context) -> ChatCall:
        native = NATIVE_FIELDS if asked.completion is None else NATIVE_FIELDS - OPENAIS
        fields = {name: value for name, value in asked.fields.items() if name in native}
        try:
            decoded = json_format.ParseDict(fields, chat_service_pb2.ChatRequest())
        except json_format.ParseError as error:
            raise InvalidArgument.field("body", str(error)) from error
        decoded.chunking = request.chunking or decoded.chunking
        who = asking(context, self._total_seconds, "CombinedChat", request.SerializeToString(deterministic=True))
        return decode_call(decoded, who, is_stream=asked.stream)
