"""What a request says of its caller: the credential it brings, and the address it comes from."""

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from google.rpc import code_pb2
from starlette.types import Scope

from edge.transcoding.errors import RpcFailure, failure
from edge.transcoding.websocket import CHOSEN_SUBPROTOCOL
from shared.identity import api_key
from shared.identity.jwt_form import MAX_JWT_LENGTH
from shared.rates.addresses import subscriber_of

CHALLENGE = ((b"www-authenticate", b'Bearer realm="gaia"'),)
MISSING_KEY = "no API key; send one as X-API-Key or as Authorization: Bearer"
SUBPROTOCOL = "gaia"
"""The WebSocket subprotocol that is spoken."""
KEY_SUBPROTOCOL = "gaia.key."
"""Begins the subprotocol by which a page gives its key, since browsers let pages set no headers of a handshake."""
KEY_ALONE = "a WebSocket that gives its key as the subprotocol gaia.key.KEY offers the subprotocol gaia beside it"
TWO_KEYS = "two different API keys in one request; send one"
KEY_IN_URL = (
    "an API key in the URL, which ends up in logs and histories; send it as X-API-Key, and rotate the one in this URL"
)
_KEY_IN_URL = re.compile(rf"{api_key.PATTERN}|(?:^|&)(?:x[-_])?(?:api[-_]?)?key=".encode(), re.IGNORECASE)


def key_of(scope: Scope) -> str:
    """Returns the credential of a request: an API key, or a JWT. Raises RpcFailure when there is none, or two.

    A WebSocket may offer it as a subprotocol, and has another one accepted then.
    """
    found: set[bytes] = set()
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization":
            scheme, _, credential = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise unauthenticated("Authorization must be `Bearer <API key>`")
            found.add(credential.strip())
    if scope["type"] == "websocket":
        found.update(_offered(scope))
    found.discard(b"")
    if not found:
        raise unauthenticated(MISSING_KEY)
    if len(found) > 1:
        raise failure(code_pb2.INVALID_ARGUMENT, TWO_KEYS)
    key = found.pop()
    # What is longer than anything that could be one is not worth a digest.
    longest = MAX_JWT_LENGTH if key.startswith(b"eyJ") else api_key.MAX_LENGTH
    return key.decode("latin-1") if len(key) <= longest else ""


def _offered(scope: Scope) -> set[bytes]:
    """Returns the keys among the subprotocols of a handshake, and settles which of the others is spoken."""
    offered: Sequence[str] = scope.get("subprotocols", ())
    keys = {name.removeprefix(KEY_SUBPROTOCOL).encode() for name in offered if name.startswith(KEY_SUBPROTOCOL)}
    if SUBPROTOCOL in offered:
        scope["state"][CHOSEN_SUBPROTOCOL] = SUBPROTOCOL
    elif keys:
        raise failure(code_pb2.INVALID_ARGUMENT, KEY_ALONE)
    return keys


def address_of(scope: Scope, trusted_proxies: int) -> str:
    """Returns the caller's address: the peer's, or what the nearest untrusted hop of X-Forwarded-For is.

    Of an IPv6 address it is the /64 that it belongs to.
    """
    client = scope.get("client")
    address = client[0] if client else ""
    if trusted_proxies:
        values = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        hops = [hop.strip() for hop in values.decode("latin-1").split(",") if hop.strip()]
        if hops:
            address = hops[-min(trusted_proxies, len(hops))]
    return subscriber_of(address) or "unknown"


def refuse_key_in_url(scope: Scope) -> None:
    """Raises RpcFailure, 400, when the path or the query holds a key, or a parameter that is meant for one."""
    query: bytes = scope["query_string"]
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    if query and _KEY_IN_URL.search(unquote_to_bytes(query)):
        raise failure(code_pb2.INVALID_ARGUMENT, KEY_IN_URL)
    if (b"gaia_" in path or b"%" in path) and _KEY_IN_URL.search(unquote_to_bytes(path)):
        raise failure(code_pb2.INVALID_ARGUMENT, KEY_IN_URL)


def unauthenticated(message: str) -> RpcFailure:
    """The failure of a request whose caller is not known: 401, with the challenge that HTTP asks for."""
    return failure(code_pb2.UNAUTHENTICATED, message, headers=CHALLENGE)
