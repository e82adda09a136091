"""Errors: google.rpc statuses, the one table to HTTP, and how a status is written for the client."""

import base64
import enum
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import orjson
from google.protobuf import descriptor_pool, json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from edge.transcoding.violations import BindingError, Violation


class Code(enum.IntEnum):
    """The codes of google/rpc/code.proto."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: Mapping[int, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""HTTP status by google.rpc code; the numbers are those of google/rpc/code.proto's comments."""

_DETAILS_KEY = "grpc-status-details-bin"
# What a transport, gRPC's or ours, says when a backend cannot be reached or goes away; it names addresses and sockets.
_TRANSPORT = re.compile(
    r"ipv[46]:|unix:|failed to connect|connections to all backends|dns resolution|socket closed|goaway|recvmsg"
    r"|broken pipe|connection reset|stream removed|keepalive|empty address list|too_many_pings|transport"
    r"|the connection (?:was|broke|has)|the channel was closed|the server refused|wait for a connection",
    re.IGNORECASE,
)
_UNREACHABLE = "the service cannot be reached at the moment; try again"
_UNKNOWN = "the service failed in a way that it does not describe"
_SHOWN_VIOLATIONS = 5


@dataclass(frozen=True, slots=True)
class Status:
    """A google.rpc status: `code` of google/rpc/code.proto, a message for the person calling, details."""

    code: int
    message: str
    details: tuple[AnyMessage, ...] = ()

    @property
    def name(self) -> str:
        """Name of the code, such as `NOT_FOUND`."""
        return Code(self.code).name if self.code in HTTP_STATUS else Code.UNKNOWN.name


class RpcFailure(Exception):
    """Ends a request with a status, which is rendered in the route's error style.

    `http_status` replaces the table's, `headers` are added to the response (lower-case names).
    """

    def __init__(
        self, status: Status, *, http_status: int | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(status.message)
        self.status = status
        self.http_status = HTTP_STATUS.get(status.code, 500) if http_status is None else http_status
        self.headers = tuple(headers)


class ErrorStyle(Protocol):
    """How statuses are written for one family of clients."""

    @property
    def event(self) -> str:
        """Name of the SSE event that carries an error of a running stream; empty for a record without a name."""
        ...

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        """Return the media type and the body of an error response."""
        ...

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """Return the JSON value, in one line, that tells of an error inside a running stream."""
        ...


@dataclass(frozen=True, slots=True)
class StyleByHeader:
    """Implements ErrorStyle as `usual` does; `of` says that a request with the header is answered as `other` does."""

    header: bytes
    other: ErrorStyle
    usual: ErrorStyle

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> ErrorStyle:
        """Return the style for a request's headers."""
        return self.other if any(name == self.header for name, _ in headers) else self.usual

    @property
    def event(self) -> str:
        """See ErrorStyle."""
        return self.usual.event

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        """See ErrorStyle."""
        return self.usual.body(status, http_status, request_id)

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """See ErrorStyle."""
        return self.usual.record(status, http_status, request_id)


class StatusStyle:
    """`{"code","message","details"}`, as google.rpc.Status is in JSON; in a stream inside `{"error":…}`.

    Details of types that no pool knows keep their bytes, in base64, under `value`.
    """

    event = "error"

    def __init__(self, pools: Iterable[DescriptorPool] = ()) -> None:
        self._pools = (descriptor_pool.Default(), *pools)

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:  # noqa: ARG002 - the protocol's
        """Return the status as JSON."""
        return "application/json", orjson.dumps(self.value(status))

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the status as JSON under the name `error`."""
        return orjson.dumps({"error": self.value(status)})

    def value(self, status: Status) -> dict[str, Any]:
        """Return the status as a JSON object."""
        return {
            "code": status.code,
            "message": status.message,
            "details": details_as_json(status.details, self._pools),
        }


class ProblemStyle:
    """`application/problem+json` (RFC 9457), with the status's code name and details as extension members."""

    event = "error"

    def __init__(self, pools: Iterable[DescriptorPool] = ()) -> None:
        self._pools = (descriptor_pool.Default(), *pools)

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        """Return the problem document."""
        return "application/problem+json", self.record(status, http_status, request_id)

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """Return the problem document."""
        return orjson.dumps(
            {
                "type": "about:blank",
                "title": status.name.replace("_", " ").capitalize(),
                "status": http_status,
                "detail": status.message,
                "code": status.name,
                "request_id": request_id,
                "details": details_as_json(status.details, self._pools),
            }
        )


def details_as_json(details: Iterable[AnyMessage], pools: Sequence[DescriptorPool]) -> list[dict[str, Any]]:
    """Return status details as JSON objects with `@type`, each by the first pool that knows its type."""
    return [_detail(detail, pools) for detail in details]


def failure_of_call(error: grpc.aio.AioRpcError, *, hide_unknown: bool = True, retry_after: int = 0) -> RpcFailure:
    """Return what a failed call tells the client.

    Rich statuses are read from `grpc-status-details-bin`. `hide_unknown` replaces the messages of transport failures
    and of UNKNOWN statuses, and `retry_after` is the `Retry-After` of UNAVAILABLE without RetryInfo, 0 for none.
    """
    code, message = int(error.code().value[0]), error.details() or ""
    details: tuple[AnyMessage, ...] = ()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                rich = status_pb2.Status.FromString(value)
            except DecodeError:
                continue
            details = tuple(rich.details)
            message = rich.message or message
    if hide_unknown and not details:
        if code == Code.UNKNOWN:
            message = _UNKNOWN
        elif code in (Code.UNAVAILABLE, Code.INTERNAL) and _TRANSPORT.search(message):
            message = _UNREACHABLE
    if code == Code.DEADLINE_EXCEEDED and not details:
        message = "the call did not end before its deadline"
    status = Status(code, message or Code(code).name.replace("_", " ").lower(), details)
    seconds = retry_seconds(status)
    if seconds is None and code == Code.UNAVAILABLE and retry_after:
        seconds = retry_after
    return RpcFailure(status, headers=() if seconds is None else ((b"retry-after", b"%d" % seconds),))


def failure_of_binding(error: BindingError) -> RpcFailure:
    """Return INVALID_ARGUMENT with every violation in one BadRequest."""
    request = error_details_pb2.BadRequest()
    for violation in error.violations:
        request.field_violations.add(field=violation.field, description=violation.description)
    detail = AnyMessage()
    detail.Pack(request)
    return RpcFailure(Status(Code.INVALID_ARGUMENT, _summary(error.violations), (detail,)))


def failure(
    code: int, message: str, *, http_status: int | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
) -> RpcFailure:
    """Return a failure of the transcoder's own."""
    return RpcFailure(Status(code, message), http_status=http_status, headers=headers)


def retry_seconds(status: Status) -> int | None:
    """Return the delay that a status's RetryInfo asks for, in whole seconds rounded up."""
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            info = error_details_pb2.RetryInfo()
            try:
                detail.Unpack(info)
            except DecodeError:
                continue
            delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
            return max(0, math.ceil(delay))
    return None


def _summary(violations: Sequence[Violation]) -> str:
    shown = "; ".join(
        f"{v.field}: {v.description}" if v.field else v.description for v in violations[:_SHOWN_VIOLATIONS]
    )
    more = len(violations) - _SHOWN_VIOLATIONS
    return f"{shown}; and {more} more" if more > 0 else shown


def _detail(detail: AnyMessage, pools: Sequence[DescriptorPool]) -> dict[str, Any]:
    for pool in pools:
        try:
            # json_format answers with Python's floats and strings; orjson writes NaN as null, so it goes by text.
            text = json_format.MessageToJson(
                detail, preserving_proto_field_name=True, indent=None, descriptor_pool=pool
            )
        except (TypeError, DecodeError, json_format.SerializeToJsonError):
            continue
        value: dict[str, Any] = json.loads(text)
        return value
    return {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}
