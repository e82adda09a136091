"""Vectors without a language model, for development: texts that share words lie near each other, and that is all.

Each word adds to eight places of the vector, which its hash says. The same text has the same vector on every machine.
"""

import array
import base64
import hashlib
import math
import re
import sys

DIMENSIONS = 256
MAX_DIMENSIONS = 3072
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Returns the words of a text; one that has none is its own only word."""
    return _WORD.findall(text.lower()) or [text]


def vector_of(words: list[str], dimensions: int) -> "array.array[float]":
    """Returns the unit vector of a text's words."""
    vector = array.array("f", bytes(4 * dimensions))
    for word in words:
        # Four bytes say a place and a direction.
        digest = hashlib.blake2b(word.encode(), digest_size=32).digest()
        for at in range(0, 32, 4):
            number = int.from_bytes(digest[at : at + 4], "big")
            vector[(number >> 1) % dimensions] += 1 if number & 1 else -1
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        # What its words say cancels out: any direction is as good.
        vector[0], length = 1.0, 1.0
    return array.array("f", (value / length for value in vector))


def in_base64(vector: "array.array[float]") -> str:
    """Encodes a vector as OpenAI does: 32-bit floats, the lowest byte first."""
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
