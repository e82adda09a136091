"""Credentials that were refused, summed up by address until somebody writes them down."""

from dataclasses import dataclass

MAX_ADDRESSES = 200
"""Most addresses told apart between two writings; the rest is counted together under an empty one."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often credentials from an address were refused, and the id of the first such request."""

    address: str
    count: int
    request_id: str


class RefusalCounter:
    """Counts refusals. Takes a bounded amount of memory, however many there are and wherever they come from."""

    def __init__(self) -> None:
        self._counted: dict[str, Refusals] = {}

    def record(self, address: str, request_id: str, count: int = 1) -> None:
        """Notes that credentials from an address were refused."""
        if address not in self._counted and len(self._counted) >= MAX_ADDRESSES:
            address = ""
        known = self._counted.get(address)
        self._counted[address] = Refusals(
            address, count + (known.count if known else 0), known.request_id if known else request_id
        )

    def drain(self) -> list[Refusals]:
        """Returns what was counted, and starts again."""
        counted, self._counted = self._counted, {}
        return list(counted.values())

    def put_back(self, refusals: list[Refusals]) -> None:
        """Takes back what could not be written."""
        for one in refusals:
            self.record(one.address, one.request_id, one.count)
