"""The native chat: one message of a user, in a conversation that Gaia keeps."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from services.chat.calls import BegunCall, Calls, ModelCall, Once
from services.chat.catalogue import ModelSpec
from services.chat.conversation import assemble, history_characters
from services.chat.conversations import ConversationStore, no_conversation, parse_conversation_id
from services.chat.ledger import Exchange, Place
from services.chat.metering import check_model
from services.chat.personas import DEFAULT_ID, no_persona
from services.chat.records import Stored, stored_reply
from services.chat.responding import Fallback
from services.chat.selection import May, Selection, Selector, Wish, check_wish
from services.chat.snapshot import Told
from services.chat.store import Store
from services.chat.turn import Delta, Reply, Role, Turn
from shared.errors import InvalidArgument, Violation
from shared.identity.principal import Principal

MAX_MODEL_NAME = 200
WHOLE_WORDS = "word"
CHUNKINGS = ("", WHOLE_WORDS)
"""How the text of a stream is cut: as the provider sends it, or in whole words."""
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A message and what is wished for its answer; None and empty are the client's silence.

    `seconds` is how long the whole call may take. With `begins_conversation` there is no id, and no history; with
    `tells_conversation` the id of the conversation is told before the answer is there.
    """

    message: str
    wish: Wish
    caller: Principal
    request_id: str
    seconds: float
    operation: str = "chat"
    persona_id: str = ""
    conversation_id: str = ""
    begins_conversation: bool = False
    tells_conversation: bool = False
    temperature: float | None = None
    max_tokens: int | None = None
    chunking: str = ""
    is_stream: bool = False
    once: Once | None = None


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
    """A call that was checked and admitted, with its conversation loaded: the next step costs money.

    It has to be closed (it is an asynchronous context manager), whether it was made or not. `conversation_id` is that
    of the answer where it is known already.
    """

    call: ChatCall
    selection: Selection
    begun: BegunCall
    conversation_id: uuid.UUID | None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.begun.close()


@dataclass(slots=True)
class _Keeping:
    """Where the exchange of a call is kept; the place may become known only after the call was admitted."""

    message: str
    place: Place
    conversation_id: uuid.UUID | None

    def exchange(self, reply: Reply, provider: str, model: str, is_complete: bool) -> Exchange:
        answer = stored_reply(reply, provider, model, is_complete=is_complete)
        return Exchange(self.place, (Stored(Role.USER, self.message), answer), self.conversation_id)


class Chat:
    """Answers messages."""

    def __init__(self, selector: Selector, calls: Calls, store: Store, conversations: ConversationStore) -> None:
        self._selector = selector
        self._calls = calls
        self._store = store
        self._conversations = conversations

    async def prepare(self, call: ChatCall) -> Prepared:
        """Checks a call, chooses its model, loads its conversation, and has it admitted.

        Raises InvalidArgument, NotFound, Unavailable when the store or the provider cannot be used, and what
        `Calls.begin` raises.
        """
        deadline = asyncio.get_running_loop().time() + allowed_seconds(call)
        _check(call)
        selection = self._selector.select(call.wish, self.may_choose(call.caller))
        check_model(call.caller, selection.model)
        user_id = uuid.UUID(call.caller.user_id)
        wanted = parse_conversation_id(call.conversation_id) if call.conversation_id else None
        turn = await self._turn(call, selection.model, user_id, wanted)
        _, left_out = self._calls.responder.fit(turn, selection.model)
        if left_out:
            without = f"{selection.reasoning}; {selection.model.provider} takes no {', '.join(left_out)}"
            selection = Selection(selection.model, without, selection.fallbacks)
        unnamed = Place.NEW if call.begins_conversation else Place.DEFAULT
        keeping = _Keeping(call.message, Place.KNOWN if wanted else unnamed, wanted)
        begun = await self._calls.begin(
            ModelCall(
                caller=call.caller,
                request_id=call.request_id,
                operation=call.operation,
                turn=turn,
                selection=selection,
                deadline=deadline,
                exchange=keeping.exchange,
                is_stream=call.is_stream,
                max_output_tokens=call.max_tokens,
                once=call.once,
            )
        )
        prepared = Prepared(call, selection, begun, wanted)
        if not call.tells_conversation:
            return prepared
        try:
            return await self._anchored(prepared, keeping, user_id)
        except BaseException:
            await begun.close()
            raise

    def may_choose(self, caller: Principal) -> May:
        """Returns what tells whether a model may be chosen for a caller who did not name it."""
        return partial(self._calls.meter.may_choose, caller)

    async def answer(self, prepared: Prepared) -> Chatted:
        """Returns the whole answer, once it is stored."""
        return await self._chatted(prepared, await prepared.begun.complete())

    async def stream(self, prepared: Prepared) -> AsyncGenerator[tuple[Delta | Fallback, str, str] | Chatted]:
        """Yields deltas and fallbacks with the provider and the model of the moment, and last the stored answer.

        When the provider or the caller breaks off, what arrived is stored as incomplete.
        """
        begun = prepared.begun
        async with aclosing(begun.events()) as events:
            async for event in events:
                yield event, begun.provider, begun.model
        assert begun.told is not None
        yield await self._chatted(prepared, begun.told)

    async def status(self, user_id: str) -> int:
        """Returns how many messages a user's default conversation has."""
        return await self._store.count_default(uuid.UUID(user_id))

    async def clear(self, user_id: str) -> int:
        """Empties a user's default conversation and returns how many messages it had."""
        return await self._store.clear_default(uuid.UUID(user_id))

    async def _turn(self, call: ChatCall, model: ModelSpec, user_id: uuid.UUID, wanted: uuid.UUID | None) -> Turn:
        persona_id = call.persona_id or DEFAULT_ID
        loaded = await self._store.load(user_id, wanted, persona_id, history_characters(model))
        if loaded is None:
            raise no_conversation(call.conversation_id)
        if loaded.system_prompt is None and persona_id != DEFAULT_ID:
            raise no_persona(persona_id)
        history = () if call.begins_conversation else loaded.messages
        return Turn(
            assemble(loaded.system_prompt or "", history, call.message, model, call.max_tokens),
            temperature=call.temperature,
            max_tokens=call.max_tokens,
        )

    async def _anchored(self, prepared: Prepared, keeping: _Keeping, user_id: uuid.UUID) -> Prepared:
        """Returns the call with the id of its conversation.

        A conversation that does not exist yet is made, and stays when no answer comes.
        """
        known = prepared.begun.told.conversation_id if prepared.begun.told else prepared.conversation_id
        if known is None and prepared.call.begins_conversation:
            known = (await self._conversations.create(user_id, "")).id
        elif known is None:
            known = await self._conversations.ensure_default(user_id)
        keeping.place, keeping.conversation_id = Place.KNOWN, known
        return replace(prepared, conversation_id=known)

    async def _chatted(self, prepared: Prepared, told: Told) -> Chatted:
        conversation_id = told.conversation_id
        if conversation_id is None and prepared.conversation_id is not None:
            raise no_conversation(str(prepared.conversation_id))
        if conversation_id is None:
            # An answer of before, that began the default conversation.
            conversation_id = await self._conversations.ensure_default(uuid.UUID(prepared.call.caller.user_id))
        return Chatted(
            reply=told.reply,
            provider=told.provider,
            model=told.model,
            reasoning=prepared.selection.reasoning,
            fallback_used=told.fallback_used,
            response_time_ms=told.total_ms,
            conversation_id=str(conversation_id),
        )


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
    violations += [*check_chunking(call.chunking), *check_wish(call.wish)]
    if violations:
        raise InvalidArgument.of(*violations)


def check_chunking(chunking: str) -> list[Violation]:
    """Returns what is wrong with the way in which the text of a stream is to be cut."""
    if chunking in CHUNKINGS:
        return []
    return [Violation("chunking", f"must be {WHOLE_WORDS} or left out, not {chunking[:64]}")]


def allowed_seconds(call: ChatCall) -> float:
    """Returns how long a call may take, by its client and by the platform."""
    limit_ms = call.wish.max_response_time_ms
    return min(call.seconds, limit_ms / 1000) if limit_ms > 0 else call.seconds
