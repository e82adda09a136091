"""Titles and previews, made from what was said."""

import datetime as dt
import uuid

import pytest

from services.chat.conversations import UNTITLED, Conversation, brief, parse_conversation_id
from shared.errors import NotFound

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def conversation(given: str, question: str = "", newest: str = "") -> Conversation:
    return Conversation(uuid.uuid4(), given, NOW, NOW, question, newest)


class TestTitles:
    def test_a_given_title_stands(self):
        assert conversation("Mine", "what is up?").title == "Mine"

    def test_without_one_the_first_question_is_the_title_in_one_line(self):
        assert conversation("", "  how do\n I\tcook rice? ").title == "how do I cook rice?"

    def test_nothing_said_and_nothing_given_says_so(self):
        assert conversation("").title == UNTITLED

    def test_the_preview_is_the_newest_message(self):
        assert conversation("Mine", "a", "b\nc").preview == "b c"


class TestBrief:
    def test_a_text_that_fits_is_whole(self):
        assert brief("x" * 10, 10) == "x" * 10

    def test_a_longer_one_is_cut_behind_a_word(self):
        assert brief("alpha beta gamma delta", 14) == "alpha beta…"

    @pytest.mark.parametrize("sign", ["\U0001f469\u200d\U0001f467\u200d\U0001f466", "e\u0301", "\U0001f44d\U0001f3fd"])
    def test_no_sign_is_cut_in_two(self, sign: str):
        for characters in range(12, 24):
            cut = brief(sign * 30, characters).removesuffix("…")
            assert cut
            assert cut == sign * (len(cut) // len(sign))

    @pytest.mark.parametrize("text", ["x" * 100, "a " + "x" * 100, "日本語" * 20])
    def test_a_word_that_is_too_long_is_cut_itself(self, text: str):
        assert len(brief(text, 20)) == 20


class TestIds:
    def test_what_is_no_uuid_is_not_there(self):
        with pytest.raises(NotFound, match="there is no conversation latest"):
            parse_conversation_id("latest")
