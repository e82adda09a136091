"""What an embedder may say about methods, headers and limits; all of it is read once, at start."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor


class Framing(enum.Enum):
    """How the messages of a server stream become one HTTP body."""

    NDJSON = "application/x-ndjson"
    SSE = "text/event-stream"
    JSON_ARRAY = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A sibling method that is called instead when a bool field of the decoded request is true.

    `when_field` is a field of the request type, `method` the sibling's full name (`pkg.Service.Method`). The sibling
    has the same request type; its own options decide the success code, the framing and the error style.
    """

    when_field: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodOptions:
    """What `google.api.http` cannot say about one method.

    - `success_code`: HTTP status of a success, 200 to 299; 204 and 205 send no body.
    - `framing`: of a server stream; None lets the request's Accept header choose.
    - `end_marker`: data of a last SSE record after a stream that ended well, such as `[DONE]`; empty for none.
    - `event_ids`: number SSE records with `id:` lines; None does so where Accept chose SSE, not where `framing` did,
      since clients with a framing of their own often read nothing but `data:` lines.
    - `error_style`: name of one of the transcoder's error styles; empty for the default.
    - `header_error_style`: name of a header, and of the style for requests that have it.
    - `ignore_unknown`: drop unknown JSON fields and query parameters; None is the profile's choice.
    - `emit_defaults`: write fields that hold their default; None is the profile's choice.
    - `trailing_slash`: accept the path with and without a `/` at its end, without a redirect.
    - `alternative`: see `Alternative`.
    - `default_timeout`: deadline of a call without a timeout header, in seconds.
    - `max_timeout`: longest deadline that a timeout header can ask for, in seconds; more is cut to it.
    - `idle_timeout`: longest silence of a stream between two messages, in seconds; then it ends with an error.
    - `max_body_bytes`: largest body of a request that is one message; more is 413.
    - `max_message_bytes`: largest single message of a streamed request body.
    - `max_stream_bytes`: largest streamed request body as a whole.
    - `query_fields`: top-level fields that the query may set where the body is "*", and over what the body says.
    """

    success_code: int = 200
    framing: Framing | None = None
    end_marker: str = ""
    event_ids: bool | None = None
    error_style: str = ""
    header_error_style: tuple[str, str] | None = None
    ignore_unknown: bool | None = None
    emit_defaults: bool | None = None
    trailing_slash: bool = False
    alternative: Alternative | None = None
    default_timeout: float = 60.0
    max_timeout: float = 3600.0
    idle_timeout: float = 300.0
    max_body_bytes: int = 1 << 20
    max_message_bytes: int = 1 << 20
    max_stream_bytes: int = 1 << 30
    query_fields: Sequence[str] = ()

    def faults(self) -> list[str]:
        """Return what is wrong with these options, one sentence each."""
        found = []
        if not 200 <= self.success_code <= 299:
            found.append(f"success_code is 200 to 299, not {self.success_code}")
        if "\n" in self.end_marker or "\r" in self.end_marker:
            found.append("end_marker must be one line")
        timeouts = ("default_timeout", "max_timeout", "idle_timeout")
        positive = (*timeouts, "max_body_bytes", "max_message_bytes", "max_stream_bytes")
        found += [f"{n} must be greater than 0, not {getattr(self, n)}" for n in positive if getattr(self, n) <= 0]
        return found


MethodOptionsSource = Callable[[MethodDescriptor], MethodOptions]
"""Tells the options of a method; called once for each method, at start."""


def default_method_options(_method: MethodDescriptor) -> MethodOptions:
    """Return the defaults for every method."""
    return MethodOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRules:
    """Which headers become metadata, and which metadata become headers.

    Names are compared in lower case with `_` and `.` read as `-`.

    - `forwarded`: request headers that pass by their own name. An embedder that reads `authorization` itself leaves
      it out here and puts it into `reserved`.
    - `reserved`: metadata names, or prefixes ending in `-`, that no client may set in any spelling and no backend
      may send to a client. `grpc-` and the names of HTTP's own framing are always reserved.
    - `returned`: metadata that become response headers by their own name; a `*` at the end stands for any rest.
    - `status_code`: name of metadata by which a backend chooses another success status (200 to 299) for one call;
      empty for none.
    - `body_length`: name of metadata by which a backend tells how many bytes a streamed google.api.HttpBody has, so
      that the response has a Content-Length and can be asked for by its last bytes; empty for none.
    - `body_offset`: name of metadata by which a backend is told where a Range begins in a streamed google.api.HttpBody,
      and says where the bytes that it sends begin; one that does not say so begins at the first. With `-if` behind the
      name it is told the entity tag, or the time, that this depends on. Empty for none.
    - `forward_address`: pass `x-forwarded-for` with the peer's address added, and `x-forwarded-host`.
    """

    forwarded: tuple[str, ...] = (
        "authorization",
        "traceparent",
        "tracestate",
        "baggage",
        "idempotency-key",
        "accept-language",
    )
    reserved: tuple[str, ...] = ()
    returned: tuple[str, ...] = (
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-language",
        "content-range",
        "etag",
        "last-modified",
        "link",
        "location",
        "retry-after",
        "vary",
        "www-authenticate",
        "x-ratelimit-*",
    )
    status_code: str = "x-http-code"
    body_length: str = "x-body-length"
    body_offset: str = "x-body-offset"
    forward_address: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOrigin:
    """Which pages of other origins may call. Without any, browsers go by their same-origin rule.

    WebSockets are for pages of the server's own host and of these origins, and for programs, which send no Origin.

    - `origins`: a scheme, a host and maybe a port each, as browsers write them (`https://game.example`); `*` is any.
    - `headers`: request headers that pages may send beside those that the transcoder reads or passes on by name; a
      `*` at the end stands for any rest.
    - `credentials`: let browsers send cookies and the like along; not with `*`.
    - `max_age`: seconds for which browsers may remember what a preflight was told.

    What of a response pages may read is every header that it has.
    """

    origins: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds over all methods.

    - `max_header_bytes`: names and values of a request's headers together; more is 431.
    - `max_path_bytes`: of the path; more is 414.
    - `max_calls`: requests under way at once; more are 503 with Retry-After.
    - `max_streams`: streamed replies among them.
    - `body_timeout`: longest time a unary request body may take to arrive, in seconds; then 408.
    - `heartbeat`: seconds of silence after which an SSE stream sends a comment.
    - `disconnect_check`: seconds after which a call that is still running begins to watch for its client leaving.
      Fast calls never pay for the watching; a client that leaves is noticed at most this late.
    """

    max_header_bytes: int = 32 << 10
    max_path_bytes: int = 8 << 10
    max_calls: int = 10_000
    max_streams: int = 5_000
    body_timeout: float = 30.0
    heartbeat: float = 15.0
    disconnect_check: float = 0.025
