"""How a call was served, where that changes its price: what its request asked for, and what its reply tells."""

from collections.abc import Mapping
from typing import Any

from services.chat.pricing import Conditions
from services.chat.turn import Served, Turn

NAMES = ("inference_geo", "service_tier", "speed")

_TIERS = frozenset({"priority", "flex", "batch", "fast", "ultrafast", "us"})
"""Ways of being served that have prices of their own somewhere; any other word changes no price."""


def asked_tier(turn: Turn) -> Conditions:
    """Returns what of a request changes its price: a dearer or cheaper way of being served that it asks for."""
    if turn.original is None:
        return ()
    body = turn.original.body
    return tuple((name, value) for name in NAMES if isinstance(value := body.get(name), str) and value in _TIERS)


def told_tier(said: Mapping[str, Any]) -> Served:
    """Returns how a reply says that it was served, from the object of it that says so."""
    if not (said.get("service_tier") or said.get("speed") or said.get("inference_geo")):
        return ()
    return tuple((name, value) for name in NAMES if isinstance(value := said.get(name), str))


def served_tier(asked: Conditions, told: Served) -> Conditions:
    """Returns what a reply is priced by: what it tells goes before what was asked for."""
    if not told:
        return asked
    known = dict((*asked, *told))
    return tuple((name, value) for name in NAMES if (value := known.get(name)) in _TIERS)
