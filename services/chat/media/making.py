"""Asking providers for what is no conversation: time limits, retries at the endpoints of the model's own provider."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from services.chat.catalogue import ModelSpec
from services.chat.media.asked import Asked
from services.chat.media.payload import Incoming, MediaProvider
from services.chat.providers import errors
from services.chat.resilience.course import Course
from services.chat.resilience.verdicts import FAULTS
from services.chat.responding import Responder
from services.chat.turn import Usage
from shared.errors import GaiaError, InvalidArgument

MAX_BYTES = 64 * 1024 * 1024
"""Largest whole response: ten images of several megabytes each, or two thousand long vectors."""


@dataclass(frozen=True, slots=True)
class Made:
    """A whole response. `usage` is None where the provider did not say what was used."""

    content_type: str
    body: bytes
    usage: Usage | None


class Makers:
    """Asks the providers that a responder knows, as often and in such order as it does.

    No other model stands in: its vectors, its voice, its pictures would be others. `deadline` is a time of the running
    event loop's clock.
    """

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    async def fetch(self, asked: Asked, model: ModelSpec, deadline: float) -> Made:
        """Returns a whole response. Raises the provider's last error."""
        course = self._course(model, deadline)
        while True:
            try:
                async with self._begun(course, asked, model, deadline) as incoming:
                    async with asyncio.timeout_at(deadline), contextlib.aclosing(incoming.chunks) as chunks:
                        body = await _whole(model.provider, chunks)
                    return Made(incoming.content_type, body, _usage(asked, model, incoming.content_type, body))
            except FAULTS as failure:
                await self._go_on(course, failure)

    async def stream(self, asked: Asked, model: ModelSpec, deadline: float) -> AsyncGenerator[tuple[str, bytes]]:
        """Yields the response's type and a piece of its body, as it comes. Raises the provider's last error.

        Nothing is asked again of which a piece was seen.
        """
        course = self._course(model, deadline)
        was_seen = False
        while True:
            try:
                async with (
                    self._begun(course, asked, model, deadline) as incoming,
                    contextlib.aclosing(incoming.chunks) as chunks,
                ):
                    while True:
                        async with asyncio.timeout_at(deadline):
                            chunk = await anext(chunks, b"")
                        if not chunk:
                            break
                        was_seen = True
                        yield incoming.content_type, chunk
                return
            except FAULTS as failure:
                if was_seen:
                    raise
                await self._go_on(course, failure)

    def _course(self, model: ModelSpec, deadline: float) -> Course:
        responder = self._responder
        return Course((model,), responder.providers, responder.policy, deadline, lambda _: False)

    @staticmethod
    async def _go_on(course: Course, failure: GaiaError) -> None:
        """Waits until the provider may be asked again. Raises the failure where it may not."""
        wait = course.go_on(failure)
        if wait is None:
            raise failure
        await course.pause(wait)

    @contextlib.asynccontextmanager
    async def _begun(self, course: Course, asked: Asked, model: ModelSpec, deadline: float) -> AsyncGenerator[Incoming]:
        """Yields a response that has begun, and tells the endpoint's circuit how the block ended."""
        responder = self._responder
        lease = course.lease()
        began = time.perf_counter()
        try:
            adapter = lease.endpoint.adapter
            if not isinstance(adapter, MediaProvider) or asked.kind not in adapter.kinds:
                raise InvalidArgument.field("model", f"{model.id} of {model.provider} makes no {asked.kind}")
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout_at(deadline):
                    made = adapter.make(asked.kind, asked.payload(model))
                    incoming = await stack.enter_async_context(made)
                if not asked.accepts(incoming.content_type):
                    raise errors.nonsense(model.provider, f"{incoming.content_type} where {asked.kind} were asked for")
                first = (time.perf_counter() - began) * 1000
                yield incoming
            lease.succeeded()
            responder.board.succeeded(model.provider, model.id, first, (time.perf_counter() - began) * 1000)
        except TimeoutError as late:
            responder.late(lease, model, began)
            raise errors.timed_out(model.provider) from late
        except FAULTS as failure:
            responder.failed(lease, model, failure)
            raise
        except GaiaError as refusal:
            lease.failed(refusal)
            raise
        finally:
            lease.end()


def _usage(asked: Asked, model: ModelSpec, content_type: str, body: bytes) -> Usage | None:
    try:
        return asked.usage_of(content_type, body)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise errors.nonsense(model.provider, "something that is no answer") from error


async def _whole(provider: str, chunks: AsyncGenerator[bytes]) -> bytes:
    parts, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_BYTES:
            raise errors.nonsense(provider, f"an answer of more than {MAX_BYTES >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts)
