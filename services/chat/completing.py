"""Stateless calls of the SDKs, whatever their dialect: the client brings the whole conversation each time."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from services.chat.catalogue import Catalogue
from services.chat.conversations import no_conversation
from services.chat.dialects.base import Asked
from services.chat.recording import Recorder
from services.chat.records import stored_reply
from services.chat.responding import Fallback, Responder
from services.chat.selection import Selection
from services.chat.store import Store
from services.chat.turn import Reply, Turn


@dataclass(frozen=True, slots=True)
class PreparedCompletion:
    """A request whose model is known and whose turn is translated. `left_out` names preferences not heeded."""

    request: Asked
    selection: Selection
    turn: Turn
    is_same_dialect: bool
    left_out: Sequence[str]
    user_id: uuid.UUID
    request_id: str
    deadline: float
    conversation_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """A whole reply that is stored; `body` is that of the response."""

    body: bytes
    reply: Reply
    provider: str
    conversation_id: uuid.UUID


class Completions:
    """Answers completions. No other model answers than the one that was asked for."""

    def __init__(self, catalogue: Catalogue, responder: Responder, store: Store, recorder: Recorder) -> None:
        self._catalogue = catalogue
        self._responder = responder
        self._store = store
        self._recorder = recorder

    async def prepare(self, request: Asked, user_id: str, request_id: str, seconds: float) -> PreparedCompletion:
        """Finds the model and translates the request for it.

        Raises NotFound for the model, InvalidArgument for what its provider has no counterpart of, Unavailable when the
        store is away.
        """
        selection = Selection(self._catalogue.model(request.model), f"{request.model} was asked for")
        return await self.prepare_for(request, selection, user_id, request_id, seconds)

    async def prepare_for(
        self,
        request: Asked,
        selection: Selection,
        user_id: str,
        request_id: str,
        seconds: float,
        conversation_id: uuid.UUID | None = None,
    ) -> PreparedCompletion:
        """Translates the request for the model that was chosen; see `prepare`.

        The new messages are kept in a conversation of the user where one is given.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        model = selection.model
        is_same_dialect = self._responder.speaks(model, request.dialect)
        left_out: tuple[str, ...] = ()
        if is_same_dialect:
            turn = request.same_dialect()
        else:
            turn, foreign = request.translated()
            turn, unheeded = self._responder.fit(turn, model)
            left_out = (*foreign, *unheeded)
        await self._recorder.check()
        owner = uuid.UUID(user_id)
        return PreparedCompletion(
            request, selection, turn, is_same_dialect, left_out, owner, request_id, deadline, conversation_id
        )

    async def answer(self, prepared: PreparedCompletion) -> Completed:
        """Returns the response, once the reply is stored."""
        answer = await self._responder.complete(prepared.turn, prepared.selection, prepared.deadline)
        conversation_id = await self._store_reply(prepared, answer.reply)
        same = prepared.is_same_dialect
        body = answer.reply.body if same else prepared.request.encode(answer.reply, answer.model.id)
        return Completed(body, answer.reply, answer.model.provider, conversation_id)

    async def stream(self, prepared: PreparedCompletion) -> AsyncGenerator[bytes]:
        """Yields whole server-sent events; the end marker comes when the reply is stored.

        When the provider or the caller breaks off, what arrived is stored as incomplete.
        """
        writer = None if prepared.is_same_dialect else prepared.request.writer()
        answer = self._responder.stream(prepared.turn, prepared.selection, prepared.deadline)
        is_whole = False
        try:
            async with aclosing(answer.events()) as events:
                async for event in events:
                    if isinstance(event, Fallback):
                        continue
                    records = event.records if writer is None else writer.write(event, answer.model.id)
                    if records:
                        yield records
            is_whole = True
        finally:
            if not is_whole and answer.reply.has_content:
                broken = answer.reply.build()
                await self._recorder.rescue(lambda: self._write(prepared, broken, is_complete=False))
        reply = answer.reply.build()
        await self._store_reply(prepared, reply)
        last = answer.reply.last_record if writer is None else writer.end(reply)
        if last := last + prepared.request.end_marker:
            yield last

    async def _store_reply(self, prepared: PreparedCompletion, reply: Reply) -> uuid.UUID:
        return await self._recorder.keep(self._write(prepared, reply, is_complete=True))

    async def _write(self, prepared: PreparedCompletion, reply: Reply, *, is_complete: bool) -> uuid.UUID:
        model, keep = prepared.selection.model, prepared.request.keeps_content
        messages = [*prepared.request.new_input()]
        messages.append(stored_reply(reply, model.provider, model.id, is_complete=is_complete, keep_content=keep))
        if prepared.conversation_id is not None:
            kept_in = prepared.conversation_id
            if not await self._store.add_to(prepared.user_id, kept_in, prepared.request_id, messages):
                raise no_conversation(str(kept_in))
            return kept_in
        return await self._store.add_completion(prepared.user_id, prepared.request_id, messages)
