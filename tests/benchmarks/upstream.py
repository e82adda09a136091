"""An OpenAI-like upstream whose chunks say when they were sent.

`python -m tests.benchmarks.upstream PORT [CHUNKS PAUSE_MS]`. A streamed completion is ten chunks, 20 ms apart, where
nothing else is said; the text of each is the machine's monotonic clock in seconds, so that whoever reads it on the same
machine knows how long it travelled.
"""

import asyncio
import json
import sys
import time

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNKS = 10
_PAUSE_MS = 20.0


def _chunk(delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage is not None:
        value["usage"] = usage
    return _framed(b"data: " + json.dumps(value).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Upstream:
    """Answers connections with `chunks` chunks, `pause` seconds apart."""

    def __init__(self, chunks: int, pause: float) -> None:
        self._chunks = chunks
        self._pause = pause

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until the client closes it."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                length = next(
                    (int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0
                )
                await reader.readexactly(length)
                writer.write(_HEAD)
                for _ in range(self._chunks):
                    writer.write(_chunk({"content": f"{time.monotonic():.6f} "}))
                    await writer.drain()
                    await asyncio.sleep(self._pause)
                usage = {"prompt_tokens": 1, "completion_tokens": self._chunks, "total_tokens": self._chunks + 1}
                writer.write(_chunk({}, "stop", usage))
                writer.write(_framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def _serve(port: int, upstream: _Upstream) -> None:
    server = await asyncio.start_server(upstream.answer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    number, *pace = sys.argv[1:]
    how_many, pause_ms = (int(pace[0]), float(pace[1])) if pace else (_CHUNKS, _PAUSE_MS)
    uvloop.run(_serve(int(number), _Upstream(how_many, pause_ms / 1e3)))
