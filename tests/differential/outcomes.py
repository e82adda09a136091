"""What comes of a request, in the terms in which two transcoders are compared."""

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from tests.support.scripted import Script, ScriptedBackend
from tests.support.wire import send


@dataclass(frozen=True, slots=True)
class Request:
    """A request and what the backend does with it; `name` tells it from all others."""

    name: str
    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    script: Script


@dataclass(frozen=True, slots=True)
class Outcome:
    """The method that was called with its messages (None: no call), the HTTP status and the body.

    The body is a JSON value, or a list of lines' values, where it is JSON; None for an error's, which every transcoder
    words as it likes. `complete` is False where the answer was cut off.
    """

    called: str | None
    messages: tuple[Message, ...]
    status: int
    body: Any
    complete: bool

    def differences(self, other: "Outcome") -> tuple[str, ...]:
        """Return the aspects in which two outcomes differ: request, status, body."""
        found = []
        if self.called != other.called or not _equal(self.messages, other.messages):
            found.append("request")
        if self.status != other.status:
            found.append("status")
        same_body = self.complete == other.complete and _same_json(self.body, other.body)
        if not same_body and not self._both_failed(other):
            found.append("body")
        return tuple(found)

    def _both_failed(self, other: "Outcome") -> bool:
        return self.status >= 400 and other.status >= 400

    def __str__(self) -> str:
        """Show the outcome in a line."""
        messages = "; ".join(" ".join(str(message).split()) for message in self.messages)
        cut = "" if self.complete else ", cut off"
        return f"{self.called} {{{messages}}} -> {self.status} {_shown(self.body)}{cut}"


async def observe(url: str, backend: ScriptedBackend, request: Request) -> Outcome:
    """Send a request to a transcoder, and return what came of it."""
    backend.follow(request.script)
    # A call that its transcoder gave up may still be on its way when the next request is sent. Both transcoders pass
    # this header on by its name.
    mark = f"00-{uuid.uuid4().hex}-0000000000000001-00"
    headers = [
        *((name, value) for name, value in request.headers if name.lower() != "traceparent"),
        ("traceparent", mark),
    ]
    try:
        response = await send(url, request.method, request.target, headers, request.body)
    except ConnectionError:
        return Outcome(None, (), 0, None, complete=False)
    call = next((call for call in backend.calls if ("traceparent", mark) in call.metadata), None)
    return Outcome(
        called=call.method if call is not None else None,
        messages=tuple(call.messages) if call is not None else (),
        status=response.status,
        body=None if response.status >= 400 else _value(response.body),
        complete=response.complete,
    )


def _value(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in body.splitlines()]
    except ValueError:
        return body


def _equal(first: Sequence[Message], second: Sequence[Message]) -> bool:
    # Text as well, since NaN is not equal to itself.
    return first == second or [str(message) for message in first] == [str(message) for message in second]


def _same_json(first: Any, second: Any) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same_json(value, second[key]) for key, value in first.items())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same_json, first, second))
    if isinstance(first, float) and isinstance(second, int | float):
        # A float of 32 bits may be written with as few digits as tell it from others, or as the double that it is.
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def _shown(body: Any) -> str:
    text = repr(body)
    return text if len(text) <= 300 else text[:300] + "…"
