"""How Gaia's errors look to each family of clients. The table from gRPC to HTTP is `edge.transcoding.errors`'."""

from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2

from edge.transcoding.errors import ErrorStyle, Status, StatusStyle

PLAIN, OPENAI, ANTHROPIC = "plain", "openai", "anthropic"

JSON = "application/json"
_STATUSES = {"BAD_UPSTREAM": 502, "FILE_TOO_LARGE": 413, "PROVIDER_OVERLOADED": 529, "PROVIDER_TOO_LARGE": 413}
"""Statuses by the reasons that ask for them."""


def http_status(status: Status) -> int | None:
    """Returns the HTTP status that a reason asks for, None for that of the table: a provider's nonsense is 502."""
    return _STATUSES.get(_reason(status.details))


def style_of_path(path: str) -> str:
    """Names the style for a path that no route matched: the one of the clients that use its neighbours."""
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if path.startswith("/v1/"):
        return OPENAI
    return PLAIN if path.startswith("/api/v0.3/") else ""


class DefaultStyle(StatusStyle):
    """`{"code","message","details","detail"}`: google.rpc.Status, with the message again where older clients look."""

    event = ""

    def value(self, status: Status) -> dict[str, Any]:
        """Returns the status as a JSON object."""
        return {**super().value(status), "detail": status.message}

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """Returns the native stream's `error` event; `provider` is there when the fault is a provider's."""
        event: dict[str, Any] = {"type": "error", "error": status.message}
        metadata = _error_info(status.details).metadata
        if provider := metadata.get("provider"):
            event["provider"] = provider
        event["fallback_available"] = metadata.get("fallback_available") == "true"
        return orjson.dumps({**event, "code": status.code, "request_id": request_id})


class PlainStyle:
    """`{"error": "<message>"}`."""

    event = ""

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        """Returns the message."""
        return JSON, self.record(status, http_status, request_id)

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """Returns the message."""
        return orjson.dumps({"error": status.message})


class OpenAIStyle:
    """`{"error":{"message","type","param","code"}}`, as the OpenAI SDKs read it."""

    event = ""

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        """Returns the error."""
        return JSON, self.record(status, http_status, request_id)

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """Returns the error, with its provider's own code and parameter where a provider refused the request."""
        info = _error_info(status.details)
        code = info.metadata.get("provider_code") or _OPENAI_CODES.get(info.reason)
        return orjson.dumps(
            {
                "error": {
                    "message": status.message,
                    "type": _OPENAI_TYPES.get(
                        http_status, "api_error" if http_status >= 500 else "invalid_request_error"
                    ),
                    "param": _first_field(status.details) or info.metadata.get("provider_param"),
                    "code": code or (info.reason or status.name).lower(),
                }
            }
        )


class AnthropicStyle:
    """`{"type":"error","error":{"type","message"},"request_id"}`, as the Anthropic SDKs read it."""

    event = "error"

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        """Returns the error."""
        return JSON, self.record(status, http_status, request_id)

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        """Returns the error, with the details that its SDK goes by where there are any."""
        kind = _ANTHROPIC_TYPES.get(http_status, "api_error" if http_status >= 500 else "invalid_request_error")
        error: dict[str, Any] = {"type": kind, "message": status.message}
        if details := _error_info(status.details).metadata.get("provider_details"):
            error["details"] = orjson.Fragment(details)
        return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


STYLES: dict[str, ErrorStyle] = {
    "": DefaultStyle(),
    PLAIN: PlainStyle(),
    OPENAI: OpenAIStyle(),
    ANTHROPIC: AnthropicStyle(),
}
"""Every style by the name that `MethodOptions.error_style` uses; the empty name is the default."""

_OPENAI_CODES = {"UNKNOWN_MODEL": "model_not_found"}
"""Codes that OpenAI's clients know by another name than the reason's."""
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _reason(details: tuple[AnyMessage, ...]) -> str:
    return str(_error_info(details).reason)


def _error_info(details: tuple[AnyMessage, ...]) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    return next((info for detail in details if detail.Unpack(info)), info)


def _first_field(details: tuple[AnyMessage, ...]) -> str | None:
    request = error_details_pb2.BadRequest()
    for detail in details:
        if detail.Unpack(request) and request.field_violations:
            return str(request.field_violations[0].field) or None
    return None
