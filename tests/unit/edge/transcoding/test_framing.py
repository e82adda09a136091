"""Behaviour of edge/transcoding/framing.py."""

import pytest

from edge.transcoding.errors import RpcFailure, Status, StatusStyle
from edge.transcoding.framing import ArrayFrames, EnvelopeFrames, Frames, NdjsonFrames, SseFrames

FAILURE = RpcFailure(Status(8, "no more"))
STATUS = b'{"code":8,"message":"no more","details":[]}'


def written(frames: Frames, *messages: bytes, fail: bool = False) -> bytes | None:
    body = b"".join(frames.message(message) for message in messages)
    end = frames.error(FAILURE, StatusStyle(), "r1") if fail else frames.end()
    return None if end is None else body + end


@pytest.mark.parametrize(
    ("frames", "empty", "two"),
    [
        (NdjsonFrames(), b"", b"1\n2\n"),
        (EnvelopeFrames(), b"", b'{"result":1}\n{"result":2}\n'),
        (ArrayFrames(), b"[]", b"[1,2]"),
        (SseFrames(ids=False), b"", b"data: 1\n\ndata: 2\n\n"),
        (SseFrames(ids=True), b"", b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"),
        (SseFrames(ids=False, end_marker="[DONE]"), b"data: [DONE]\n\n", b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"),
    ],
)
def test_each_framing_writes_messages_and_its_end(frames: Frames, empty: bytes, two: bytes) -> None:
    assert frames.end() == empty
    assert written(frames, b"1", b"2") == two


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (NdjsonFrames(), b'1\n{"error":' + STATUS + b"}\n"),
        (EnvelopeFrames(), b'{"result":1}\n{"error":' + STATUS + b"}\n"),
        (
            SseFrames(ids=True, end_marker="[DONE]"),
            b'id: 1\ndata: 1\n\nevent: error\ndata: {"error":' + STATUS + b"}\n\n",
        ),
        (ArrayFrames(), None),
    ],
)
def test_an_error_is_a_record_without_the_end_marker_or_nothing_an_array_could_hold(
    frames: Frames, expected: bytes | None
) -> None:
    assert written(frames, b"1", fail=True) == expected


def test_an_error_event_without_a_name_is_a_data_record() -> None:
    style = StatusStyle()
    style.event = ""
    assert SseFrames(ids=False).error(FAILURE, style, "r1") == b'data: {"error":' + STATUS + b"}\n\n"


def test_only_server_sent_events_have_heartbeats() -> None:
    assert SseFrames(ids=False).heartbeat.startswith(b":")
    others = (NdjsonFrames(), ArrayFrames(), EnvelopeFrames())
    assert [frames.heartbeat for frames in others] == [b"", b"", b""]
