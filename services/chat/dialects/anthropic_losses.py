"""What is lost when a request of Anthropic's messages is translated for a provider of another family."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from shared.errors import Violation

MAX_VIOLATIONS = 20
"""More would not help anybody to mend a list of ten thousand messages."""
ELSEWHERE = "has no counterpart for this model's provider; leave it out"

# Fields of blocks and tools that say where Anthropic shall keep a prompt, or how a tool's arguments reach the client.
_PREFERENCES = frozenset({"cache_control", "defer_loading", "eager_input_streaming", "input_examples"})


@dataclass(slots=True)
class Losses:
    """Collects both kinds of loss, so that all are told at once.

    `refused` would change what the reply is; `left_out` are names of preferences, in the order of finding.
    """

    refused: list[Violation] = field(default_factory=list)
    left_out: dict[str, None] = field(default_factory=dict)

    def refuse(self, place: str, description: str = ELSEWHERE) -> None:
        """Notes a field whose loss would change the reply."""
        if len(self.refused) < MAX_VIOLATIONS:
            self.refused.append(Violation(place, description))

    def leave_out(self, name: str) -> None:
        """Notes a preference that the provider does not heed."""
        self.left_out[name] = None

    def check_fields(self, value: Mapping[str, Any], known: AbstractSet[str], place: str) -> None:
        """Refuses the fields of an object that the translation does not know, and notes the preferences among them."""
        for name in sorted(value.keys() - known):
            if not value[name]:
                continue
            if name in _PREFERENCES:
                self.leave_out(name)
            else:
                self.refuse(f"{place}.{name[:64]}")
