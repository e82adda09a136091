"""Answering the calls of the SDKs: their bodies travel as they are, and every dialect is served alike."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context
from services.chat.completing import Asking, Completions
from services.chat.dialects.base import Asked
from shared.errors import GaiaError

JSON = "application/json"
EVENTS = "text/event-stream"
LEFT_OUT_METADATA = "gaia-left-out"
"""Response metadata that names the fields of the request which the model's provider does not heed."""


async def answer_body(
    completions: Completions, asked: Asked, who: Asking, context: Context
) -> AsyncGenerator[HttpBody]:
    """Yields the response to a request of any dialect: one body, or the events of a stream."""
    async with await completions.prepare(asked, who) as prepared:
        if prepared.left_out:
            await context.send_initial_metadata(((LEFT_OUT_METADATA, ", ".join(prepared.left_out)),))
        if not asked.stream:
            yield HttpBody(content_type=JSON, data=(await completions.answer(prepared)).body)
            return
        async with aclosing(events_of(completions.stream(prepared), asked.error_record)) as bodies:
            async for body in bodies:
                yield body


async def events_of(
    records: AsyncGenerator[bytes], error_record: Callable[[GaiaError], bytes]
) -> AsyncGenerator[HttpBody]:
    """Yields the events of a stream as parts of one body, of which the first one says what it is.

    An error after the first event is an event too, and no end marker follows: the status ends the body early.
    """
    content_type = EVENTS
    async with aclosing(records):
        try:
            async for record in records:
                yield HttpBody(content_type=content_type, data=record)
                content_type = ""
        except GaiaError as error:
            if not content_type:
                yield HttpBody(data=error_record(error))
            raise
