"""Stateless calls of the SDKs, whatever their dialect: the client brings the whole conversation each time."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Self

from services.chat.background_call import BackgroundCall
from services.chat.cache import cache_key
from services.chat.calls import BegunCall, Calls, ModelCall, Once
from services.chat.catalogue import Catalogue, ModelSpec
from services.chat.conversations import no_conversation
from services.chat.dialects.base import Asked
from services.chat.kept_ids import MOST_IDS, named_ids, not_told
from services.chat.ledger import Exchange, Place
from services.chat.metering import check_model
from services.chat.other_models import other_models
from services.chat.records import stored_reply
from services.chat.responding import Fallback
from services.chat.selection import Selection
from services.chat.turn import Reply, Turn
from services.chat.words import WholeWords
from shared.errors import InvalidArgument
from shared.identity.principal import Principal


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and how long it may take: `seconds` for the whole call.

    `may_be_cached` is false for a client that wants an answer of its own.
    """

    caller: Principal
    request_id: str
    seconds: float
    once: Once | None = None
    may_be_cached: bool = True


@dataclass(frozen=True, slots=True)
class PreparedCompletion:
    """A request that was translated and admitted. `left_out` names preferences not heeded.

    With `whole_words` the text of its stream is told in whole words, and nothing is passed on as the provider sent it.
    It has to be closed (it is an asynchronous context manager), whether the call was made or not.
    """

    request: Asked
    begun: BegunCall
    is_same_dialect: bool
    left_out: Sequence[str]
    conversation_id: uuid.UUID | None = None
    whole_words: bool = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.begun.close()


@dataclass(frozen=True, slots=True)
class Completed:
    """A whole reply that is stored; `body` is that of the response."""

    body: bytes
    reply: Reply
    provider: str
    conversation_id: uuid.UUID


class Completions:
    """Answers completions. No other model answers than the one that was asked for."""

    def __init__(self, catalogue: Catalogue, calls: Calls) -> None:
        self._catalogue = catalogue
        self._calls = calls

    async def prepare(self, request: Asked, asking: Asking) -> PreparedCompletion:
        """Finds the model, translates the request for it, and has the call admitted.

        Raises NotFound for the model, and for what its provider keeps and this user was not told of; InvalidArgument
        for what its provider has no counterpart of, and what `Calls.begin` raises.
        """
        selection = Selection(self._catalogue.model(request.model), f"{request.model} was asked for")
        return await self.prepare_for(request, selection, asking)

    async def prepare_for(
        self,
        request: Asked,
        selection: Selection,
        asking: Asking,
        conversation_id: uuid.UUID | None = None,
    ) -> PreparedCompletion:
        """Translates the request for the model that was chosen; see `prepare`.

        The new messages are kept in a conversation of the user where one is given.
        """
        deadline = asyncio.get_running_loop().time() + asking.seconds
        model = selection.model
        check_model(asking.caller, model)
        is_same_dialect = self._calls.responder.speaks(model, request.dialect)
        left_out: tuple[str, ...] = ()
        if is_same_dialect:
            turn = request.same_dialect()
            self._check_others(turn, model, asking.caller)
            await self._check_kept(turn, model, asking.caller)
        else:
            turn, foreign = request.translated()
            turn, unheeded = self._fit(turn, model, request.field_names)
            left_out = (*foreign, *unheeded)
        goes_on = turn.original is not None and turn.original.in_background
        place = Place.STATELESS if conversation_id is None else Place.KNOWN

        def exchange(reply: Reply, provider: str, model: str, is_complete: bool) -> Exchange:
            keep = request.keeps_content
            answer = stored_reply(reply, provider, model, is_complete=is_complete, keep_content=keep)
            return Exchange(place, (*request.new_input(), answer), conversation_id)

        begun = await self._calls.begin(
            ModelCall(
                caller=asking.caller,
                request_id=asking.request_id,
                operation=request.dialect.value,
                turn=turn,
                selection=selection,
                deadline=deadline,
                exchange=exchange,
                is_stream=request.stream,
                max_output_tokens=request.max_output_tokens,
                once=asking.once,
                cache_key=None if goes_on else self._cache_key(request, turn, model, asking),
                said=request.new_input() if goes_on else (),
                keeps_content=request.keeps_content,
            ),
            BackgroundCall if goes_on else None,
        )
        return PreparedCompletion(request, begun, is_same_dialect, left_out, conversation_id)

    def _check_others(self, turn: Turn, model: ModelSpec, caller: Principal) -> None:
        """Raises what `check_model` does for what else the provider is to use, by a key that may not use all models."""
        if not caller.allowed_models or turn.original is None:
            return
        for place, name in other_models(turn.original):
            if not name:
                raise InvalidArgument.field(place, "must name the models, since this key may not use all of them")
            check_model(caller, replace(model, id=name))

    async def _check_kept(self, turn: Turn, model: ModelSpec, caller: Principal) -> None:
        """Raises NotFound for what the request names of what its provider keeps, and its user was never told of."""
        if turn.original is None or not (named := named_ids(turn.original)):
            return
        if len(named) > MOST_IDS:
            raise InvalidArgument(f"names more than {MOST_IDS} things that its provider keeps; send them as they are")
        told = await self._calls.meter.ledger.told_to(uuid.UUID(caller.user_id), model.provider, named)
        if (failure := not_told(named, told)) is not None:
            raise failure

    def _fit(self, turn: Turn, model: ModelSpec, names: Mapping[str, str]) -> tuple[Turn, Sequence[str]]:
        """Fits a turn to a model's provider, telling of its fields by the names of the client's dialect."""
        try:
            fitted, unheeded = self._calls.responder.fit(turn, model)
        except InvalidArgument as error:
            named = [replace(one, field=names.get(one.field, one.field)) for one in error.violations]
            raise InvalidArgument.of(*named) from error
        return fitted, [_named(name, names) for name in unheeded]

    def _cache_key(self, request: Asked, turn: Turn, model: ModelSpec, asking: Asking) -> bytes | None:
        if not self._calls.cache.is_on or not asking.may_be_cached or not request.keeps_content:
            return None
        name = f"{model.provider}/{model.id}"
        headers = turn.original.headers if turn.original is not None else {}
        return cache_key(asking.caller.user_id, request.dialect.value, name, request.body, headers)

    async def answer(self, prepared: PreparedCompletion) -> Completed:
        """Returns the response, once the reply is stored."""
        told = await prepared.begun.complete()
        if told.conversation_id is None:
            raise no_conversation(str(prepared.conversation_id))
        body = told.reply.body
        if not prepared.is_same_dialect:
            body = prepared.request.encode(told.reply, told.model, prepared.begun.stamp)
        return Completed(body, told.reply, told.provider, told.conversation_id)

    async def stream(self, prepared: PreparedCompletion) -> AsyncGenerator[bytes]:
        """Yields whole server-sent events; those that say that the reply is whole come when it is stored.

        When the provider or the caller breaks off, what arrived is stored as incomplete.
        """
        request, begun = prepared.request, prepared.begun
        passes_on = prepared.is_same_dialect and not prepared.whole_words
        writer = None if passes_on else request.writer(begun.stamp)
        words = WholeWords() if prepared.whole_words else None
        async with aclosing(begun.events()) as events:
            async for event in events:
                if isinstance(event, Fallback):
                    continue
                if words is not None:
                    text = words.add(event.text)
                    if event.finish_reason is not None:
                        text += words.rest()
                    event = replace(event, text=text)
                records = event.records if writer is None else writer.write(event, begun.model)
                if records:
                    yield records
        told = begun.told
        assert told is not None
        if told.conversation_id is None:
            raise no_conversation(str(prepared.conversation_id))
        last = told.last_record if writer is None else writer.end(told.reply)
        if last := last + request.end_marker:
            yield last


def _named(field: str, names: Mapping[str, str]) -> str:
    """Returns what a dialect calls a field of a turn, or a part of it."""
    name, dot, part = field.partition(".")
    return f"{names.get(name, name)}{dot}{part}"
