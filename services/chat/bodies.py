"""Answering the calls of the SDKs: their bodies travel as they are, and every dialect is served alike."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context
from services.chat.completing import Asking, Completions, PreparedCompletion
from services.chat.dialects.base import Asked
from shared.errors import GaiaError

JSON = "application/json"
EVENTS = "text/event-stream"
LEFT_OUT_METADATA = "gaia-left-out"
"""Response metadata that names the fields of the request which the model's provider does not heed."""
CACHE_METADATA = "gaia-cache"
"""Response metadata that says `hit` or `miss` where replies are kept for the same request."""
MOST_NAMED, LONGEST_NAME = 20, 100
"""Names of fields are the client's: so many of them are told, and so much of each. A header has a few kibibytes."""
_UNPRINTABLE = re.compile(r"[^!-~]")
HEARTBEAT_SECONDS = 15.0
"""What lies between client and edge takes a silent connection for a dead one after half a minute at the earliest."""
HEARTBEAT = b": the model is still at work\n\n"


async def answer_body(
    completions: Completions, asked: Asked, who: Asking, context: Context
) -> AsyncGenerator[HttpBody]:
    """Yields the response to a request of any dialect: one body, or the events of a stream."""
    async with await completions.prepare(asked, who) as prepared:
        if told := told_beside(prepared):
            await context.send_initial_metadata(told)
        if not asked.stream:
            yield HttpBody(content_type=JSON, data=(await completions.answer(prepared)).body)
            return
        async with aclosing(events_of(completions.stream(prepared), asked.error_record)) as bodies:
            async for body in bodies:
                yield body


def told_beside(prepared: PreparedCompletion) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a response."""
    told = []
    if prepared.left_out:
        told.append((LEFT_OUT_METADATA, _listed(prepared.left_out)))
    if prepared.begun.cache:
        told.append((CACHE_METADATA, prepared.begun.cache))
    return tuple(told)


def _listed(names: Sequence[str]) -> str:
    """Returns names of fields as a header may hold them."""
    shown = [_UNPRINTABLE.sub("?", name[:LONGEST_NAME]) for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        shown.append(f"and {len(names) - MOST_NAMED} more")
    return ", ".join(shown)


async def events_of(
    records: AsyncGenerator[bytes], error_record: Callable[[GaiaError], bytes]
) -> AsyncGenerator[HttpBody]:
    """Yields the events of a stream as parts of one body, of which the first one says what it is.

    An error after the first event is an event too, and no end marker follows: the status ends the body early.
    """
    content_type = EVENTS
    async with aclosing(_with_heartbeats(records)) as beating:
        try:
            async for record in beating:
                yield HttpBody(content_type=content_type, data=record)
                content_type = ""
        except GaiaError as error:
            if not content_type:
                yield HttpBody(data=error_record(error))
            raise


async def _with_heartbeats(records: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yields the records, and a comment whenever there was none for a while."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Task[bytes] | None = None
    try:
        while True:
            waiting = loop.create_task(_next(records))
            while not (await asyncio.wait((waiting,), timeout=HEARTBEAT_SECONDS))[0]:
                yield HEARTBEAT
            record = waiting.result()
            waiting = None
            if not record:
                return
            yield record
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait((waiting,))
        await records.aclose()


async def _next(records: AsyncGenerator[bytes]) -> bytes:
    # No record is empty, and a task cannot end with StopAsyncIteration.
    return await anext(records, b"")
