"""Vectors without a language model."""

import base64
import math
import struct

import pytest

from services.chat.media.local_vectors import in_base64, vector_of, words_of


def cosine(one: str, other: str) -> float:
    vectors = (vector_of(words_of(text), 256) for text in (one, other))
    return sum(x * y for x, y in zip(*vectors, strict=True))


def test_texts_are_near_by_the_words_that_they_share():
    assert cosine("the cat sat", "The cat sat.") > cosine("the cat sat", "the dog ran") > cosine("the cat", "taxes")


@pytest.mark.parametrize("text", ["x", " ", "¿?", "雪", "a " * 5000])
@pytest.mark.parametrize("dimensions", [1, 2, 256])
def test_every_text_has_a_vector_of_length_one(text: str, dimensions: int):
    vector = vector_of(words_of(text), dimensions)
    assert len(vector) == dimensions
    assert math.isclose(math.fsum(value * value for value in vector), 1, abs_tol=1e-5)


def test_the_same_text_has_the_same_vector_on_every_machine():
    assert [round(value, 4) for value in vector_of(["gaia"], 4)] == [-0.4082, -0.8165, -0.4082, 0.0]
    assert in_base64(vector_of(["gaia"], 4)) == base64.b64encode(struct.pack("<4f", *vector_of(["gaia"], 4))).decode()
