"""Media types: what a request's body is, and which form of reply its client accepts."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge.transcoding.options import Framing

V = TypeVar("V")

_CACHE_SIZE = 256


class BodyFormat(enum.Enum):
    """What a request body holds, by its Content-Type."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    PROTOBUF = "application/x-protobuf"
    FORM = "application/x-www-form-urlencoded"
    MULTIPART = "multipart/form-data"
    OTHER = ""


class ReplyFormat(enum.Enum):
    """Forms of a unary reply."""

    JSON = "application/json"
    PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class JsonWishes:
    """What the parameters of an accepted JSON type ask for; None leaves it to the route.

    `emit-defaults=true`, `enum-numbers=true` and `names=proto` or `names=json`.
    """

    emit_defaults: bool | None = None
    enum_numbers: bool | None = None
    proto_names: bool | None = None


NO_WISHES = JsonWishes()


@dataclass(frozen=True, slots=True)
class _Range:
    type: str
    subtype: str
    parameters: tuple[tuple[str, str], ...]
    quality: float


class MediaCache(Generic[V]):
    """Remembers what header values mean; clients send few different ones.

    Bounded: a client that sends ever new values empties it, which costs a parse and nothing else.
    """

    __slots__ = ("_known", "_parse")

    def __init__(self, parse: Callable[[bytes], V]) -> None:
        self._parse = parse
        self._known: dict[bytes, V] = {}

    def __call__(self, value: bytes) -> V:
        """Return the meaning of a header value."""
        try:
            return self._known[value]
        except KeyError:
            meaning = self._parse(value)
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            # What is huge is not worth keeping.
            if len(value) <= 512:
                self._known[value] = meaning
            return meaning


def body_format(content_type: bytes) -> BodyFormat:
    """Return what a Content-Type stands for; a charset other than UTF-8 is `OTHER`."""
    essence, *parameters = content_type.decode("latin-1").lower().split(";")
    essence = essence.strip()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            return BodyFormat.OTHER
    if essence.startswith("application/") and essence.endswith("+json"):
        return BodyFormat.JSON
    if essence in ("application/protobuf", "application/vnd.google.protobuf"):
        return BodyFormat.PROTOBUF
    if essence in ("application/ndjson", "application/jsonl"):
        return BodyFormat.NDJSON
    try:
        return BodyFormat(essence) if essence else BodyFormat.OTHER
    except ValueError:
        return BodyFormat.OTHER


def reply_format(accept: bytes, offers: Sequence[ReplyFormat]) -> tuple[ReplyFormat, JsonWishes] | None:
    """Return the form of a unary reply that an Accept header likes best, the first among equals; None for none."""
    chosen = _choose(accept, [offer.value for offer in offers])
    return (ReplyFormat(chosen[0]), chosen[1]) if chosen is not None else None


def stream_framing(accept: bytes) -> tuple[Framing, JsonWishes] | None:
    """Return the framing of a stream that an Accept header likes best, NDJSON among equals; None for none."""
    chosen = _choose(accept, [framing.value for framing in Framing])
    return (Framing(chosen[0]), chosen[1]) if chosen is not None else None


def json_wishes(accept: bytes) -> JsonWishes:
    """Return what an Accept header's parameters ask for where the framing is not its choice."""
    return next((_wishes(r.parameters) for r in _ranges(accept) if r.parameters and r.quality > 0), NO_WISHES)


def _choose(accept: bytes, offers: Sequence[str]) -> tuple[str, JsonWishes] | None:
    # An empty list says as little as no header at all.
    ranges = _ranges(accept if accept.strip(b" \t,") else b"*/*")
    best: tuple[float, int] = (0.0, 0)
    chosen: tuple[str, JsonWishes] | None = None
    for offer in offers:
        type_, _, subtype = offer.partition("/")
        # Of the ranges that an offer falls into, the most specific one says how much it is liked (RFC 9110, 12.5.1).
        specificity, match = 0, None
        for range_ in ranges:
            rank = _specificity(range_, type_, subtype)
            if rank > specificity:
                specificity, match = rank, range_
        if match is not None and match.quality > 0 and (match.quality, specificity) > best:
            best = (match.quality, specificity)
            chosen = (offer, _wishes(match.parameters))
    return chosen


def _specificity(range_: _Range, type_: str, subtype: str) -> int:
    if range_.type == type_:
        # The names that people use for one and the same format.
        aliases = {subtype, subtype.removeprefix("x-")}
        if range_.subtype in aliases:
            return 3
        return 2 if range_.subtype == "*" else 0
    return 1 if range_.type == "*" and range_.subtype == "*" else 0


def _ranges(accept: bytes) -> list[_Range]:
    ranges = []
    # 64 ranges are far more than any client sends; the rest of a longer list is not read.
    for item in accept.decode("latin-1").lower().split(",")[:64]:
        essence, *rest = (part.strip() for part in item.split(";"))
        type_, slash, subtype = essence.partition("/")
        if not slash:
            continue
        quality, parameters = 1.0, []
        for parameter in rest:
            name, _, value = parameter.partition("=")
            if name == "q":
                quality = _quality(value)
            else:
                parameters.append((name.strip(), value.strip().strip('"')))
        ranges.append(_Range(type_, subtype, tuple(parameters), quality))
    return ranges


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _wishes(parameters: Sequence[tuple[str, str]]) -> JsonWishes:
    given = dict(parameters)
    truth = {"true": True, "1": True, "false": False, "0": False}
    wishes = JsonWishes(
        emit_defaults=truth.get(given.get("emit-defaults", "")),
        enum_numbers=truth.get(given.get("enum-numbers", "")),
        proto_names={"proto": True, "json": False}.get(given.get("names", "")),
    )
    return NO_WISHES if wishes == NO_WISHES else wishes
