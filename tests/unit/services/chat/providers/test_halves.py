"""Characters that a provider cut in two."""

import json

import orjson
import pytest

from services.chat.providers.halves import MOST_HELD, Halves

TEXT = "a🎉b👩\u200d🚀\U0001d4b3"


def units(text: str) -> list[str]:
    """Cuts a text into units of UTF-16, as JSON has them."""
    data = text.encode("utf-16-le")
    return [data[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(data), 2)]


def event(text: str, **more: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}], **more}).encode()


def said(loaded: dict) -> str:
    return loaded["choices"][0]["delta"]["content"]


def test_the_halves_are_told_together():
    halves = Halves()
    loaded = [halves.load(event(unit)) for unit in units(TEXT)]
    assert "".join(said(one) for one, _ in loaded) == TEXT
    assert "".join(said(orjson.loads(sent)) for _, sent in loaded) == TEXT


def test_what_is_whole_is_the_very_event():
    sent = b'{ "choices" : [ {"delta": {"content": "\\ud83c\\udf89"}} ] }'
    assert Halves().load(sent)[1] is sent


def test_a_half_waits_for_its_own_place():
    halves = Halves()
    first, other, second = (
        halves.load(event("\ud83c"))[0],
        halves.load(b'{"usage": {"total_tokens": 3}}')[0],
        halves.load(event("\udf89"))[0],
    )
    assert (said(first), other, said(second)) == ("", {"usage": {"total_tokens": 3}}, "🎉")


@pytest.mark.parametrize(
    ("texts", "whole"), [(["\udf89x"], "�x"), (["x\ud83c", "y"], "x�y"), (["\ud83c\ud83cx"], "��x")]
)
def test_a_half_that_stays_alone_is_replaced(texts, whole):
    halves = Halves()
    assert "".join(said(halves.load(event(text))[0]) for text in texts) == whole


def test_no_more_is_kept_than_a_reply_can_need():
    halves = Halves()
    for number in range(10 * MOST_HELD):
        halves.load(json.dumps({str(number): "\ud83c"}).encode())
    assert len(halves._held) == MOST_HELD


@pytest.mark.parametrize(
    "bad", [b"{", b'{"x": "\xff"}', b'{"x": "\\ud83c"', b"[" * 100_000 + b'"\\ud83c"' + b"]" * 100_000]
)
def test_nonsense_stays_nonsense(bad):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever library finds it
        Halves().load(bad)
