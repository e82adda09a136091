"""What an embedder may say about its OpenAPI document beyond what the contracts do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge.transcoding.comments import Comments
from edge.transcoding.openapi_components import JsonSchema
from edge.transcoding.routes import Route

Content = Mapping[str, Mapping[str, Any]]
"""OpenAPI's media type objects by media type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What the errors of one style look like.

    - `name`: of the component that holds the schema.
    - `media_type`, `schema`: of an error response's body.
    - `record`: schema of the record that tells of an error inside a running stream; None for the same as `schema`.
    - `example`: of a body.
    """

    name: str
    media_type: str = "application/json"
    schema: JsonSchema
    record: JsonSchema | None = None
    example: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationNotes:
    """What is known of one route.

    - `remark`: a sentence to end the description with.
    - `security`: alternative requirements, each scheme names with scopes; empty for a route that anybody may call,
      None to say nothing.
    - `statuses`: further statuses with a sentence on when: successes have the content of the usual one, others an
      error body.
    - `parameters`: further parameters, such as headers.
    - `parameter_examples`: values by the parameters' names; for those that a call needs, as pages fill them in.
    - `headers`: headers of successful responses.
    - `request`, `reply`: what the bytes of a google.api.HttpBody are; also replaces what the contract says.
    - `request_example`, `reply_example`, `alternative_example`: bodies, lists of messages for streams; generated from
      the schemas where they are None. What a schema requires and an example lacks is added.
    """

    remark: str = ""
    security: Sequence[Mapping[str, Sequence[str]]] | None = None
    statuses: Mapping[int, str] = field(default_factory=dict)
    parameters: Sequence[Mapping[str, Any]] = ()
    parameter_examples: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    request: Content | None = None
    reply: Content | None = None
    request_example: Any = None
    reply_example: Any = None
    alternative_example: Any = None


def no_notes(_route: Route) -> OperationNotes:
    """Return nothing for every route."""
    return OperationNotes()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenApiOptions:
    """The document around the routes.

    - `title`, `version`, `description`: of the API; the description is Markdown.
    - `servers`: base URLs, relative ones to where the document is.
    - `comments`: of the contracts.
    - `notes`: asked once for each route.
    - `errors`: bodies of error styles by their names, over those of the transcoder's own styles.
    - `components`: named objects by their kind, such as `securitySchemes`, to which the others may refer.
    - `paths`: path items of what the embedder serves itself; placed first.
    - `tags`: tag objects of these.
    """

    title: str
    version: str
    description: str = ""
    servers: Sequence[str] = ("/",)
    comments: Comments = field(default_factory=Comments)
    notes: Callable[[Route], OperationNotes] = no_notes
    errors: Mapping[str, ErrorBody] = field(default_factory=dict)
    components: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Sequence[Mapping[str, str]] = ()


_DETAILS: JsonSchema = {
    "type": "array",
    "description": "What else is known, such as every faulty field; `@type` says which message of google.rpc it is.",
    "items": {"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": True},
}

STATUS_ERROR = ErrorBody(
    name="Status",
    schema={
        "type": "object",
        "description": "google.rpc.Status.",
        "properties": {
            "code": {"type": "integer", "format": "int32", "description": "Code of google/rpc/code.proto."},
            "message": {"type": "string", "description": "What is wrong, and what would be right."},
            "details": _DETAILS,
        },
        "required": ["code", "message", "details"],
    },
    record={"type": "object", "properties": {"error": {"$ref": "#/components/schemas/Status"}}, "required": ["error"]},
    example={"code": 3, "message": "page_size: expected an integer", "details": []},
)
"""The bodies of `errors.StatusStyle`."""

PROBLEM_ERROR = ErrorBody(
    name="Problem",
    media_type="application/problem+json",
    schema={
        "type": "object",
        "description": "A problem (RFC 9457).",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer", "format": "int32", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What is wrong, and what would be right."},
            "code": {"type": "string", "description": "Name of a code of google/rpc/code.proto."},
            "request_id": {"type": "string"},
            "details": _DETAILS,
        },
        "required": ["type", "title", "status", "detail", "code", "request_id", "details"],
    },
)
"""The bodies of `errors.ProblemStyle`."""
