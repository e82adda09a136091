"""gaia.chat.v1.CompletionService."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from gaia.chat.v1 import completion_service_pb2 as pb
from gaia.chat.v1 import completion_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from services.chat.completing import Completions
from services.chat.deadlines import seconds_left
from services.chat.dialects import openai_chat
from services.chat.dialects.openai_chat_reply import error_record
from shared.errors import GaiaError
from shared.identity.principal import current_principal
from shared.telemetry import request_id

Context = grpc.aio.ServicerContext[Any, Any]

JSON = "application/json"
EVENTS = "text/event-stream"
LEFT_OUT_METADATA = "gaia-left-out"
"""Response metadata that names the fields of the request which the model's provider does not heed."""


class CompletionHandlers(completion_service_pb2_grpc.CompletionServiceServicer):
    """OpenAI's chat completions. `total_seconds` is the longest time of a reply."""

    def __init__(self, completions: Completions, total_seconds: float) -> None:
        self._completions = completions
        self._total_seconds = total_seconds

    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Answers a list of messages: one body, or a stream of events."""
        asked = openai_chat.parse(request.body.data)
        seconds = seconds_left(context, self._total_seconds)
        prepared = await self._completions.prepare(asked, current_principal().user_id, request_id.get(), seconds)
        if prepared.left_out:
            await context.send_initial_metadata(((LEFT_OUT_METADATA, ", ".join(prepared.left_out)),))
        if not asked.stream:
            yield HttpBody(content_type=JSON, data=(await self._completions.answer(prepared)).body)
            return
        content_type = EVENTS
        async with aclosing(self._completions.stream(prepared)) as records:
            try:
                async for record in records:
                    yield HttpBody(content_type=content_type, data=record)
                    content_type = ""
            except GaiaError as error:
                # The client sees the error in the stream, and no end marker: the status ends the body early.
                if not content_type:
                    yield HttpBody(data=error_record(error))
                raise
