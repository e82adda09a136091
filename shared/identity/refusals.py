"""Callers that were refused at a door, summed up until somebody writes them down."""

from dataclasses import dataclass, replace

from shared.identity.principal import Principal

MAX_REFUSALS = 200
"""Most refusals told apart between two writings; the rest is counted together, without saying where or whose."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused: credentials from an address, or a caller's call of a method for want of a scope.

    `method` is a full name such as `gaia.auth.v1.UserService.ListUsers`, empty for credentials; so are `scope`, which
    was lacking, and the ids of the caller.
    """

    address: str = ""
    method: str = ""
    scope: str = ""
    user_id: str = ""
    api_key_id: str = ""


CREDENTIALS = Refusal()
DENIED = Refusal(method="*")
"""Calls of too many callers to too many methods to be told apart."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often something was refused, and the id of the first such request."""

    what: Refusal
    count: int
    request_id: str


class RefusalCounter:
    """Counts refusals. Takes a bounded amount of memory, however many there are and wherever they come from."""

    def __init__(self) -> None:
        self._counted: dict[Refusal, Refusals] = {}

    def record(self, address: str, request_id: str) -> None:
        """Notes that credentials from an address were refused."""
        self.add(Refusal(address), request_id)

    def deny(self, principal: Principal, method: str, scope: str, address: str, request_id: str) -> None:
        """Notes that a caller lacked the scope that a method needs."""
        self.add(Refusal(address, method, scope, principal.user_id, principal.api_key_id), request_id)

    def add(self, what: Refusal, request_id: str, count: int = 1) -> None:
        """Notes that something was refused, so many times."""
        if what not in self._counted and len(self._counted) >= MAX_REFUSALS:
            what = DENIED if what.method else CREDENTIALS
        known = self._counted.get(what)
        self._counted[what] = (
            Refusals(what, count, request_id) if known is None else replace(known, count=known.count + count)
        )

    def drain(self) -> list[Refusals]:
        """Returns what was counted, and starts again."""
        counted, self._counted = self._counted, {}
        return list(counted.values())

    def put_back(self, refusals: list[Refusals]) -> None:
        """Takes back what could not be written."""
        for one in refusals:
            self.add(one.what, one.request_id, one.count)
