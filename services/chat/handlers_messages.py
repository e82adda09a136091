"""gaia.chat.v1.MessageService, in the order of the contract."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing

import orjson
from gaia.chat.v1 import message_service_pb2 as pb
from gaia.chat.v1 import message_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context, asking
from services.chat.bodies import JSON, answer_body
from services.chat.completing import Completions
from services.chat.counting import Counting
from services.chat.deadlines import seconds_left
from services.chat.dialects import anthropic_messages
from shared.errors import Unavailable
from shared.identity.principal import current_principal
from shared.telemetry import request_id

OVERLOADED = "PROVIDER_OVERLOADED"
"""Reason that the edge tells as the status 529, which Anthropic has for it and nobody else."""
ESTIMATED_METADATA = "gaia-estimated"
"""Response metadata that says that a count is no provider's."""


class MessageHandlers(message_service_pb2_grpc.MessageServiceServicer):
    """Anthropic's messages. `total_seconds` is the longest time of a reply."""

    def __init__(self, completions: Completions, counting: Counting, total_seconds: float) -> None:
        self._completions = completions
        self._counting = counting
        self._total_seconds = total_seconds

    async def CreateMessage(self, request: pb.CreateMessageRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Answers a list of messages: one body, or a stream of events."""
        asked = anthropic_messages.parse(request.body.data, _headers(context), request_id.get())
        who = asking(context, self._total_seconds, "CreateMessage", request.body.data)
        with _overload_as_anthropics():
            async with aclosing(answer_body(self._completions, asked, who, context)) as bodies:
                async for body in bodies:
                    yield body

    async def CountMessageTokens(self, request: pb.CountMessageTokensRequest, context: Context) -> HttpBody:
        """Counts the tokens of a request."""
        asked = anthropic_messages.parse(request.body.data, _headers(context), request_id.get(), counts_only=True)
        seconds = seconds_left(context, self._total_seconds)
        with _overload_as_anthropics():
            counted = await self._counting.count(asked, current_principal(), seconds)
        if counted.is_estimate:
            await context.send_initial_metadata(((ESTIMATED_METADATA, "true"),))
        return HttpBody(content_type=JSON, data=orjson.dumps({"input_tokens": counted.tokens}))


@contextlib.contextmanager
def _overload_as_anthropics() -> Iterator[None]:
    """Gives a provider's overload the reason for which clients of this dialect are told the status that they know."""
    try:
        yield
    except Unavailable as error:
        if error.metadata.get("provider_status") == "529":
            error.reason = OVERLOADED
        raise


def _headers(context: Context) -> Mapping[str, str]:
    """Returns the headers of the dialect; one that came several times is one list, as HTTP has it."""
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if name in anthropic_messages.HEADERS and isinstance(value, str):
            found[name] = f"{found[name]},{value}" if name in found else value
    return found
