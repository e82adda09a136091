"""Which bodies a route takes, and what binds each: the choice by Content-Type, made at start."""

from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from edge.transcoding.binding import RequestBinder
from edge.transcoding.endpoint import Bind, Formats, MessageSource
from edge.transcoding.media import BodyFormat
from edge.transcoding.multipart import HTTP_BODY, MultipartBinder, MultipartMessages
from edge.transcoding.profile import Profile
from edge.transcoding.protobuf_body import ProtobufBinder
from edge.transcoding.raw_body import RawBinder, RawMessages
from edge.transcoding.request_stream import JsonMessages
from edge.transcoding.routes import Route


def raw_field_of(route: Route) -> str | None:
    """Return the name of the google.api.HttpBody that takes a route's body, empty for the request itself."""
    request = route.method.input_type
    if route.body == "*":
        return "" if request.full_name == HTTP_BODY else None
    field = request.fields_by_name.get(route.body) if route.body else None
    if field is None or field.message_type is None or field.is_repeated:
        return None
    return field.name if field.message_type.full_name == HTTP_BODY else None


def plain_bind(route: Route, binder: RequestBinder) -> Bind:
    """Return what binds a body without a type: JSON, or bytes where the rule binds an HttpBody."""
    raw_field = raw_field_of(route)
    return _without_type(binder.bind) if raw_field is None else RawBinder(binder.bind, raw_field).bind


def message_binders(route: Route, binder: RequestBinder, path_fields: Sequence[str], profile: Profile) -> Formats[Bind]:
    """Return the binders of a route whose method takes one message."""
    input_, raw_field = route.method.input_type, raw_field_of(route)
    multipart = MultipartBinder(binder, input_).bind
    if raw_field is not None:
        raw: dict[BodyFormat, Bind] = {BodyFormat.OTHER: plain_bind(route, binder)}
        return Formats({**raw, BodyFormat.MULTIPART: multipart} if raw_field else raw, checked=False)
    formats: dict[BodyFormat, Bind] = {BodyFormat.JSON: plain_bind(route, binder)}
    if profile.check_media_types and route.body == "*":
        binary = ProtobufBinder(binder, input_, path_fields, one_source=profile.one_source_per_field)
        formats[BodyFormat.PROTOBUF] = _without_type(binary.bind)
        formats[BodyFormat.FORM] = _without_type(binder.bind_form)
        formats[BodyFormat.MULTIPART] = multipart
    return Formats(formats, checked=bool(route.body) and profile.check_media_types)


def message_sources(route: Route, binder: RequestBinder, profile: Profile) -> Formats[MessageSource]:
    """Return the sources of messages of a route whose method takes a stream."""
    options, raw_field = route.options, raw_field_of(route)
    limit = options.max_stream_bytes
    if raw_field is not None:
        return Formats(
            {
                BodyFormat.OTHER: RawMessages(binder.bind, raw_field, body_limit=limit).of,
                BodyFormat.MULTIPART: MultipartMessages(binder, raw_field, body_limit=limit).of,
            },
            checked=False,
        )
    json, lines = (
        JsonMessages(binder.bind, message_limit=options.max_message_bytes, body_limit=limit, lines=lines)
        for lines in (False, True)
    )
    return Formats(
        {BodyFormat.JSON: json.of, BodyFormat.NDJSON: lines.of},
        checked=bool(route.body) and profile.check_media_types,
    )


def _without_type(bind: Callable[[Sequence[str], bytes, bytes], Message]) -> Bind:
    return lambda captures, query, body, _content_type: bind(captures, query, body)
