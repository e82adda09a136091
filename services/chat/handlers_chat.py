"""gaia.chat.v1.ChatService, in the order of the contract."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from gaia.chat.v1 import chat_service_pb2 as pb
from gaia.chat.v1 import chat_service_pb2_grpc, completion_pb2, usage_pb2

from services.chat.asking import Context, asking
from services.chat.chatting import WHOLE_WORDS, Chat, ChatCall, Chatted
from services.chat.completing import Asking
from services.chat.dialects.openai_chat_reply import completion_id
from services.chat.responding import Fallback
from services.chat.selection import Wish
from services.chat.turn import Delta, Usage
from services.chat.words import WholeWords
from shared.identity.principal import current_principal

API_VERSION = "0.2"
STREAM_CAPABILITIES = pb.StreamCapabilities(
    whole_words=True,
    usage=True,
    fallback=True,
    cancellation=True,
    event_types=(
        "start",
        "ready",
        "model_selection",
        "content",
        "fallback_attempt",
        "metadata",
        "complete",
        "error",
    ),
)
CHUNK = "chat.completion.chunk"


class ChatHandlers(chat_service_pb2_grpc.ChatServiceServicer):
    """Native chat. `total_seconds` is the longest time of a reply."""

    def __init__(self, chat: Chat, now: Callable[[], dt.datetime], total_seconds: float) -> None:
        self._chat = chat
        self._now = now
        self._total_seconds = total_seconds

    async def Chat(self, request: pb.ChatRequest, context: Context) -> pb.ChatResponse:
        """Answers a message."""
        async with await self._chat.prepare(self._decode(request, context, "Chat")) as prepared:
            answer = await self._chat.answer(prepared)
        return pb.ChatResponse(
            response=answer.reply.text,
            provider=answer.provider,
            model=answer.model,
            usage=_encode_usage(answer.reply.usage),
            response_time_ms=answer.response_time_ms,
            reasoning=answer.reasoning,
            fallback_used=answer.fallback_used,
            conversation_id=answer.conversation_id,
        )

    async def StreamChat(self, request: pb.ChatRequest, context: Context) -> AsyncIterator[pb.StreamChatResponse]:
        """Answers a message with the events of the native stream; content comes in whole words."""
        async with await self._chat.prepare(self._decode(request, context, "StreamChat")) as prepared:
            model = prepared.selection.model
            yield self._timed("start")
            yield self._timed("ready")
            yield pb.StreamChatResponse(
                type="model_selection", model=model.id, provider=model.provider, reasoning=prepared.selection.reasoning
            )
            words = WholeWords()
            provider, name = model.provider, model.id
            async with aclosing(self._chat.stream(prepared)) as events:
                async for event in events:
                    if isinstance(event, Chatted):
                        if text := words.rest():
                            yield _content(text, provider, name)
                        for last in self._ending(event):
                            yield last
                        continue
                    happened, provider, name = event
                    if isinstance(happened, Fallback):
                        yield pb.StreamChatResponse(type="fallback_attempt", message=happened.message)
                    elif text := words.add(happened.text):
                        yield _content(text, provider, name)

    async def StreamChatChunks(
        self, request: pb.ChatRequest, context: Context
    ) -> AsyncIterator[pb.StreamChatChunksResponse]:
        """Answers a message with OpenAI's chunks."""
        async with await self._chat.prepare(self._decode(request, context, "StreamChatChunks")) as prepared:
            stamp = prepared.begun.stamp
            head = pb.StreamChatChunksResponse(id=completion_id(stamp), object=CHUNK, created=stamp.created)
            role: str | None = "assistant"
            words = WholeWords() if request.chunking == WHOLE_WORDS else None
            async with aclosing(self._chat.stream(prepared)) as events:
                async for event in events:
                    if isinstance(event, Chatted):
                        if words and (text := words.rest()):
                            yield _text_chunk(head, event.model, role, text)
                        yield _last_chunk(head, event)
                        continue
                    happened, _, model = event
                    if isinstance(happened, Delta) and (text := words.add(happened.text) if words else happened.text):
                        yield _text_chunk(head, model, role, text)
                        role = None

    async def GetChatStatus(self, request: pb.GetChatStatusRequest, context: Context) -> pb.GetChatStatusResponse:
        """Tells how much the caller's default conversation holds."""
        count = await self._chat.status(current_principal().user_id)
        return pb.GetChatStatusResponse(message_count=count, has_history=count > 0, api_version=API_VERSION)

    async def GetStreamStatus(self, request: pb.GetStreamStatusRequest, context: Context) -> pb.GetStreamStatusResponse:
        """Tells what streams can do, and how much the caller's default conversation holds."""
        count = await self._chat.status(current_principal().user_id)
        response = pb.GetStreamStatusResponse(
            status="ready", message_count=count, has_history=count > 0, capabilities=STREAM_CAPABILITIES
        )
        response.timestamp.FromDatetime(self._now())
        return response

    async def ClearChatHistory(
        self, request: pb.ClearChatHistoryRequest, context: Context
    ) -> pb.ClearChatHistoryResponse:
        """Empties the caller's default conversation."""
        count = await self._chat.clear(current_principal().user_id)
        return pb.ClearChatHistoryResponse(
            status="success", message=f"deleted {count} messages", api_version=API_VERSION
        )

    def _decode(self, request: pb.ChatRequest, context: Context, method: str) -> ChatCall:
        who = asking(context, self._total_seconds, method, request.SerializeToString(deterministic=True))
        return decode_call(request, who, is_stream=method != "Chat")

    def _timed(self, kind: str) -> pb.StreamChatResponse:
        event = pb.StreamChatResponse(type=kind)
        event.timestamp.FromDatetime(self._now())
        return event

    def _ending(self, answer: Chatted) -> tuple[pb.StreamChatResponse, pb.StreamChatResponse]:
        usage = answer.reply.usage
        metadata = pb.StreamChatResponse(
            type="metadata",
            response_time_ms=answer.response_time_ms,
            fallback_used=answer.fallback_used,
            total_tokens=usage.total_tokens if usage else None,
            usage=_encode_usage(usage),
        )
        complete = self._timed("complete")
        complete.response_length = len(answer.reply.text)
        complete.conversation_id = answer.conversation_id
        return metadata, complete


def decode_call(request: pb.ChatRequest, who: Asking, *, is_stream: bool) -> ChatCall:
    """Decodes a request."""
    return ChatCall(
        message=request.message,
        wish=Wish(
            model=request.model,
            provider=request.provider,
            auto_select=request.auto_select_model,
            force_provider=request.force_provider if request.HasField("force_provider") else None,
            force_model_override=request.force_model_override,
            enable_fallback=request.enable_fallback if request.HasField("enable_fallback") else True,
            priority=request.priority,
            context_type=request.context_type,
            max_response_time_ms=request.max_response_time_ms,
            required_capabilities=request.required_capabilities,
        ),
        caller=who.caller,
        request_id=who.request_id,
        seconds=who.seconds,
        once=who.once,
        is_stream=is_stream,
        persona_id=request.persona_id,
        conversation_id=request.conversation_id,
        temperature=request.temperature if request.HasField("temperature") else None,
        max_tokens=request.max_tokens if request.HasField("max_tokens") else None,
        chunking=request.chunking,
    )


def _content(text: str, provider: str, model: str) -> pb.StreamChatResponse:
    return pb.StreamChatResponse(type="content", content=text, provider=provider, model=model)


def _chunk(
    head: pb.StreamChatChunksResponse, model: str, choice: completion_pb2.CompletionChunkChoice
) -> pb.StreamChatChunksResponse:
    return pb.StreamChatChunksResponse(
        id=head.id, object=head.object, created=head.created, model=model, choices=[choice]
    )


def _text_chunk(
    head: pb.StreamChatChunksResponse, model: str, role: str | None, text: str
) -> pb.StreamChatChunksResponse:
    delta = completion_pb2.CompletionDelta(role=role, content=text)
    return _chunk(head, model, completion_pb2.CompletionChunkChoice(index=0, delta=delta))


def _last_chunk(head: pb.StreamChatChunksResponse, answer: Chatted) -> pb.StreamChatChunksResponse:
    choice = completion_pb2.CompletionChunkChoice(
        index=0, delta=completion_pb2.CompletionDelta(), finish_reason=answer.reply.finish_reason.value
    )
    chunk = _chunk(head, answer.model, choice)
    chunk.conversation_id = answer.conversation_id
    if usage := answer.reply.usage:
        chunk.usage.prompt_tokens = usage.input_tokens
        chunk.usage.completion_tokens = usage.output_tokens
        chunk.usage.total_tokens = usage.total_tokens
    return chunk


def _encode_usage(usage: Usage | None) -> usage_pb2.Usage | None:
    if usage is None:
        return None
    return usage_pb2.Usage(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens
    )
