"""Checking the fields of a request: everything that is wrong with it is told at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.errors import InvalidArgument, Violation

MAX_MODEL_NAME = 200
Check = Callable[[Any], str]
"""Returns what would be right, empty where a value is."""


def check(body: Mapping[str, Any], checks: Mapping[str, Check], required: Sequence[str]) -> None:
    """Raises InvalidArgument that names every field that is missing or wrong; None counts as missing."""
    found = [
        Violation(name, "is missing") if value is None else Violation(name, f"must be {wanted}")
        for name, one in checks.items()
        if ((value := body.get(name)) is None and name in required) or (value is not None and (wanted := one(value)))
    ]
    if found:
        raise InvalidArgument.of(*found)


def text(most: int, *, least: int = 1) -> Check:
    """Wants a text of so many characters."""
    wanted = f"a string of {least} to {most:,} characters"
    return lambda value: "" if isinstance(value, str) and least <= len(value) <= most else wanted


def one_of(*choices: str) -> Check:
    """Wants one of the choices."""
    wanted = f"one of {', '.join(choices)}"
    return lambda value: "" if value in choices else wanted


def number(low: float, high: float) -> Check:
    """Wants a number."""

    def fits(value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number and low <= value <= high else f"a number from {low:g} to {high:g}"

    return fits


def integer(low: int, high: int) -> Check:
    """Wants an integer."""

    def fits(value: Any) -> str:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return "" if is_integer and low <= value <= high else f"an integer from {low} to {high}"

    return fits


def switch(value: Any) -> str:
    """Wants true or false."""
    return "" if isinstance(value, bool) else "true or false"


def thing(value: Any) -> str:
    """Wants an object."""
    return "" if isinstance(value, dict) else "an object"


model = text(MAX_MODEL_NAME)
