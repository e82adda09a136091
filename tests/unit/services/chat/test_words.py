"""Keeping words whole."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.chat.words import MAX_HELD, MAX_HELD_OBJECT, MAX_HELD_UNSPACED, WholeWords


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


OBJECT = '{"say": "a \\"quoted\\" {word}", "at": {"x": 1, "y": [2, 3]}}'


@given(st.lists(st.integers(0, len(OBJECT) + 8), max_size=6))
def test_a_json_object_stays_whole_however_it_arrives(cuts):
    text = f"go: {OBJECT} now"
    places = [0, *sorted(cuts), len(text)]
    pieces = pieces_of(*(text[a:b] for a, b in itertools.pairwise(places)))
    assert "".join(pieces) == text
    assert any(OBJECT in piece for piece in pieces)


@given(st.lists(st.text(alphabet='{}" \\\nab', max_size=6)))
def test_nothing_is_lost_whatever_only_looks_like_an_object(texts):
    assert "".join(pieces_of(*texts)) == "".join(texts)


def test_a_brace_of_other_languages_holds_nothing_up():
    assert pieces_of("if x {", " y = 1 }", " end") == ["if x ", "{ y = 1 ", "} ", "end"]


def test_an_object_without_end_is_passed_on_before_it_grows_too_long():
    words = WholeWords()
    assert words.add('{"a": "' + "x " * 100) == ""
    assert len(words.add("x" * MAX_HELD_OBJECT)) > MAX_HELD_OBJECT
    assert words.add("b c") == "b "
