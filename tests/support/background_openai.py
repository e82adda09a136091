"""OpenAI's background mode in a few lines: responses that are made while nobody waits, polled, followed and cancelled.

It runs in the test's own event loop. The test says when a response is over; one whose input is `by itself` is so as
soon as it was asked for twice.
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
"""With gpt-4o 0.0000475 dollars."""
TEXT = "hello from the background"
BY_ITSELF = "by itself"
UNDER_WAY = ("queued", "in_progress")


@dataclass(slots=True)
class Made:
    """A response that is kept. `events` are those of its stream, where it was begun as one."""

    body: dict[str, Any]
    said: str
    events: list[dict[str, Any]] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    looks: int = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Adds an event."""
        if self.events is not None:
            self.events.append({"type": kind, "sequence_number": len(self.events), **fields})
            self.changed.set()
            self.changed = asyncio.Event()


@dataclass(slots=True)
class BackgroundOpenAI:
    """The server. `made` has the responses by their ids, `calls` what was asked, the oldest first.

    While it is `away` it answers 503 to whatever is asked; `may_answer` holds back the answers to requests to create.
    With `at_once` every response is over when it was begun. What is about no response is asked `elsewhere`.
    """

    url: str = ""
    made: dict[str, Made] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    is_away: bool = False
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: bool = False
    elsewhere: str = ""

    @property
    def created(self) -> int:
        """How many responses it was asked to create."""
        return sum(call == ("POST", "/v1/responses") for call in self.calls)

    def finish(self, response_id: str, status: str = "completed", usage: Any = USAGE, **fields: Any) -> None:
        """Ends a response."""
        made = self.made[response_id]
        part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
        message = {"type": "message", "id": f"msg_{response_id}", "role": "assistant", "status": "completed"}
        output = [{**message, "content": [part]}] if status == "completed" else []
        made.body |= {"status": status, "usage": usage, "output": output, "completed_at": 1003.5, **fields}
        if status == "completed":
            place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
            made.tell("response.output_item.added", output_index=0, item={**message, "content": []})
            made.tell("response.content_part.added", **place, part={**part, "text": ""})
            made.tell("response.output_text.delta", **place, delta=TEXT, logprobs=[])
        made.tell(f"response.{status}", response=dict(made.body))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/responses."""
        asked = await request.json()
        if asked.get("background") and asked.get("store") is False:
            return _refusal(400, "Background mode requires store to be true.")
        in_background, is_stream = bool(asked.get("background")), bool(asked.get("stream"))
        response_id = f"resp_{uuid.uuid4().hex}"
        head = {"id": response_id, "object": "response", "created_at": 1000, "model": asked["model"], "error": None}
        body = {**head, "status": "queued", "background": in_background, "output": [], "usage": None, "tools": []}
        body |= {"tool_choice": "auto", "parallel_tool_calls": True, "incomplete_details": None, "instructions": None}
        made = Made({**body, "metadata": {}}, str(asked.get("input")), [] if is_stream else None)
        self.made[response_id] = made
        made.tell("response.created", response=dict(made.body))
        made.tell("response.queued", response=dict(made.body))
        begun = dict(made.body)
        if self.at_once or not in_background:
            self.finish(response_id)
        await self.may_answer.wait()
        if is_stream:
            return await self._follow(request, made, 0)
        return web.json_response(begun if in_background else made.body)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/responses/{id}."""
        made = self.made.get(request.match_info["id"])
        if made is None:
            return _refusal(404, f"Response with id '{request.match_info['id']}' not found.")
        made.looks += 1
        if made.said == BY_ITSELF and made.looks == 2:
            self.finish(made.body["id"])
        if request.query.get("stream") != "true":
            return web.json_response(made.body)
        if made.events is None:
            return _refusal(400, "This response cannot be streamed because it was not created with stream=true.")
        return await self._follow(request, made, int(request.query.get("starting_after", -1)) + 1)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/responses/{id}/cancel."""
        made = self.made.get(request.match_info["id"])
        if made is None:
            return _refusal(404, "not found")
        if made.body["status"] in UNDER_WAY:
            self.finish(made.body["id"], "cancelled", usage=None)
        return web.json_response(made.body)

    async def ask_elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Whatever else."""
        headers = {"content-type": request.headers.get("content-type", ""), "authorization": "Bearer sk-simulated"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.elsewhere + request.path, data=await request.read(), headers=headers
            ) as answer,
        ):
            kind = {"content-type": answer.headers.get("content-type", "")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kind)

    async def _follow(self, request: web.Request, made: Made, at: int) -> web.StreamResponse:
        assert made.events is not None
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                changed = made.changed
                for event in made.events[at:]:
                    at += 1
                    await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
                if made.body["status"] not in UNDER_WAY:
                    break
                await changed.wait()
            await response.write_eof()
        return response

    @web.middleware
    async def noting(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Notes each request, and answers none while it is away."""
        self.calls.append((request.method, request.path))
        if self.is_away:
            return _refusal(503, "down for a while")
        answered: web.StreamResponse = await handler(request)
        return answered


@contextlib.asynccontextmanager
async def running_background_openai(**options: Any) -> AsyncIterator[BackgroundOpenAI]:
    """Serves on a free port of the loopback address; options are fields of the server."""
    served = BackgroundOpenAI(**options)
    served.may_answer.set()
    app = web.Application(middlewares=[served.noting])
    app.router.add_post("/v1/responses", served.create)
    app.router.add_get("/v1/responses/{id}", served.retrieve)
    app.router.add_post("/v1/responses/{id}/cancel", served.cancel)
    app.router.add_route("*", "/{path:.*}", served.ask_elsewhere)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield served
    finally:
        await runner.cleanup()


def _refusal(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)
