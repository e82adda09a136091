"""gaia.chat.v1.ResponseService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from gaia.chat.v1 import response_service_pb2 as pb
from gaia.chat.v1 import response_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context, asking
from services.chat.bodies import answer_body
from services.chat.completing import Completions
from services.chat.dialects import openai_responses


class ResponseHandlers(response_service_pb2_grpc.ResponseServiceServicer):
    """OpenAI's responses. `total_seconds` is the longest time of a reply."""

    def __init__(self, completions: Completions, total_seconds: float) -> None:
        self._completions = completions
        self._total_seconds = total_seconds

    async def CreateResponse(self, request: pb.CreateResponseRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Answers an input: one body, or a stream of events."""
        asked = openai_responses.parse(request.body.data)
        who = asking(context, self._total_seconds, "CreateResponse", request.body.data)
        async with aclosing(answer_body(self._completions, asked, who, context)) as bodies:
            async for body in bodies:
                yield body
