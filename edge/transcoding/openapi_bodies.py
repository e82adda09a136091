"""The bodies of an operation: what a request may send, and what the answers hold.

Forms and JSON are described; `application/x-protobuf`, which the transcoder takes and gives as well, is for programs
that have the contracts.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from edge.transcoding.bodies import raw_field_of
from edge.transcoding.media import BodyFormat
from edge.transcoding.multipart import HTTP_BODY
from edge.transcoding.openapi_components import JsonSchema, Use
from edge.transcoding.openapi_options import Content, ErrorBody
from edge.transcoding.openapi_parameters import Leaf, form_schema, leaves
from edge.transcoding.openapi_schemas import Schemas, object_schema
from edge.transcoding.options import Framing, MethodOptions
from edge.transcoding.profile import Profile
from edge.transcoding.routes import Route
from edge.transcoding.schema import Cardinality, FieldShape, MessageShape

NO_BODY = frozenset((204, 205))
"""Statuses that have no body."""
_BINARY: Content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class RequestBodies:
    """Describes request bodies; `inputs` are the shapes of request types."""

    def __init__(self, schemas: Schemas, profile: Profile) -> None:
        self._schemas = schemas
        self._forms = profile.check_media_types

    def of(self, route: Route, shape: MessageShape) -> dict[str, Any]:
        """Return the media types that a route takes, with their schemas; empty where it takes no body."""
        if not route.body:
            return {}
        captured = [variable.field_path for variable in route.template.variables]
        raw = raw_field_of(route)
        if raw is not None:
            return self._raw(shape, raw, captured)
        message = self._message(route, shape, captured)
        if route.method.client_streaming:
            array = {"type": "array", "items": message}
            return {Framing.NDJSON.value: {"schema": message}, Framing.JSON_ARRAY.value: {"schema": array}}
        content = {BodyFormat.JSON.value: {"schema": message}}
        if route.body == "*" and self._forms:
            content |= self._form(shape, captured, message)
        return content

    def _message(self, route: Route, shape: MessageShape, captured: Sequence[str]) -> JsonSchema:
        prefix = ""
        if route.body != "*":
            field = shape.by_name[route.body]
            inner = field.message
            if inner is None or field.cardinality is not Cardinality.SINGULAR:
                return self._schemas.field(field, Use.REQUEST)
            shape, prefix = inner, f"{route.body}."
        # What the path gives may be left out of the body, and so it is left out here.
        given = {path.removeprefix(prefix) for path in captured if path.startswith(prefix)}
        own = given & {field.name for field in shape.fields}
        if own:
            return self._schemas.body(f"{route.method.full_name}Body", shape, own)
        return self._schemas.message(shape, Use.REQUEST)

    def _form(self, shape: MessageShape, captured: Sequence[str], message: JsonSchema) -> dict[str, Any]:
        listed = leaves(shape, self._schemas, without=captured)
        fields = {field.name for field in shape.fields} - set(captured)
        # A form of plain fields alone looks like the JSON object.
        plain = all(leaf.is_plain for leaf in listed) and {leaf.path for leaf in listed} == fields
        schema = message if plain else form_schema(listed, self._schemas)
        content = {BodyFormat.FORM.value: {"schema": schema, **_encoding(listed)}}
        files = [field for field in shape.fields if _is_file(field) and field.name not in captured]
        if files:
            content[BodyFormat.MULTIPART.value] = self._multipart(listed, files)
        return content

    def _raw(self, shape: MessageShape, raw: str, captured: Sequence[str]) -> dict[str, Any]:
        content: dict[str, Any] = {media_type: dict(media) for media_type, media in _BINARY.items()}
        if raw:
            listed = leaves(shape, self._schemas, without=captured)
            content[BodyFormat.MULTIPART.value] = self._multipart(listed, [shape.by_name[raw]])
        return content

    def _multipart(self, listed: Sequence[Leaf], files: Sequence[FieldShape]) -> dict[str, Any]:
        names = tuple(field.name for field in files)
        texts = [leaf for leaf in listed if leaf.path.partition(".")[0] not in names]
        schema = form_schema(texts, self._schemas)
        for field in files:
            schema.setdefault("properties", {})[self._schemas.name_of(field)] = self._schemas.file(field)
        return {"schema": schema, **_encoding(texts)}


class ReplyBodies:
    """Describes the bodies of successful answers and of errors."""

    def __init__(self, schemas: Schemas, profile: Profile, errors: Mapping[str, ErrorBody]) -> None:
        self._schemas = schemas
        self._profile = profile
        self._errors = errors
        self.records: dict[str, JsonSchema] = {}
        """The schemas of errors inside streams, by the names that `of` has referred to them by."""

    def of(self, output: MessageShape, options: MethodOptions, response_body: str, *, streams: bool) -> dict[str, Any]:
        """Return the media types of a method's answers, with their schemas; empty where it answers without a body."""
        if options.success_code in NO_BODY:
            return {}
        profile = self._profile
        emits = profile.emit_defaults if options.emit_defaults is None else options.emit_defaults
        use = Use.REPLY if emits else Use.SPARSE_REPLY
        field = reply_field(output, response_body)
        if is_raw(output, response_body):
            return {media_type: dict(media) for media_type, media in _BINARY.items()}
        schema = self._schemas.field(field, use) if field is not None else self._schemas.message(output, use)
        return self._streamed(schema, options) if streams else {BodyFormat.JSON.value: {"schema": schema}}

    def error(self, styles: Sequence[str], *, with_example: bool) -> dict[str, Any]:
        """Return the media types of error bodies in some styles, with their schemas; the first may have an example."""
        schemas: dict[str, list[JsonSchema]] = {}
        for style in dict.fromkeys(styles):
            body = self._errors[style]
            schemas.setdefault(body.media_type, []).append(reference(body.name))
        content: dict[str, Any] = {
            media_type: {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
            for media_type, found in schemas.items()
        }
        first = self._errors[styles[0]]
        if with_example and first.example is not None:
            content[first.media_type]["example"] = first.example
        return content

    def _streamed(self, message: JsonSchema, options: MethodOptions) -> dict[str, Any]:
        """Return the framings of a stream, each with the schema of one record, or of the whole array."""
        body = self._errors[options.error_style]
        record = reference(body.name)
        if self._profile.stream_envelope:
            result = object_schema({"result": message}, ["result"])
            failed = object_schema({"error": reference(body.name)}, ["error"])
            return {BodyFormat.JSON.value: {"schema": {"anyOf": [result, failed]}}}
        if body.record is not None:
            name = f"{body.name}Record"
            self.records[name] = body.record
            record = reference(name)
        content = {}
        for framing in Framing if options.framing is None else (options.framing,):
            content[framing.value] = {"schema": _framed(framing, message, record, options.end_marker)}
        return content


def _framed(framing: Framing, message: JsonSchema, record: JsonSchema, end_marker: str) -> JsonSchema:
    if framing is Framing.JSON_ARRAY:
        return {"type": "array", "items": message}
    one: JsonSchema = {"anyOf": [message, record]}
    if framing is Framing.NDJSON:
        return one
    # As OpenAPI 3.2 describes an event: an object of its fields, of which the data is a text.
    data: JsonSchema = {"type": "string", "contentMediaType": BodyFormat.JSON.value, "contentSchema": one}
    if end_marker:
        data = {"anyOf": [{"const": end_marker}, data]}
    return object_schema({"data": data}, ["data"])


def reference(name: str) -> JsonSchema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def phrase(status: int) -> str:
    """Return the name of an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client closed request" if status == 499 else f"Status {status}"


def reply_field(output: MessageShape, response_body: str) -> FieldShape | None:
    """Return the field of a reply that a rule answers with, None for the reply itself."""
    field: FieldShape | None = None
    for name in filter(None, response_body.split(".")):
        field = output.by_name[name]
        output = field.message or output
    return field


def is_raw(output: MessageShape, response_body: str) -> bool:
    """Tell whether a method's answer is the bytes of a google.api.HttpBody."""
    field = reply_field(output, response_body)
    if field is None:
        return output.descriptor.full_name == HTTP_BODY
    return _is_http_body(field)


def _is_file(field: FieldShape) -> bool:
    return field.cardinality is Cardinality.SINGULAR and (
        field.type == FieldDescriptor.TYPE_BYTES or _is_http_body(field)
    )


def _is_http_body(field: FieldShape) -> bool:
    message = field.message
    return (
        message is not None and field.cardinality is Cardinality.SINGULAR and message.descriptor.full_name == HTTP_BODY
    )


def _encoding(listed: Sequence[Leaf]) -> dict[str, Any]:
    """Return how a form's maps are written: `name[key]=value`."""
    maps = {leaf.name: {"style": "deepObject", "explode": True} for leaf in listed if leaf.is_map}
    return {"encoding": maps} if maps else {}
