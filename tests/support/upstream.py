"""A provider that misbehaves on purpose: an endpoint of OpenAI's dialect whose models are named for what they do.

It runs in the test's own event loop, so that a test sees when its connections end.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

WORDS = ("one ", "two ", "three ")
SILENCE_SECONDS = 1.5
"""How long its silence is borne by the platform that asks it."""


@dataclass(slots=True)
class Call:
    """A request: its body, and when (loop time) its connection ended before it was answered.

    `release` lets the model `held` go on.
    """

    body: dict[str, Any]
    release: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    gone_at: float = 0.0


@dataclass(slots=True)
class Upstream:
    """A running endpoint. `calls` are the requests that came, the oldest first."""

    url: str
    calls: list[Call] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def call(self, text: str) -> Call:
        """Waits for the request whose body contains the text."""

        def found() -> Call | None:
            return next((call for call in self.calls if text in json.dumps(call.body)), None)

        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: found() is not None)
        call = found()
        assert call is not None
        return call


Script = Callable[[Call, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def _silent(call: Call, writer: asyncio.StreamWriter) -> None:
    """Takes the request and sends nothing."""


async def _stalls(call: Call, writer: asyncio.StreamWriter) -> None:
    """Streams three words and then nothing more."""
    _begin(writer)
    for word in WORDS:
        await _send(writer, _chunk(word))


async def _paced(call: Call, writer: asyncio.StreamWriter) -> None:
    """Streams a whole reply, its three words 0.2 s apart."""
    _begin(writer)
    for word in WORDS:
        await _send(writer, _chunk(word))
        await asyncio.sleep(0.2)
    await _finish(writer)


async def _held(call: Call, writer: asyncio.StreamWriter) -> None:
    """Streams three words, and the end of a whole reply when the test says so, however long that takes."""
    await _stalls(call, writer)
    while not call.release.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(call.release.wait(), SILENCE_SECONDS / 3)
        await _send(writer, _chunk(""))
    await _finish(writer)


async def _unfinished(call: Call, writer: asyncio.StreamWriter) -> None:
    """Streams three words and ends in good order, as if that were all, without saying that it is."""
    await _stalls(call, writer)
    writer.close()


async def _garbled(call: Call, writer: asyncio.StreamWriter) -> None:
    """Streams a word and then an event that is no JSON."""
    _begin(writer)
    await _send(writer, _chunk(WORDS[0]))
    await _send(writer, b"data: {half an even\n\n")
    await _send(writer, b"data: [DONE]\n\n")
    writer.close()


async def _complains(call: Call, writer: asyncio.StreamWriter) -> None:
    """Streams a word and then an error, as OpenAI does when it fails on the way."""
    _begin(writer)
    await _send(writer, _chunk(WORDS[0]))
    await _send(writer, b'data: {"error": {"message": "sk-scripted broke", "type": "server_error", "code": null}}\n\n')
    await _send(writer, b"data: [DONE]\n\n")
    writer.close()


def _answers(content_type: str, body: bytes) -> Script:
    """Answers 200 with a body that is no completion."""

    async def answer(call: Call, writer: asyncio.StreamWriter) -> None:
        # Said beforehand, so that nobody sends another request on a connection that is about to end.
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close"
        await _send(writer, head.encode() + b"\r\n\r\n" + body)
        writer.close()

    return answer


SCRIPTS: dict[str, Script] = {
    "silent": _silent,
    "stalls": _stalls,
    "paced": _paced,
    "held": _held,
    "unfinished": _unfinished,
    "garbled": _garbled,
    "complains": _complains,
    "empty": _answers("application/json", b""),
    "list": _answers("application/json", b"[]"),
    "page": _answers("text/html", b"<html>It works!</html>"),
    "no-choices": _answers("application/json", b'{"id": "x", "object": "chat.completion", "choices": []}'),
    "other-types": _answers("application/json", b'{"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}'),
}
"""What each model does."""


@contextlib.asynccontextmanager
async def running_upstream() -> AsyncIterator[Upstream]:
    """Serves on a free port of the loopback address."""
    upstream = Upstream("")
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _serve(upstream, reader, writer)
        writer.close()
        handlers.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()
        for task in tuple(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def _serve(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    call = Call(json.loads(await reader.readexactly(length)))
    upstream.calls.append(call)
    async with upstream.arrived:
        upstream.arrived.notify_all()
    script = asyncio.ensure_future(SCRIPTS[call.body["model"]](call, writer))
    try:
        # Nothing more is sent on this connection, so whatever is read next is its end.
        await reader.read(1)
        if not writer.is_closing():
            call.gone_at = asyncio.get_running_loop().time()
            call.gone.set()
    finally:
        script.cancel()
        await asyncio.gather(script, return_exceptions=True)


async def _finish(writer: asyncio.StreamWriter) -> None:
    await _send(writer, _chunk(None, "stop"))
    await _send(writer, b"data: [DONE]\n\n")
    writer.close()


def _begin(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _chunk(content: str | None, finish_reason: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()
