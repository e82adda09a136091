"""The catalogue in the shapes of OpenAI's and Anthropic's model lists. Encoded once for a catalogue."""

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any

import orjson

from services.chat.catalogue import Catalogue, ModelSpec
from shared.errors import InvalidArgument, Violation

MAX_PAGE = 1000
"""Most models of a page of Anthropic's, as there."""
EPOCH = "1970-01-01T00:00:00Z"
"""When a model was released, where that is not known: both APIs want a date."""

_SNAPSHOT = re.compile(r"-(20\d\d)-?(\d\d)-?(\d\d)$")


class OpenAIModels:
    """`{"object": "list", "data": […]}` and its objects."""

    def __init__(self, catalogue: Catalogue) -> None:
        objects = {name: _openai(name, model) for name, model in _names((*catalogue.models, *catalogue.makers))}
        self.whole_list = orjson.dumps({"object": "list", "data": list(objects.values())})
        self._catalogue = catalogue

    def one(self, name: str) -> bytes:
        """Returns the object of a model under the name it was asked for. Raises NotFound."""
        return orjson.dumps(_openai(name, self._catalogue.known(name)))


class AnthropicModels:
    """`{"data": […], "has_more", "first_id", "last_id"}` and its objects."""

    def __init__(self, catalogue: Catalogue) -> None:
        named = _names(catalogue.models)
        self._names = [name for name, _ in named]
        self._objects = [orjson.dumps(_anthropic(name, model)) for name, model in named]
        self._places = {name: place for place, name in enumerate(self._names)}
        self._catalogue = catalogue
        self._first_page = self._page(0, MAX_PAGE, has_more=len(named) > MAX_PAGE)

    def page(self, limit: int | None, after: str, before: str) -> bytes:
        """Returns models behind one, or the nearest ones before one; the first ones without either.

        Raises InvalidArgument for a limit or an id that is none.
        """
        if limit is None and not after and not before:
            return self._first_page
        size = MAX_PAGE if limit is None else limit
        violations = []
        if not 1 <= size <= MAX_PAGE:
            violations.append(Violation("limit", f"must be 1 to {MAX_PAGE}, not {size}"))
        if after and before:
            violations.append(Violation("before_id", "cannot be sent together with after_id"))
        for field, name in (("after_id", after), ("before_id", before)):
            if name and name not in self._places:
                violations.append(Violation(field, f"there is no model {name[:128]} in this list"))
        if violations:
            raise InvalidArgument.of(*violations)
        if before:
            end = self._places[before]
            return self._page(max(0, end - size), end, has_more=end > size)
        start = self._places[after] + 1 if after else 0
        return self._page(start, start + size, has_more=len(self._names) > start + size)

    def _page(self, start: int, end: int, *, has_more: bool) -> bytes:
        names = self._names[start:end]
        ends = {"has_more": has_more, "first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return b'{"data":[' + b",".join(self._objects[start:end]) + b"]," + orjson.dumps(ends)[1:]

    def one(self, name: str) -> bytes:
        """Returns the object of a model under the name it was asked for. Raises NotFound."""
        return orjson.dumps(_anthropic(name, self._catalogue.model(name)))


def _names(models: Iterable[ModelSpec]) -> list[tuple[str, ModelSpec]]:
    """Every model under its id, or under `provider/id` where another provider has the id already."""
    named: dict[str, ModelSpec] = {}
    for model in models:
        named[f"{model.provider}/{model.id}" if model.id in named else model.id] = model
    return list(named.items())


def _openai(name: str, model: ModelSpec) -> dict[str, Any]:
    released = _released(model.id)
    encoded = {
        "id": name,
        "object": "model",
        "created": int(released.timestamp()) if released else 0,
        "owned_by": model.provider,
    }
    if model.deprecation_date:
        encoded["shutdown_date"] = model.deprecation_date.isoformat()
    return encoded


def _anthropic(name: str, model: ModelSpec) -> dict[str, Any]:
    released = _released(model.id)
    retires = model.deprecation_date
    return {
        "type": "model",
        "id": name,
        "display_name": model.name or model.id,
        "created_at": released.strftime("%Y-%m-%dT%H:%M:%SZ") if released else EPOCH,
        "lifecycle": "deprecated" if retires else "active",
        "deprecated_at": None,
        "retires_at": f"{retires.isoformat()}T00:00:00Z" if retires else None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_tokens,
    }


def _released(model: str) -> dt.datetime | None:
    """A snapshot carries its date in its id."""
    found = _SNAPSHOT.search(model)
    if not found:
        return None
    try:
        return dt.datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=dt.UTC)
    except ValueError:
        return None
