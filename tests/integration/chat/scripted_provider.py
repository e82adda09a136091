"""A provider at the other end of a real socket that does what a test tells it, faults included."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """One request, and the means to answer it, well or badly. `body` is JSON, or bytes of any other type."""

    path: str
    headers: Mapping[str, str]
    body: Any
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answers with JSON, or with bytes as they are."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        told = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        await self.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data)

    async def begin(self, content_type: str = "text/event-stream") -> None:
        """Begins a stream of events, or of another type."""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        await self.write(head.encode())

    async def send(self, data: bytes) -> None:
        """Sends a piece of the stream as an HTTP chunk of its own."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def events(self, *events: Any) -> None:
        """Sends events, each in a chunk of its own."""
        for event in events:
            await self.send(b"data: " + (event if isinstance(event, bytes) else orjson.dumps(event)) + b"\n\n")

    async def end(self) -> None:
        """Ends the stream as HTTP wants it."""
        await self.write(b"0\r\n\r\n")

    async def write(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def cut(self) -> None:
        """Cuts the connection."""
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read(1)


@dataclass(slots=True)
class ScriptedProvider:
    """The server: `script` answers each request, `requests` are those that came."""

    url: str = ""
    script: Script | None = None
    requests: list[Exchange] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                request_line, *lines = head.rstrip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                data = await reader.readexactly(int(headers.get("content-length", "0")))
                is_json = headers.get("content-type") == "application/json"
                body: Any = orjson.loads(data) if is_json and data else data or None
                exchange = Exchange(request_line.split(" ")[1], headers, body, reader, writer)
                self.requests.append(exchange)
                assert self.script is not None
                await self.script(exchange)
        writer.close()


@contextlib.asynccontextmanager
async def running_provider() -> AsyncIterator[ScriptedProvider]:
    """Runs a server on a free port of the loopback interface."""
    provider = ScriptedProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.close()


def openai_chunk(delta: Mapping[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """Makes a chunk as OpenAI sends it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}
    return {**head, "choices": [choice], **more}


def openai_usage(prompt: int, completion: int) -> dict[str, Any]:
    """Makes the chunk of the usage as OpenAI sends it."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**openai_chunk({}), "choices": [], "usage": usage}


def openai_completion(text: str, **more: Any) -> dict[str, Any]:
    """Makes a whole reply as OpenAI sends it."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-up",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **more,
    }


def claude_message(blocks: Sequence[Mapping[str, Any]], stop_reason: str = "end_turn") -> dict[str, Any]:
    """Makes a whole reply as Anthropic sends it."""
    return {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": blocks,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 4, "cache_read_input_tokens": 2},
    }


def claude_stream(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Makes the events of a streamed reply as Anthropic sends them."""
    start = {"type": "message_start", "message": {**claude_message([]), "stop_reason": None}}
    begin = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    pieces = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
    ]
    stop = {"type": "content_block_stop", "index": 0}
    usage = {"output_tokens": 9}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    return [start, {"type": "ping"}, begin, *pieces, stop, delta, {"type": "message_stop"}]
