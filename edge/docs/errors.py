"""What the errors of each family of clients look like, in the documentation; `edge.errors` writes them."""

from collections.abc import Mapping
from typing import Any

from edge.errors import ANTHROPIC, OPENAI, PLAIN
from edge.transcoding.openapi_options import STATUS_ERROR, ErrorBody

_TEXT = {"type": "string"}
_MESSAGE = {"type": "string", "description": "What is wrong, and what would be right."}
_REQUEST_ID = {"type": "string", "description": "Id of the request."}


def _object(description: str, properties: Mapping[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    made = {"type": "object", "properties": dict(properties), "required": required}
    return {**made, "description": description} if description else made


ERRORS: Mapping[str, ErrorBody] = {
    "": ErrorBody(
        name="Error",
        schema=_object(
            "What went wrong.",
            {
                **STATUS_ERROR.schema["properties"],
                "detail": {"type": "string", "description": "The message again, where older clients look for it."},
            },
        ),
        record=_object(
            "The last event of a native stream that failed.",
            {
                "type": {"const": "error"},
                "error": _MESSAGE,
                "code": {"type": "integer", "description": "Code of google/rpc/code.proto."},
                "request_id": _REQUEST_ID,
                "provider": {"type": "string", "description": "Id of the provider that failed, if one did."},
                "fallback_available": {"type": "boolean"},
            },
            optional=("provider",),
        ),
        example={
            "code": 3,
            "message": 'page_size: expected an integer from -2147483648 to 2147483647, got "many"',
            "details": [],
            "detail": 'page_size: expected an integer from -2147483648 to 2147483647, got "many"',
        },
    ),
    PLAIN: ErrorBody(
        name="PlainError",
        schema=_object("What went wrong.", {"error": _MESSAGE}),
        example={"error": "Missing required field: message"},
    ),
    OPENAI: ErrorBody(
        name="OpenAIError",
        schema=_object(
            "What went wrong, as OpenAI's SDKs read it.",
            {
                "error": _object(
                    "",
                    {
                        "message": _MESSAGE,
                        "type": _TEXT,
                        "param": {"type": ["string", "null"], "description": "The field that is wrong, if one is."},
                        "code": {"type": ["string", "null"]},
                    },
                )
            },
        ),
        example={
            "error": {
                "message": "there is no model gpt-6",
                "type": "not_found_error",
                "param": "model",
                "code": "not_found",
            }
        },
    ),
    ANTHROPIC: ErrorBody(
        name="AnthropicError",
        schema=_object(
            "What went wrong, as Anthropic's SDKs read it.",
            {
                "type": {"const": "error"},
                "error": _object("", {"type": _TEXT, "message": _MESSAGE}),
                "request_id": _REQUEST_ID,
            },
        ),
        example={
            "type": "error",
            "error": {"type": "not_found_error", "message": "there is no model claude-9"},
            "request_id": "5c1f6f9d1f6b4c1e8d1e0e7a3c2b4a5d",
        },
    ),
}
"""Every style by the name that `edge.errors.STYLES` gives it."""
