"""Says how late the chunks of many paced streams come: `python -m tests.benchmarks.paced URL MODEL STREAMS [KEY]`.

The upstream behind the URL is `tests.benchmarks.upstream`, whose chunks say when they were sent. Prints one JSON object
{"chunks", "p50_ms", "p99_ms", "worst_ms", "failed"}; a stream without its end marker counts as failed.
"""

import asyncio
import json
import re
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

SPACING_SECONDS = 0.007
"""Between the starts of two streams; no divisor of the pace, so that their chunks spread over it."""
LONGEST_SECONDS = 60.0
_SENT = re.compile(rb'"content": ?"(\d+\.\d+) "')
_END = b"data: [DONE]"


class _Stream(asyncio.Protocol):
    """One streamed completion; `delays` are the seconds that each of its chunks travelled."""

    def __init__(self, request: bytes) -> None:
        self.delays: list[float] = []
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implements asyncio.Protocol."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Implements asyncio.Protocol."""
        now = time.monotonic()
        # An event may come in two reads: what follows the last line end waits for its other half.
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if found := _SENT.search(line):
                self.delays.append(now - float(found[1]))
            elif line.startswith(_END):
                self._end(whole=True)

    def connection_lost(self, error: Exception | None) -> None:
        """Implements asyncio.Protocol."""
        self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(whole)
            self._transport.close()


async def _load(url: str, model: str, streams: int, key: str) -> dict[str, float]:
    address = urlsplit(url)
    request = _request(address.path, address.netloc, model, key)
    loop = asyncio.get_running_loop()
    opened: list[_Stream] = []
    for _ in range(streams):
        _, stream = await loop.create_connection(lambda: _Stream(request), address.hostname or "", address.port or 80)
        opened.append(stream)
        await asyncio.sleep(SPACING_SECONDS)
    async with asyncio.timeout(LONGEST_SECONDS):
        whole = await asyncio.gather(*(stream.ended for stream in opened))
    delays = sorted(delay * 1e3 for stream in opened for delay in stream.delays)
    if not delays:
        raise SystemExit("no stream held a chunk")
    return {
        "chunks": len(delays),
        "p50_ms": delays[len(delays) // 2],
        "p99_ms": delays[len(delays) * 99 // 100],
        "worst_ms": delays[-1],
        "failed": whole.count(False),
    }


def _request(path: str, host: str, model: str, key: str) -> bytes:
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
    head = [
        f"POST {path} HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-api-key: {key}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


if __name__ == "__main__":
    where, model_name, count, *credentials = sys.argv[1:]
    print(json.dumps(uvloop.run(_load(where, model_name, int(count), credentials[0] if credentials else "none"))))
