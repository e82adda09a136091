"""Checks of fields in requests of OpenAI's dialects: of what kind they are; what they may hold is OpenAI's to say."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from shared.errors import Violation

MAX_MODEL_NAME = 200
MAX_VIOLATIONS = 20
"""More would not help anybody to mend a list of ten thousand messages."""

Check = Callable[[Any], str]
"""Returns what a value must be, and nothing where it is that."""


def faults(body: Mapping[str, Any], checks: Mapping[str, Check], required: AbstractSet[str]) -> list[Violation]:
    """Returns what is wrong with the fields of a request; a field that is null is left out."""
    found = []
    for name, check in checks.items():
        value = body.get(name)
        if value is None:
            if name in required:
                found.append(Violation(name, "is missing"))
        elif wanted := check(value):
            found.append(Violation(name, f"must be {wanted}"))
    return found


def is_a(kind: type | tuple[type, ...], wanted: str) -> Check:
    """Makes the check of a value's kind."""
    return lambda value: "" if isinstance(value, kind) else wanted


def number(low: float, high: float) -> Check:
    """Makes the check of a number within bounds."""

    def check(value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number and low <= value <= high else f"a number from {low:g} to {high:g}"

    return check


def whole(value: Any) -> str:
    """Checks a whole number."""
    return "" if isinstance(value, int) and not isinstance(value, bool) else "an integer"


def count(value: Any) -> str:
    """Checks a number of things, of which there is at least one."""
    return "" if not whole(value) and value >= 1 else "an integer of 1 or more"


def model_name(value: Any) -> str:
    """Checks the name of a model."""
    if isinstance(value, str) and 0 < len(value) <= MAX_MODEL_NAME:
        return ""
    return f"a string of 1 to {MAX_MODEL_NAME} characters"


def strings(value: Any) -> str:
    """Checks a list of strings."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ""
    return "a list of strings"


def metadata(value: Any) -> str:
    """Checks the notes that a client makes on its request."""
    if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
        return ""
    return "an object whose values are strings"


def unknown(holder: Mapping[str, Any], known: AbstractSet[str]) -> list[str]:
    """Returns the names of what an object holds beside the fields known."""
    return [name for name, value in holder.items() if name not in known and value is not None]


def bounded(violations: Sequence[Violation]) -> Sequence[Violation]:
    """Returns as many violations as are told at once."""
    return violations[:MAX_VIOLATIONS]
