"""Values out of JSON that somebody else wrote."""

from typing import Any

MAX_COUNT = 2**31 - 1
"""Largest number of tokens that the contracts and the database can hold."""


def text(value: Any) -> str:
    """Returns a value that must be text. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"text is wanted, not {type(value).__name__}")
    return value


def count(value: Any) -> int:
    """Returns a value that must be a number of tokens; None is none. Raises TypeError or ValueError otherwise."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise TypeError(f"a number is wanted, not {type(value).__name__}")
    if not 0 <= value <= MAX_COUNT:
        raise ValueError("a number of tokens is negative or beyond all measure")
    return value
