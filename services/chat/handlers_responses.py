"""gaia.chat.v1.ResponseService."""

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

from gaia.chat.v1 import response_service_pb2 as pb
from gaia.chat.v1 import response_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context, asking
from services.chat.bodies import JSON, answer_body, events_of
from services.chat.completing import Completions
from services.chat.deadlines import seconds_left
from services.chat.dialects import openai_responses
from services.chat.dialects.openai_responses_reply import error_record
from services.chat.kept_responses import KeptResponses
from shared.identity.principal import current_principal


class ResponseHandlers(response_service_pb2_grpc.ResponseServiceServicer):
    """OpenAI's responses. `total_seconds` is the longest time of a reply."""

    def __init__(self, completions: Completions, kept: KeptResponses, total_seconds: float) -> None:
        self._completions = completions
        self._kept = kept
        self._total_seconds = total_seconds

    async def CreateResponse(self, request: pb.CreateResponseRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Answers an input: one body, or a stream of events."""
        asked = openai_responses.parse(request.body.data)
        who = asking(context, self._total_seconds, "CreateResponse", request.body.data)
        async with aclosing(answer_body(self._completions, asked, who, context)) as bodies:
            async for body in bodies:
                yield body

    async def RetrieveResponse(self, request: pb.RetrieveResponseRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Tells a response as its provider keeps it: one body, or a stream of events."""
        who = uuid.UUID(current_principal().user_id)
        seconds = seconds_left(context, self._total_seconds)
        query = [("include[]", one) for one in request.include]
        if not request.stream:
            yield HttpBody(content_type=JSON, data=await self._kept.retrieve(who, request.response_id, query, seconds))
            return
        if request.HasField("starting_after"):
            query.append(("starting_after", str(request.starting_after)))
        if request.HasField("include_obfuscation"):
            query.append(("include_obfuscation", str(request.include_obfuscation).lower()))
        records = self._kept.follow(who, request.response_id, query, seconds)
        async with aclosing(events_of(records, lambda error: error_record(error, 0))) as bodies:
            async for body in bodies:
                yield body

    async def CancelResponse(self, request: pb.CancelResponseRequest, context: Context) -> HttpBody:
        """Ends a response that is being made in the background."""
        who = uuid.UUID(current_principal().user_id)
        seconds = seconds_left(context, self._total_seconds)
        return HttpBody(content_type=JSON, data=await self._kept.cancel(who, request.response_id, seconds))
