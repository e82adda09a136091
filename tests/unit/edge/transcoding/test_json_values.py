"""Behaviour of edge/transcoding/json_values.py."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.transcoding.errors import RpcFailure
from edge.transcoding.json_values import JsonValues

BODIES = [
    (b'{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
    (b'{"a":1}\n\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
    (b' [ {"a":1} , {"b":[2,"]"]} ] ', [b'{"a":1}', b'{"b":[2,"]"]}']),
    (b'[1,"x, y",null,[2]]', [b"1", b'"x, y"', b"null", b"[2]"]),
    (b'1 2\n"a" true', [b"1", b"2", b'"a"', b"true"]),
    (b'{"a":"}\\"{\\\\"}{}', [b'{"a":"}\\"{\\\\"}', b"{}"]),
    (b"[]", []),
    (b"", []),
    (b" \n", []),
]


def values(body: bytes, size: int = 1000, limit: int = 100, *, lines: bool = False) -> list[bytes]:
    cutter = JsonValues(limit, lines=lines)
    found = []
    for start in range(0, len(body), size):
        found += list(cutter.feed(body[start : start + size]))
    return [*found, *cutter.finish()]


@pytest.mark.parametrize(("body", "expected"), BODIES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_values_are_found_however_the_body_is_cut(body: bytes, expected: list[bytes], size: int) -> None:
    assert values(body, size) == expected


def test_a_value_is_there_as_soon_as_its_last_byte() -> None:
    cutter = JsonValues(100)
    assert list(cutter.feed(b'{"a":')) == []
    assert list(cutter.feed(b'1}{"b"')) == [b'{"a":1}']


def test_a_line_may_be_an_array() -> None:
    assert values(b"[1]\n[2]\n", lines=True) == [b"[1]", b"[2]"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":', "ends before its JSON does"),
        (b'"a', "ends before its JSON does"),
        (b'[{"a":1}', "ends before its JSON does"),
        (b"[1,]", "single commas"),
        (b"[,1]", "single commas"),
        (b"[1,,2]", "single commas"),
        (b"[1 2]", "single commas"),
        (b"[1] 2", "nothing may follow the array"),
        (b"1,2", "a JSON value was expected"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_stands_wrongly_between_values_is_refused(body: bytes, reason: str, size: int) -> None:
    with pytest.raises(RpcFailure, match=reason) as caught:
        values(body, size)
    assert caught.value.http_status == 400


@pytest.mark.parametrize("body", [b'{"a":"' + b"x" * 200, b'{"a":"' + b"x" * 200 + b'"}', b"1" * 200, b"[" * 200])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_value_beyond_the_limit_is_413_and_is_not_kept(body: bytes, size: int) -> None:
    with pytest.raises(RpcFailure, match="message 1 is larger than this route's limit of 100 bytes") as caught:
        values(body, size, lines=True)
    assert caught.value.http_status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(JSON, max_size=5), st.booleans(), st.integers(1, 7), st.sampled_from([None, 2]))
def test_any_values_come_out_as_they_went_in(items: list[object], array: bool, size: int, indent: int | None) -> None:
    texts = [json.dumps(item, ensure_ascii=False, indent=indent).encode() for item in items]
    body = b"[" + b" , ".join(texts) + b"]" if array else b"\n".join(texts)
    found = values(body, size, limit=100_000, lines=not array)
    assert [json.loads(text) for text in found] == items
