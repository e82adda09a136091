"""Reading the JSON body of a request, whatever its dialect."""

from typing import Any

import orjson

from shared.errors import InvalidArgument

MAX_DEPTH = 240
"""Levels of a body. JSON cannot be written deeper than 254, and translations add some of their own."""

_LEVELS_ADDED = 254 - MAX_DEPTH


def read_object(data: bytes) -> dict[str, Any]:
    """Reads a body that must be a JSON object. Raises InvalidArgument."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument.field("body", f"is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidArgument.field("body", "must be a JSON object")
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return body
    # Only now can it be as deep, and nothing measures it as fast as writing it.
    deepened: Any = body
    for _ in range(_LEVELS_ADDED):
        deepened = [deepened]
    try:
        orjson.dumps(deepened)
    except TypeError as error:
        raise InvalidArgument.field("body", f"nests more than {MAX_DEPTH} levels deep") from error
    return body
