"""Reading server-sent events as a client does, with nothing made up and nothing left out."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

DONE = "[DONE]"


async def read_events(response: httpx.Response) -> AsyncIterator[Any]:
    """Yields the data of each event as JSON, and `[DONE]` as it is; comments are passed over.

    Raises AssertionError for anything that is neither, and for a body that ends inside an event.
    """
    assert response.headers["content-type"].partition(";")[0] == "text/event-stream", response.headers
    rest = b""
    async for piece in response.aiter_bytes():
        rest += piece
        *records, rest = rest.split(b"\n\n")
        for record in records:
            if record.startswith(b":"):
                continue
            lines = record.decode().split("\n")
            [data] = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
            assert all(line.startswith(("data: ", "event: ", "id: ")) for line in lines), record
            yield data if data == DONE else json.loads(data)
    assert not rest, f"the stream ends inside an event: {rest!r}"


async def all_events(response: httpx.Response) -> list[Any]:
    """Returns every event of a stream."""
    return [event async for event in read_events(response)]
