"""Keeping words whole."""

from hypothesis import given
from hypothesis import strategies as st

from services.chat.words import MAX_HELD, MAX_HELD_UNSPACED, WholeWords


def pieces_of(*texts: str) -> list[str]:
    words = WholeWords()
    return [piece for piece in [*map(words.add, texts), words.rest()] if piece]


@given(st.lists(st.text(alphabet="ab \n\t", max_size=8)))
def test_every_piece_but_the_last_ends_at_a_words_end_and_nothing_is_lost(texts):
    pieces = pieces_of(*texts)
    assert "".join(pieces) == "".join(texts)
    assert all(piece[-1].isspace() for piece in pieces[:-1])


def test_a_word_waits_for_its_end():
    assert pieces_of("Hel", "lo wor", "ld") == ["Hello ", "world"]


def test_a_word_without_end_is_passed_on_before_it_grows_too_long():
    words = WholeWords()
    assert words.add("x" * MAX_HELD) == ""
    assert words.add("x") == "x" * (MAX_HELD + 1)
    assert words.add("字" * (MAX_HELD_UNSPACED + 1)) == "字" * (MAX_HELD_UNSPACED + 1)
