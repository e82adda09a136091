"""The disagreements that are known, each with the reason why ours is right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from ruamel.yaml import YAML

FILE = Path(__file__).with_name("disagreements.yaml")


@dataclass(slots=True)
class Known:
    """A disagreement: patterns of the requests' names, what differs, and the reason; `met` counts requests."""

    requests: Sequence[str]
    differs: frozenset[str]
    reason: str
    met: int = 0
    unmet: set[str] = field(default_factory=set)

    def covers(self, name: str, differences: Sequence[str]) -> bool:
        """Whether a request's differences are these; counts it."""
        patterns = [pattern for pattern in self.requests if _matches(name, pattern)]
        if not patterns or not set(differences) <= self.differs:
            return False
        self.met += 1
        self.unmet.difference_update(patterns)
        return True


def load() -> list[Known]:
    """Return what is known."""
    entries = YAML(typ="safe", pure=True).load(FILE.read_text())
    return [
        Known(
            entry["requests"],
            frozenset(entry["differs"]),
            " ".join(entry["reason"].split()),
            unmet=set(entry["requests"]),
        )
        for entry in entries
    ]


def _matches(name: str, pattern: str) -> bool:
    # Names hold brackets, which stand for themselves.
    return fnmatchcase(name, pattern.replace("[", "[[]"))
