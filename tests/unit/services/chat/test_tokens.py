"""Estimating tokens."""

from services.chat.tokens import estimate, newest_that_fit
from services.chat.turn import Image, Message, Role, Text, say


def test_the_estimate_grows_with_bytes_and_images():
    assert estimate(say(Role.USER, "abc")) == 1 + 4
    assert estimate(say(Role.USER, "字")) == 1 + 4
    assert estimate(Message(Role.USER, (Text("abc"), Image(url="https://x.test/i.png")))) > 1600


def test_the_newest_messages_that_fit_are_kept_and_no_gap_is_left():
    messages = [say(Role.USER, "x" * 3), say(Role.USER, "x" * 300), say(Role.USER, "x" * 3), say(Role.USER, "x" * 3)]
    assert newest_that_fit(messages, 10) == messages[2:]
    assert newest_that_fit(messages, 9) == messages[3:]
    assert newest_that_fit(messages, 10_000) == messages
    assert newest_that_fit(messages, 0) == []
