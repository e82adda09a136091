"""Estimating tokens."""

import pytest

from services.chat.tokens import (
    estimate,
    most_per_picture,
    most_predicted,
    most_tokens,
    newest_that_fit,
    turn_tokens,
    with_counts,
)
from services.chat.turn import (
    Dialect,
    Document,
    Image,
    Message,
    Original,
    Role,
    Text,
    Thinking,
    Tool,
    Turn,
    say,
)


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


def talk(*texts: str):
    return [say(Role.USER if at % 2 == 0 else Role.ASSISTANT, text) for at, text in enumerate(texts)]


def test_what_a_provider_counted_goes_before_the_estimate():
    said = talk("instructions and a question", "an answer", "another question", "another answer")
    counted = with_counts(said, [None, 30, None, 37], [None, 3, None, 2])
    assert [one.tokens for one in counted] == [None, 3, 4, 2]
    assert estimate(counted[2]) == 4 + 4


@pytest.mark.parametrize("read", [20, 33, 500])
def test_a_count_that_cannot_be_the_questions_is_passed_over(read: int):
    said = talk("a question", "an answer", "another question", "another answer")
    assert with_counts(said, [None, 30, None, read], [None, 3, None, 2])[2].tokens is None


def test_replies_of_which_nothing_is_known_leave_the_estimate():
    said = talk("a question", "an answer", "another question", "another answer")
    assert [one.tokens for one in with_counts(said, [None] * 4, [None] * 4)] == [None] * 4


BODY = {"model": "m", "messages": [{"role": "user", "content": "x" * 300}]}
DATA = "data:image/png;base64," + "A" * 100_000


def test_the_most_that_a_turn_can_take_is_never_less_than_its_bytes():
    turn = Turn([say(Role.USER, "字" * 100)], tools=[Tool("f", "does", {"type": "object"})])
    assert most_tokens(turn) > 300
    assert most_tokens(Turn((), original=Original(Dialect.CHAT_COMPLETIONS, BODY))) > 300
    assert turn_tokens(turn) < most_tokens(turn)


def test_a_picture_counts_as_one_and_nothing_else_is_taken_for_one():
    image = {"type": "image_url", "image_url": {"url": DATA}}
    picture = Turn((), original=Original(Dialect.CHAT_COMPLETIONS, {"messages": [{"content": [image]}]}))
    assert 1_600 < turn_tokens(picture) < most_tokens(picture) < 20_000
    text = Turn((), original=Original(Dialect.CHAT_COMPLETIONS, {"messages": [{"content": DATA}]}))
    assert most_tokens(text) > 100_000
    source = {"type": "base64", "media_type": "application/pdf", "data": "A" * 100_000}
    document = {"type": "document", "source": source}
    pdf = Turn((), original=Original(Dialect.MESSAGES, {"messages": [{"content": [document]}]}))
    assert most_tokens(pdf) > 100_000
    parts = (Document(media_type="application/pdf", data="A" * 100_000), Thinking("hm"), Image(data="A"))
    assert most_tokens(Turn([Message(Role.USER, parts)])) > 100_000


def most(**body: object) -> int:
    return most_tokens(Turn((), original=Original(Dialect.RESPONSES, body)))


def test_what_a_model_counts_for_a_picture_at_the_most_depends_on_its_maker():
    # Eight tiles of the finest mode.
    assert most_per_picture("gpt-4o-mini-2024-07-18") >= 2_833 + 8 * 5_667
    assert most_per_picture("gpt-4o") < most_per_picture("qwen2.5-vl") < most_per_picture("gpt-4o-mini")


def test_a_picture_in_its_original_size_counts_for_several():
    picture = {"type": "input_image", "image_url": DATA}
    plain, fine = (
        most(input=[{"role": "user", "content": [one]}]) for one in (picture, {**picture, "detail": "original"})
    )
    # Ten thousand patches, of up to 2.46 tokens each.
    assert fine - plain > 20_000


def test_a_picture_of_a_screen_is_one():
    screen = {"type": "computer_screenshot", "image_url": DATA}
    assert 8_000 < most(input=[{"type": "computer_call_output", "call_id": "c", "output": screen}]) < 20_000


def test_what_only_looks_like_a_picture_is_read():
    assert most(input=[{"role": "user", "content": [{"type": "input_text", "text": "x", "url": DATA}]}]) > len(DATA)


def test_tools_of_a_providers_own_bring_words_of_their_own():
    function, own = {"type": "function", "name": "f"}, {"type": "computer_20251124", "name": "computer"}
    assert most(tools=[own, own]) - most(tools=[function, function]) > 1_500


def test_words_that_were_foretold_are_paid_for_though_they_do_not_come_true():
    body = {"messages": [], "prediction": {"type": "content", "content": "x" * 1000}}
    assert most_predicted(Turn((), original=Original(Dialect.CHAT_COMPLETIONS, body))) > 1000
    assert most_predicted(Turn(())) == 0
