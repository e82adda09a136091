"""Pages of other origins: the CORS protocol of the Fetch standard (section 3.2), and the Origin of WebSockets."""

import re
from collections.abc import Iterable, Sequence

from edge.transcoding.errors import Code, RpcFailure, failure
from edge.transcoding.headers import READ_NAMES, Header
from edge.transcoding.options import CrossOrigin

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/,*]+\Z")
_ANY = "*"
_VARY: Header = (b"vary", b"origin")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443", b"ws": b":80", b"wss": b":443"}
# What a page may read without being told (CORS-safelisted response headers), and what is not the page's business.
_NOT_EXPOSED = frozenset(
    (
        b"cache-control",
        b"content-language",
        b"content-length",
        b"content-type",
        b"expires",
        b"last-modified",
        b"pragma",
        b"vary",
        b"connection",
        b"content-encoding",
    )
)
# What clients of gRPC-Web, of Connect, and of event streams send.
_PROTOCOL_NAMES = (
    "cache-control",
    "connect-protocol-version",
    "connect-timeout-ms",
    "grpc-accept-encoding",
    "grpc-encoding",
    "last-event-id",
    "x-grpc-web",
    "x-user-agent",
)
_METHOD = re.compile(rb"[A-Za-z-]{1,40}\Z")
_METADATA_NAMES = "grpc-metadata-*"


class OriginPolicy:
    """Tells browsers what pages of other origins may do.

    `forwarded` are request headers that pages may send beside those that the transcoder reads itself and those of the
    rules. Raises ValueError with everything that is wrong with the rules.
    """

    def __init__(self, rules: CrossOrigin, forwarded: Iterable[str] = ()) -> None:
        faults = [
            f'"{origin}" is no origin; write a scheme, a host and maybe a port, such as https://game.example:8443, or *'
            for origin in rules.origins
            if origin != _ANY and not _ORIGIN.match(origin.lower())
        ]
        if rules.credentials and _ANY in rules.origins:
            faults.append("credentials go to named origins only, not to *")
        if faults:
            raise ValueError("; ".join(faults))
        self._any = _ANY in rules.origins
        self._named = frozenset(_as_sent(origin) for origin in rules.origins)
        self._credentials = rules.credentials
        self._max_age = b"%d" % rules.max_age
        names = [name.lower() for name in (*READ_NAMES, *_PROTOCOL_NAMES, _METADATA_NAMES, *forwarded, *rules.headers)]
        self._names = frozenset(name.encode() for name in names if not name.endswith("*"))
        self._prefixes = tuple(name[:-1].encode() for name in names if name.endswith("*"))
        self.active = bool(rules.origins)

    def complete(self, headers: list[Header], request_headers: Iterable[Header]) -> None:
        """Add to a response's headers what lets the page that asked read it."""
        origin = _value(request_headers, b"origin")
        if not self._any:
            headers.append(_VARY)
        if origin is None or not self._admits(origin):
            return
        names = dict.fromkeys(name for name, _ in headers if name not in _NOT_EXPOSED)
        exposed = b", ".join(name for name in names if not name.startswith(b"access-control-"))
        headers.append((b"access-control-allow-origin", b"*" if self._any else origin))
        if self._credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        if exposed:
            headers.append((b"access-control-expose-headers", exposed))

    def preflight(self, request_headers: Iterable[Header], allowed: Sequence[str]) -> list[Header]:
        """Return what a preflight is told beside `complete`; `allowed` are the HTTP methods of its path.

        Raises a failure of HTTP status 403 for an origin whose pages may not call.
        """
        request_headers = list(request_headers)
        origin = _value(request_headers, b"origin") or b""
        if not self._admits(origin):
            raise _refused(origin, "call")
        told = [
            (b"access-control-allow-methods", ", ".join(allowed).encode()),
            (b"access-control-max-age", self._max_age),
        ]
        asked = _value(request_headers, b"access-control-request-headers")
        names = [name.strip().lower() for name in asked.split(b",")] if asked else []
        if granted := [name for name in names if name in self._names or name.startswith(self._prefixes)]:
            told.append((b"access-control-allow-headers", b", ".join(granted)))
        return told

    def check_socket(self, request_headers: Iterable[Header]) -> None:
        """Raise a failure of HTTP status 403 for the handshake of a page that may not connect.

        Browsers let any page open a WebSocket anywhere and leave it to the server to look at its Origin. Pages of the
        server's own host and of the named origins may connect, and programs, which send no Origin.
        """
        request_headers = list(request_headers)
        origin = _value(request_headers, b"origin")
        if origin is None or self._admits(origin) or _is_of_host(origin, request_headers):
            return
        raise _refused(origin, "open a WebSocket")

    def _admits(self, origin: bytes) -> bool:
        return self._any or origin in self._named


def requested_methods(request_headers: Iterable[Header]) -> Sequence[str]:
    """Return the method that a preflight asks for, if it is one."""
    asked = _value(request_headers, b"access-control-request-method") or b""
    return (asked.decode(),) if _METHOD.match(asked) else ()


def is_preflight(request_headers: Iterable[Header]) -> bool:
    """Tell whether an OPTIONS request asks for what a page may do."""
    names = {name for name, _ in request_headers}
    return b"origin" in names and b"access-control-request-method" in names


def _as_sent(origin: str) -> bytes:
    """Return an origin as browsers send it: in lower case, without its scheme's own port."""
    lower = origin.lower().encode()
    return lower.removesuffix(_DEFAULT_PORTS.get(lower.partition(b"://")[0], b"\0"))


def _is_of_host(origin: bytes, request_headers: Iterable[Header]) -> bool:
    # The scheme is not compared: behind a proxy that speaks TLS it is another one here. A page can set neither header.
    scheme, _, authority = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme, b"\0")
    hosts = [value.lower() for name, value in request_headers if name in (b"host", b"x-forwarded-host")]
    return bool(authority) and authority.removesuffix(port) in [host.removesuffix(port) for host in hosts]


def _refused(origin: bytes, what: str) -> RpcFailure:
    shown = origin[:100].decode("latin-1")
    return failure(
        Code.PERMISSION_DENIED,
        f"header Origin: pages of {shown} may not {what} here; whoever runs this server can let them",
    )


def _value(headers: Iterable[Header], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
