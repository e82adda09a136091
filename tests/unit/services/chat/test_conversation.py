"""From a stored conversation to a model's messages."""

import pytest

from services.chat.catalogue import ModelSpec
from services.chat.conversation import assemble, history_characters
from services.chat.turn import Role, say
from shared.errors import InvalidArgument

SMALL = ModelSpec("small", "p", context_window=100)
UNKNOWN = ModelSpec("unknown", "p")


def history(*texts: str):
    return [say(Role.USER if at % 2 == 0 else Role.ASSISTANT, text) for at, text in enumerate(texts)]


def test_instructions_history_and_message_come_in_this_order():
    messages = assemble("Be kind.", history("one", "two"), "three", SMALL, None)
    assert [(one.role.value, one.text) for one in messages] == [
        ("system", "Be kind."),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]


def test_history_gives_way_to_the_room_of_the_reply():
    past = history("a" * 60, "b" * 60, "c" * 30, "d" * 30)
    assert [one.text[0] for one in assemble("", past, "e", SMALL, None)] == ["c", "d", "e"]
    assert [one.text[0] for one in assemble("", past, "e", SMALL, 10)] == ["a", "b", "c", "d", "e"]
    assert [one.text[0] for one in assemble("", past, "e", SMALL, 10_000)] == ["c", "d", "e"]


def test_history_never_begins_with_an_answer():
    past = history("a" * 210, "b" * 30)
    assert [one.text[0] for one in assemble("", past, "c", SMALL, None)] == ["c"]


def test_a_message_that_cannot_fit_is_refused_where_the_window_is_known():
    with pytest.raises(InvalidArgument, match="small reads at most 100"):
        assemble("", [], "x" * 301, SMALL, None)
    assert assemble("", [], "x" * 100_000, UNKNOWN, None)[-1].text


def test_no_more_history_is_read_than_can_fit():
    assert history_characters(SMALL) == 600
    assert history_characters(UNKNOWN) > 20_000
