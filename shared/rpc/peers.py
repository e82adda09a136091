"""Where a call came from."""

from typing import Any
from urllib.parse import unquote

from shared.rpc.metadata import CLIENT_ADDRESS

MAX_ADDRESS = 64


def address_of(context: Any) -> str:
    """Returns the address that a call came from: the client's where the edge tells it, else the caller's own."""
    for name, value in context.invocation_metadata() or ():
        if name == CLIENT_ADDRESS and isinstance(value, str):
            return value[:MAX_ADDRESS]
    return peer_address(context.peer())


def peer_address(peer: str) -> str:
    """Returns the address in what gRPC calls a peer, such as `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    family, _, rest = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6"):
        return family
    return rest.rpartition(":")[0].strip("[]")[:MAX_ADDRESS]
