"""Behaviour of edge/transcoding/media.py."""

import pytest

from edge.transcoding.media import (
    NO_WISHES,
    BodyFormat,
    JsonWishes,
    MediaCache,
    ReplyFormat,
    body_format,
    json_wishes,
    reply_format,
    stream_framing,
)
from edge.transcoding.options import Framing

JSON, PROTOBUF = ReplyFormat.JSON, ReplyFormat.PROTOBUF


@pytest.mark.parametrize(
    ("value", "format_"),
    [
        (b"application/json", BodyFormat.JSON),
        (b"Application/JSON; charset=UTF-8", BodyFormat.JSON),
        (b"application/vnd.api+json", BodyFormat.JSON),
        (b"application/json; charset=utf-16", BodyFormat.OTHER),
        (b"application/x-protobuf", BodyFormat.PROTOBUF),
        (b"application/protobuf", BodyFormat.PROTOBUF),
        (b"application/x-www-form-urlencoded", BodyFormat.FORM),
        (b"multipart/form-data; boundary=x", BodyFormat.MULTIPART),
        (b"application/x-ndjson", BodyFormat.NDJSON),
        (b"text/plain", BodyFormat.OTHER),
        (b"", BodyFormat.OTHER),
        (b"\xff", BodyFormat.OTHER),
    ],
)
def test_content_types_are_told_apart(value: bytes, format_: BodyFormat) -> None:
    assert body_format(value) is format_


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (b"*/*", JSON),
        (b"application/*", JSON),
        (b"application/json", JSON),
        (b"application/x-protobuf", PROTOBUF),
        (b"application/protobuf", PROTOBUF),
        (b"application/x-protobuf, application/json;q=0.9", PROTOBUF),
        (b"application/x-protobuf;q=0.5, application/json;q=0.9", JSON),
        (b"application/json;q=0, */*", PROTOBUF),
        (b"text/html, */*;q=0.1", JSON),
        (b"text/html", None),
        (b"application/json;q=0", None),
        (b"application/json;q=x", None),
        (b"", JSON),
    ],
)
def test_the_best_liked_form_of_a_reply_is_chosen(accept: bytes, chosen: ReplyFormat | None) -> None:
    found = reply_format(accept, list(ReplyFormat))
    assert (found[0] if found else None) is chosen


def test_only_what_is_offered_is_chosen() -> None:
    assert reply_format(b"application/x-protobuf", [JSON]) is None
    assert reply_format(b"application/x-protobuf, application/json;q=0.1", [JSON]) == (JSON, NO_WISHES)


@pytest.mark.parametrize(
    ("accept", "framing"),
    [
        (b"*/*", Framing.NDJSON),
        (b"application/x-ndjson", Framing.NDJSON),
        (b"text/event-stream", Framing.SSE),
        (b"application/json", Framing.JSON_ARRAY),
        (b"application/json, text/plain, */*", Framing.JSON_ARRAY),
        (b"text/event-stream, application/json;q=0.5", Framing.SSE),
        (b"text/html", None),
    ],
)
def test_the_framing_of_a_stream_is_chosen_by_accept(accept: bytes, framing: Framing | None) -> None:
    found = stream_framing(accept)
    assert (found[0] if found else None) is framing


def test_parameters_of_an_accepted_type_are_wishes_for_its_json() -> None:
    accept = b"application/json; emit-defaults=true; enum-numbers=false; names=json; q=0.8"
    wishes = JsonWishes(emit_defaults=True, enum_numbers=False, proto_names=False)
    assert reply_format(accept, [JSON]) == (JSON, wishes)
    assert json_wishes(accept) == wishes


def test_unknown_parameters_and_values_wish_nothing() -> None:
    found = reply_format(b"application/json; emit-defaults=maybe; indent=2", [JSON])
    assert found is not None
    assert found[1] is NO_WISHES


def test_the_cache_parses_a_value_once_and_stays_bounded() -> None:
    parsed: list[bytes] = []

    def parse(value: bytes) -> int:
        parsed.append(value)
        return len(value)

    cache = MediaCache(parse)
    assert [cache(b"abc"), cache(b"abc")] == [3, 3]
    assert parsed == [b"abc"]
    for number in range(10_000):
        cache(b"%d" % number)
    assert len(cache._known) <= 256
    cache(b"x" * 10_000)
    assert max(map(len, cache._known)) <= 512
