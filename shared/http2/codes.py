"""HTTP/2's error codes and HTTP's statuses, and the gRPC statuses that they stand for."""

import enum
from collections.abc import Mapping

import grpc


class ErrorCode(enum.IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):
    """What a peer sent that ends its connection: the code to tell it, and what was wrong."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """What a peer sent that ends one call: the code to tell it, and the call's status."""

    def __init__(self, code: ErrorCode, status: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status
        self.reason = reason


STATUSES = {int(status.value[0]): status for status in grpc.StatusCode}
"""gRPC's statuses by their number."""

# "HTTP2 Transport Mapping" of gRPC's PROTOCOL-HTTP2.md; what it does not name is INTERNAL.
_OF_RESET: Mapping[int, grpc.StatusCode] = {
    ErrorCode.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.CANCEL: grpc.StatusCode.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: grpc.StatusCode.PERMISSION_DENIED,
}

# gRPC's http-grpc-status-mapping.md.
_OF_HTTP = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}


def name_of(code: int) -> str:
    """Return an error code's name."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"


def status_of_reset(code: int) -> grpc.StatusCode:
    """Return the status of a call whose stream the server reset."""
    return _OF_RESET.get(code, grpc.StatusCode.INTERNAL)


def status_of_http(status: int) -> grpc.StatusCode:
    """Return the status that an HTTP status stands for, where the server gave no gRPC status."""
    return _OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
