"""gaia.chat.v1.CompletionService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from gaia.chat.v1 import completion_service_pb2 as pb
from gaia.chat.v1 import completion_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context, asking
from services.chat.bodies import answer_body
from services.chat.completing import Completions
from services.chat.dialects import openai_chat


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
        who = asking(context, self._total_seconds, "CreateChatCompletion", request.body.data)
        async with aclosing(answer_body(self._completions, asked, who, context)) as bodies:
            async for body in bodies:
                yield body
