"""The chat of version 1: a message in a kept conversation, or a list of messages that the client keeps."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from services.chat.chatting import WHOLE_WORDS, Chat, ChatCall, Chatted, Prepared, allowed_seconds, check_chunking
from services.chat.completing import Asking, Completions, PreparedCompletion
from services.chat.conversations import no_conversation, parse_conversation_id
from services.chat.dialects import combined
from services.chat.dialects.openai_chat import CompletionRequest
from services.chat.dialects.openai_chat_reply import ChunkWriter
from services.chat.personas import DEFAULT_ID, no_persona
from services.chat.responding import Fallback
from services.chat.selection import Selector, check_wish
from services.chat.store import Store
from services.chat.turn import Delta
from services.chat.words import WholeWords
from shared.errors import InvalidArgument


class Combined:
    """Answers both kinds of request."""

    def __init__(self, selector: Selector, chat: Chat, completions: Completions, store: Store) -> None:
        self._selector = selector
        self._chat = chat
        self._completions = completions
        self._store = store

    async def prepare(self, request: combined.CombinedRequest, call: ChatCall) -> Prepared | PreparedCompletion:
        """Checks a request and chooses its model. Raises what `Chat.prepare` and `Completions.prepare` do."""
        if request.completion is None:
            return await self._chat.prepare(call)
        if violations := [*check_wish(call.wish), *check_chunking(call.chunking)]:
            raise InvalidArgument.of(*violations)
        # What one family of providers is sent unchanged, another may not understand: nobody answers instead.
        wish = replace(call.wish, enable_fallback=False)
        selection = self._selector.select(wish, self._chat.may_choose(call.caller))
        asked, conversation_id = await self._in_conversation(request.completion, call)
        who = Asking(call.caller, call.request_id, allowed_seconds(call), call.once)
        whole_words = asked.stream and call.chunking == WHOLE_WORDS
        if whole_words and (asked.body.get("logprobs") or asked.body.get("n") not in (None, 1)):
            raise InvalidArgument.field("chunking", "cannot be word with logprobs or n, which tell of single tokens")
        prepared = await self._completions.prepare_for(asked, selection, who, conversation_id)
        return replace(prepared, whole_words=whole_words)

    async def answer(self, prepared: Prepared | PreparedCompletion) -> bytes:
        """Returns the body of the response, once the reply is stored."""
        if isinstance(prepared, PreparedCompletion):
            whole = await self._completions.answer(prepared)
            return combined.encode(
                whole.body, whole.reply, provider=whole.provider, conversation_id=str(whole.conversation_id), more={}
            )
        answer = await self._chat.answer(prepared)
        return combined.encode_reply(
            answer.reply,
            stamp=prepared.begun.stamp,
            model=answer.model,
            provider=answer.provider,
            conversation_id=answer.conversation_id,
            more={
                "response_time_ms": answer.response_time_ms,
                "reasoning": answer.reasoning,
                "fallback_used": answer.fallback_used,
            },
        )

    async def stream(self, prepared: Prepared | PreparedCompletion) -> AsyncGenerator[bytes]:
        """Yields whole server-sent events; the end marker comes when the reply is stored."""
        if isinstance(prepared, PreparedCompletion):
            async with aclosing(self._completions.stream(prepared)) as records:
                async for record in records:
                    yield record
            return
        writer = ChunkWriter(prepared.begun.stamp, include_usage=False)
        words = WholeWords() if prepared.call.chunking == WHOLE_WORDS else None
        async with aclosing(self._chat.stream(prepared)) as events:
            async for event in events:
                if isinstance(event, Chatted):
                    if words and (text := words.rest()):
                        yield writer.write(Delta(text), event.model)
                    ids = {"provider": event.provider, "conversation_id": event.conversation_id}
                    yield combined.last_records(writer, event.reply, event.model, **ids)
                    continue
                happened, _, model = event
                if isinstance(happened, Fallback):
                    continue
                # The finish reason waits for the reply to be stored.
                text = words.add(happened.text) if words else happened.text
                if chunk := writer.write(Delta(text, happened.tool_calls), model):
                    yield chunk

    async def _in_conversation(
        self, asked: CompletionRequest, call: ChatCall
    ) -> tuple[CompletionRequest, uuid.UUID | None]:
        """Returns the request with the persona's instructions, and where its new messages are kept."""
        if not call.conversation_id and not call.persona_id:
            return asked, None
        wanted = parse_conversation_id(call.conversation_id) if call.conversation_id else None
        persona_id = call.persona_id or DEFAULT_ID
        loaded = await self._store.load(uuid.UUID(call.caller.user_id), wanted, persona_id, 0)
        if loaded is None:
            raise no_conversation(call.conversation_id)
        if loaded.system_prompt is None and persona_id != DEFAULT_ID:
            raise no_persona(persona_id)
        if call.persona_id and loaded.system_prompt:
            asked = asked.instructed(loaded.system_prompt)
        return asked, wanted
