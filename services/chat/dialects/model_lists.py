"""The catalogue in the shapes of OpenAI's and Anthropic's model lists. Encoded once for a catalogue."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from services.chat.catalogue import Catalogue, ModelSpec
from services.chat.selection import May
from shared.errors import InvalidArgument, Violation

MAX_PAGE = 1000
"""Most models of a page of Anthropic's, as there."""
EPOCH = "1970-01-01T00:00:00Z"
"""When a model was released, where that is not known: both APIs want a date."""

_SNAPSHOT = re.compile(r"-(20\d\d)-?(\d\d)-?(\d\d)$")


class OpenAIModels:
    """`{"object": "list", "data": […]}` and its objects."""

    def __init__(self, catalogue: Catalogue) -> None:
        named = _names((*catalogue.models, *catalogue.makers))
        self._objects = [(model, orjson.dumps(_openai(name, model))) for name, model in named]
        self._catalogue = catalogue
        self._whole = self._listed(encoded for _, encoded in self._objects)

    def all(self, may: May | None = None) -> bytes:
        """Returns all models, or those of them that may be used."""
        if may is None:
            return self._whole
        return self._listed(encoded for model, encoded in self._objects if may(model))

    def _listed(self, objects: Iterable[bytes]) -> bytes:
        return b'{"object":"list","data":[' + b",".join(objects) + b"]}"

    def one(self, name: str) -> bytes:
        """Returns the object of a model under the name it was asked for. Raises NotFound."""
        return orjson.dumps(_openai(name, self._catalogue.known(name)))


class AnthropicModels:
    """`{"data": […], "has_more", "first_id", "last_id"}` and its objects."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._objects = [
            (name, model, orjson.dumps(_anthropic(name, model))) for name, model in _names(catalogue.models)
        ]
        self._catalogue = catalogue
        self._first_page = self.page(MAX_PAGE, "", "")

    def page(self, limit: int | None, after: str, before: str, may: May | None = None) -> bytes:
        """Returns models behind one, or the nearest ones before one; the first ones without either.

        With `may`, those that may be used are all that there are. Raises InvalidArgument for a limit or an id that is
        none.
        """
        if limit is None and not after and not before and may is None:
            return self._first_page
        objects = self._objects if may is None else [one for one in self._objects if may(one[1])]
        places = {name: place for place, (name, _, _) in enumerate(objects)}
        size = MAX_PAGE if limit is None else limit
        violations = []
        if not 1 <= size <= MAX_PAGE:
            violations.append(Violation("limit", f"must be 1 to {MAX_PAGE}, not {size}"))
        if after and before:
            violations.append(Violation("before_id", "cannot be sent together with after_id"))
        for field, name in (("after_id", after), ("before_id", before)):
            if name and name not in places:
                violations.append(Violation(field, f"there is no model {name[:128]} in this list"))
        if violations:
            raise InvalidArgument.of(*violations)
        if before:
            end = places[before]
            return _page(objects[max(0, end - size) : end], has_more=end > size)
        start = places[after] + 1 if after else 0
        return _page(objects[start : start + size], has_more=len(objects) > start + size)

    def one(self, name: str) -> bytes:
        """Returns the object of a model under the name it was asked for. Raises NotFound."""
        return orjson.dumps(_anthropic(name, self._catalogue.model(name)))


def _page(objects: Sequence[tuple[str, ModelSpec, bytes]], *, has_more: bool) -> bytes:
    first, last = (objects[0][0], objects[-1][0]) if objects else (None, None)
    ends = {"has_more": has_more, "first_id": first, "last_id": last}
    return b'{"data":[' + b",".join(encoded for _, _, encoded in objects) + b"]," + orjson.dumps(ends)[1:]


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
