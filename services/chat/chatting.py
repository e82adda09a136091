"""The native chat: one message of a user, in a conversation that Gaia keeps."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from services.chat.conversation import assemble, history_characters
from services.chat.conversations import ConversationStore, no_conversation, parse_conversation_id
from services.chat.personas import DEFAULT_ID, no_persona
from services.chat.recording import Recorder
from services.chat.records import Stored, stored_reply
from services.chat.responding import Fallback, Responder
from services.chat.selection import Selection, Selector, Wish, check_wish
from services.chat.store import Store
from services.chat.turn import Delta, Reply, Role, Turn
from shared.errors import InvalidArgument, Violation

MAX_MODEL_NAME = 200
WHOLE_WORDS = "word"
CHUNKINGS = ("", WHOLE_WORDS)
"""How the text of a stream is cut: as the provider sends it, or in whole words."""
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A message and what is wished for its answer; None and empty are the client's silence.

    `seconds` is how long the whole call may take. With `begins_conversation` there is no id, and no history.
    """

    message: str
    wish: Wish
    user_id: str
    request_id: str
    seconds: float
    persona_id: str = ""
    conversation_id: str = ""
    begins_conversation: bool = False
    temperature: float | None = None
    max_tokens: int | None = None
    chunking: str = ""


@dataclass(frozen=True, slots=True)
class Chatted:
    """A whole answer that is stored."""

    reply: Reply
    provider: str
    model: str
    reasoning: str
    fallback_used: bool
    response_time_ms: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that was checked, with its conversation loaded: the next step costs money."""

    call: ChatCall
    selection: Selection
    turn: Turn
    user_id: uuid.UUID
    conversation_id: uuid.UUID | None
    persona_id: str
    began: float
    deadline: float


class Chat:
    """Answers messages."""

    def __init__(
        self,
        selector: Selector,
        responder: Responder,
        store: Store,
        conversations: ConversationStore,
        recorder: Recorder,
    ) -> None:
        self._selector = selector
        self._responder = responder
        self._store = store
        self._conversations = conversations
        self._recorder = recorder

    async def prepare(self, call: ChatCall) -> Prepared:
        """Checks a call, chooses its model and loads its conversation.

        Raises InvalidArgument, NotFound, or Unavailable when the store or the provider cannot be used.
        """
        began = time.monotonic()
        deadline = asyncio.get_running_loop().time() + allowed_seconds(call)
        _check(call)
        selection = self._selector.select(call.wish)
        user_id = uuid.UUID(call.user_id)
        wanted = parse_conversation_id(call.conversation_id) if call.conversation_id else None
        persona_id = call.persona_id or DEFAULT_ID
        loaded = await self._store.load(user_id, wanted, persona_id, history_characters(selection.model))
        if loaded is None:
            raise no_conversation(call.conversation_id)
        if loaded.system_prompt is None and persona_id != DEFAULT_ID:
            raise no_persona(persona_id)
        history = () if call.begins_conversation else loaded.messages
        turn = Turn(
            assemble(loaded.system_prompt or "", history, call.message, selection.model, call.max_tokens),
            temperature=call.temperature,
            max_tokens=call.max_tokens,
        )
        _, left_out = self._responder.fit(turn, selection.model)
        if left_out:
            without = f"{selection.reasoning}; {selection.model.provider} takes no {', '.join(left_out)}"
            selection = Selection(selection.model, without, selection.fallbacks)
        return Prepared(call, selection, turn, user_id, wanted, persona_id, began, deadline)

    async def anchor(self, prepared: Prepared) -> Prepared:
        """Returns the call with the id of its conversation, for those who tell it before the answer is there.

        A conversation that does not exist yet is made, and stays when no answer comes.
        """
        if prepared.conversation_id is not None:
            return prepared
        if prepared.call.begins_conversation:
            return replace(prepared, conversation_id=(await self._conversations.create(prepared.user_id, "")).id)
        return replace(prepared, conversation_id=await self._conversations.ensure_default(prepared.user_id))

    async def answer(self, prepared: Prepared) -> Chatted:
        """Returns the whole answer, once it is stored."""
        answer = await self._responder.complete(prepared.turn, prepared.selection, prepared.deadline)
        return await self._finish(prepared, answer.reply, answer.model.provider, answer.model.id, answer.fallback_used)

    async def stream(self, prepared: Prepared) -> AsyncGenerator[tuple[Delta | Fallback, str, str] | Chatted]:
        """Yields deltas and fallbacks with the provider and the model of the moment, and last the stored answer.

        When the provider or the caller breaks off, what arrived is stored as incomplete.
        """
        answer = self._responder.stream(prepared.turn, prepared.selection, prepared.deadline)
        is_whole = False
        try:
            async with aclosing(answer.events()) as events:
                async for event in events:
                    yield event, answer.model.provider, answer.model.id
            is_whole = True
        finally:
            if not is_whole and answer.reply.has_content:
                reply = stored_reply(answer.reply.build(), answer.model.provider, answer.model.id, is_complete=False)
                await self._recorder.rescue(lambda: self._store_exchange(prepared, reply))
        whole = answer.reply.build()
        yield await self._finish(prepared, whole, answer.model.provider, answer.model.id, answer.fallback_used)

    async def status(self, user_id: str) -> int:
        """Returns how many messages a user's default conversation has."""
        return await self._store.count_default(uuid.UUID(user_id))

    async def clear(self, user_id: str) -> int:
        """Empties a user's default conversation and returns how many messages it had."""
        return await self._store.clear_default(uuid.UUID(user_id))

    async def _finish(
        self, prepared: Prepared, reply: Reply, provider: str, model: str, fallback_used: bool
    ) -> Chatted:
        stored = stored_reply(reply, provider, model, is_complete=True)
        conversation_id = await self._recorder.keep(self._store_exchange(prepared, stored))
        return Chatted(
            reply=reply,
            provider=provider,
            model=model,
            reasoning=prepared.selection.reasoning,
            fallback_used=fallback_used,
            response_time_ms=round((time.monotonic() - prepared.began) * 1000),
            conversation_id=str(conversation_id),
        )

    async def _store_exchange(self, prepared: Prepared, reply: Stored) -> uuid.UUID:
        call = prepared.call
        messages = [Stored(Role.USER, call.message), reply]
        if prepared.conversation_id is None:
            if call.begins_conversation:
                return await self._store.add_to_new(prepared.user_id, call.request_id, messages)
            return await self._store.add_to_default(prepared.user_id, call.request_id, messages)
        if not await self._store.add_to(prepared.user_id, prepared.conversation_id, call.request_id, messages):
            raise no_conversation(str(prepared.conversation_id))
        return prepared.conversation_id


def _check(call: ChatCall) -> None:
    violations = []
    if not call.message.strip():
        violations.append(Violation("message", "must not be empty"))
    if len(call.wish.model) > MAX_MODEL_NAME:
        violations.append(Violation("model", f"must have at most {MAX_MODEL_NAME} characters"))
    if call.temperature is not None and not 0 <= call.temperature <= MAX_TEMPERATURE:
        violations.append(Violation("temperature", f"must be 0 to {MAX_TEMPERATURE:g}, not {call.temperature:g}"))
    if call.max_tokens is not None and call.max_tokens < 1:
        violations.append(Violation("max_tokens", f"must be 1 or more, not {call.max_tokens}"))
    if call.chunking not in CHUNKINGS:
        violations.append(Violation("chunking", f"must be {WHOLE_WORDS} or left out, not {call.chunking[:64]}"))
    violations += check_wish(call.wish)
    if violations:
        raise InvalidArgument.of(*violations)


def allowed_seconds(call: ChatCall) -> float:
    """Returns how long a call may take, by its client and by the platform."""
    limit_ms = call.wish.max_response_time_ms
    return min(call.seconds, limit_ms / 1000) if limit_ms > 0 else call.seconds
