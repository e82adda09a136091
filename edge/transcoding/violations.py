"""What is wrong with a request, field by field, in words that the person calling can act on."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

MAX_VIOLATIONS = 100
"""How many violations one error lists at most; a hostile body could otherwise make one of every byte."""

_PLAIN_TOKEN = re.compile(r"[A-Za-z0-9_.+-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request.

    `field` is a path such as `messages[2].content` or `labels["env"]`, the empty string for the body as a whole;
    `description` says what is wrong and what would be right.
    """

    field: str
    description: str


class BindingError(ValueError):
    """A request that does not fit its message, with every violation found (at most `MAX_VIOLATIONS`)."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(
            "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in self.violations)
        )


class BindingPlanError(LookupError):
    """A binding that its request message cannot serve: a missing field, a repeated path field, and the like."""


class EncodingError(ValueError):
    """A reply that has no JSON form, such as a timestamp in the year 20000; it is the backend's fault.

    `path` names the field, and `reason` what is wrong with its value.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {reason}" if path else reason)

    def within(self, name: str) -> "EncodingError":
        """Return the same error, seen from the message whose field `name` holds the value."""
        return EncodingError(self.reason, f"{name}.{self.path}" if self.path else name)


class RefusedError(ValueError):
    """A single value that cannot be taken; whoever knows the field's path makes a `Violation` of it."""

    def __init__(self, description: str) -> None:
        self.description = description
        super().__init__(description)


class TooManyError(Exception):
    """Ends a walk when `MAX_VIOLATIONS` are collected."""


class Violations:
    """Collects the violations of one request."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def add(self, field: str, description: str) -> None:
        """Keep one more; `TooManyError` is raised with the last that fits."""
        self._found.append(Violation(field, description))
        if len(self._found) >= MAX_VIOLATIONS:
            raise TooManyError

    def __bool__(self) -> bool:
        return bool(self._found)

    def fields(self) -> frozenset[str]:
        """Return the fields that have a violation already."""
        return frozenset(violation.field for violation in self._found)

    def extend(self, violations: Iterable[Violation]) -> None:
        """Keep those that another part of the request's binding found."""
        for violation in violations:
            self.add(violation.field, violation.description)

    def raise_if_any(self) -> None:
        """Raise one `BindingError` with all of them, if there are any."""
        if self._found:
            raise BindingError(self._found)


def shown(text: str) -> str:
    """Return a client's text for use in an error: itself where it is a short plain token, else only its kind.

    Error bodies must hold no prompts and no keys, so that nothing longer or richer than an enum's name or a number
    is repeated.
    """
    if not text:
        return "an empty text"
    return f'"{text}"' if _PLAIN_TOKEN.match(text) else f"a text of {len(text)} characters"


def named(name: str) -> str:
    """Return a field or parameter name as the client wrote it, in quotes, shortened and made printable."""
    clean = name[:64]
    if not clean.isprintable() or '"' in clean or "\\" in clean:
        # Half of a surrogate pair is not printable either, and could not be sent.
        clean = "".join(c if c.isprintable() and c not in '"\\' else "?" for c in clean)
    return f'"{clean}..."' if len(name) > 64 else f'"{clean}"'


def key_path(key: str) -> str:
    """Return a map key or an odd name as a part of a field path, such as `["env"]`."""
    return f"[{named(key)}]"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return ` (did you mean "…"?)` where a known name is near, else the empty string."""
    # The cost of difflib grows with both lengths; no field name is this long.
    if len(name) > 64:
        return ""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if not near:
        folded = {candidate.lower().replace("_", ""): candidate for candidate in known}
        match = folded.get(name.lower().replace("_", "").replace("-", ""))
        near = [match] if match else []
    return f' (did you mean "{near[0]}"?)' if near else ""
