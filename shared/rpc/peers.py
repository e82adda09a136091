"""Where a call came from: the caller's own address, or that of the client that it speaks for."""

import contextvars
from typing import Any
from urllib.parse import unquote

from shared import telemetry

MAX_ADDRESS = 64

_told: contextvars.ContextVar[str] = contextvars.ContextVar("told_address", default="")
_believed: contextvars.ContextVar[bool] = contextvars.ContextVar("told_address_believed", default=True)


def hear(told: str | bytes | None) -> None:
    """Notes what a call's metadata say of its client's address."""
    _told.set(told[:MAX_ADDRESS] if isinstance(told, str) else "")


def believe(believed: bool) -> None:
    """Says whether the current call's caller is believed about the client that it speaks for.

    With TLS its certificate decides. Without, whoever shows an identity token may be the edge; who shows a key of its
    own speaks for itself. Said last is what holds.
    """
    _believed.set(believed)


def is_believed() -> bool:
    """Whether the current call's caller is believed about the client that it speaks for."""
    return _believed.get()


def settle_address(context: Any) -> None:
    """Sets `telemetry.client_address` for the current call: what was told, if it is believed, else the caller's own."""
    told = _told.get()
    telemetry.client_address.set(told if told and _believed.get() else peer_address(context.peer()))


def peer_address(peer: str) -> str:
    """Returns the address in what gRPC calls a peer, such as `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    family, _, rest = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6"):
        return family
    return rest.rpartition(":")[0].strip("[]")[:MAX_ADDRESS]
