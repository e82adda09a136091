"""Reading server-sent events."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.chat.providers import sse
from services.chat.providers.sse import EventReader, EventTooLarge

STREAM = (
    b"data: one\n\n: a comment\n\nevent: x\ndata: two\ndata: lines\nid: 5\n\ndata:no space\n\n"
    b"data: \xe6\x97\xa5\xe6\x9c\xac\n\nretry: 10\n\ndata: [DONE]\n\n"
)
EVENTS = [b"one", b"two\nlines", b"no space", "日本".encode(), b"[DONE]"]


@given(
    st.sampled_from([b"", sse.BYTE_ORDER_MARK]),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(1, 30), max_size=60),
)
@example(sse.BYTE_ORDER_MARK, b"\n", [1, 1, 1, 1])
def test_the_events_are_the_same_wherever_the_bytes_are_cut(mark, line_end, sizes):
    rest = mark + STREAM.replace(b"\n", line_end)
    reader = EventReader()
    events = []
    for size in sizes:
        events += reader.feed(rest[:size])
        rest = rest[size:]
    events += reader.feed(rest)
    assert events + reader.end() == EVENTS


def test_a_last_event_may_lack_its_blank_line():
    reader = EventReader()
    assert reader.feed(b"data: a\n\ndata: [DONE]\n") == [b"a"]
    assert reader.end() == [b"[DONE]"]
    assert reader.end() == []


def test_an_event_without_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    reader = EventReader()
    reader.feed(b"data: " + b"x" * 80)
    with pytest.raises(EventTooLarge):
        reader.feed(b"x" * 80)
