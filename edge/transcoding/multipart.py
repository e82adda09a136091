"""Requests as multipart/form-data (RFC 7578): fields become fields of the message, a file part becomes bytes."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from edge.transcoding.binding import RequestBinder
from edge.transcoding.errors import Code, RpcFailure, failure, failure_of_binding
from edge.transcoding.raw_body import Body, body_too_large
from edge.transcoding.violations import BindingError, Violation

HTTP_BODY = "google.api.HttpBody"
_FIELD_BYTES = 1 << 16
_MAX_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a part; `filename` is None where the part is no file, `content_type` empty where it has none."""

    name: str
    filename: str | None
    content_type: str


class MultipartParts:
    """Reads parts as they arrive: each is its `Part`, then pieces of bytes, then None.

    Raises INVALID_ARGUMENT for what is no multipart/form-data, and for more than 1000 parts.
    """

    def __init__(self, content_type: bytes) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise _malformed("header Content-Type: multipart/form-data needs a boundary")
        self._events: list[Part | bytes | None] = []
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._parts = 0
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(None),
                    "on_header_field": self._add_field,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise _malformed("header Content-Type: the boundary of multipart/form-data is too long") from None

    def feed(self, data: bytes) -> list[Part | bytes | None]:
        """Return what these bytes complete."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise _malformed("the body is no multipart/form-data with the boundary of its Content-Type") from None
        events = self._events
        self._events = []
        return events

    def finish(self) -> None:
        """Raise where the body ended before its last boundary."""
        if not self._ended:
            raise _malformed("the body ends before its last boundary")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _malformed(f"the body has more than {_MAX_PARTS} parts")
        self._headers = {}

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise _malformed(
                f"part {self._parts}: its header Content-Disposition must be form-data and have a name, "
                'such as form-data; name="file"'
            )
        filename = options.get(b"filename")
        self._events.append(
            Part(
                name=options[b"name"].decode("utf-8", "replace"),
                filename=None if filename is None else filename.decode("utf-8", "replace"),
                content_type=self._headers.get(b"content-type", b"").decode("latin-1"),
            )
        )

    def _end(self) -> None:
        self._ended = True


class MultipartBinder:
    """Binds forms of methods that take one message.

    Text parts are bound as form fields are. A part of a google.api.HttpBody field goes into it with its type; a part
    with a file name goes as it is into a bytes field. Only top-level fields take files.
    """

    def __init__(self, binder: RequestBinder, input_: Descriptor) -> None:
        self._binder = binder
        self._files: Mapping[str, _FileField] = {
            name: _FileField(field, store)
            for field in input_.fields
            if (store := _store_of(field)) is not None
            for name in (field.name, field.json_name)
        }

    def bind(self, captures: Sequence[str], query: bytes, body: bytes, content_type: bytes | None) -> Message:
        """Return the request message; raises `BindingError` and `RpcFailure`."""
        texts: list[tuple[str, str]] = []
        files: list[tuple[_FileField, Part, bytes]] = []
        found: list[Violation] = []
        for part, data in _whole_parts(content_type or b"", body):
            field = self._files.get(part.name)
            if field is not None and (field.is_http_body or part.filename is not None):
                files.append((field, part, data))
            elif part.filename is not None:
                found.append(Violation(part.name, "the field takes no file; a file goes into a bytes field"))
            else:
                texts.append((part.name, _text(part.name, data)))
        names = [field.descriptor.name for field, _, _ in files]
        found += [Violation(n, "the field is given twice") for n in dict.fromkeys(names) if names.count(n) > 1]
        if found:
            raise BindingError(found)
        message = self._binder.bind_pairs(captures, query, texts)
        for field, part, data in files:
            field.store(message, field.descriptor.name, part, data)
        return message


class MultipartMessages:
    """Makes a stream of messages of a form: the text parts go into the first message, the file part follows in pieces.

    `field` is the google.api.HttpBody that takes the file, empty where the message itself is one. Memory holds the
    text parts and one piece of the file.
    """

    def __init__(self, binder: RequestBinder, field: str, *, body_limit: int) -> None:
        self._binder = binder
        self._field = field
        self._body_limit = body_limit

    async def of(
        self, body: Body, captures: Sequence[str], query: bytes, content_type: bytes | None
    ) -> AsyncIterator[bytes]:
        """Yield the serialised messages; raises `RpcFailure`."""
        parts = MultipartParts(content_type or b"")
        texts: list[tuple[str, str]] = []
        part: Part | None = None
        text = bytearray()
        file_seen = False
        received, more = 0, True
        while more:
            data, more = await body.receive()
            received += len(data)
            if received > self._body_limit:
                raise await body_too_large(body, self._body_limit, more=more)
            for event in parts.feed(data):
                if isinstance(event, Part):
                    part, text = event, bytearray()
                    if file_seen:
                        raise self._refused(part, "the file must be the last part")
                    if self._is_file(part):
                        file_seen = True
                        yield self._first(captures, query, texts, part)
                elif part is not None and self._is_file(part):
                    if event:
                        yield self._piece(event)
                elif event is None:
                    assert part is not None
                    texts.append((part.name, _text(part.name, bytes(text))))
                else:
                    text += event
                    if len(text) > _FIELD_BYTES:
                        assert part is not None
                        raise self._refused(part, f"a text part holds at most {_FIELD_BYTES} bytes")
        parts.finish()
        if not file_seen:
            yield self._first(captures, query, texts, None)

    def _is_file(self, part: Part) -> bool:
        return part.name == self._field if self._field else part.filename is not None

    def _first(self, captures: Sequence[str], query: bytes, texts: list[tuple[str, str]], part: Part | None) -> bytes:
        try:
            message: Any = self._binder.bind_pairs(captures, query, texts)
        except BindingError as error:
            raise failure_of_binding(error) from None
        if part is not None:
            holder = getattr(message, self._field) if self._field else message
            holder.content_type = part.content_type
        serialised: bytes = message.SerializeToString()
        return serialised

    def _piece(self, data: bytes) -> bytes:
        message: Any = self._binder.bind((), b"", None)
        holder = getattr(message, self._field) if self._field else message
        holder.data = data
        serialised: bytes = message.SerializeToString()
        return serialised

    @staticmethod
    def _refused(part: Part, reason: str) -> RpcFailure:
        return failure_of_binding(BindingError([Violation(part.name, reason)]))


Store = Callable[[Any, str, Part, bytes], None]


@dataclass(frozen=True, slots=True, eq=False)
class _FileField:
    descriptor: FieldDescriptor
    store: Store

    @property
    def is_http_body(self) -> bool:
        return self.store is _store_http_body


def _store_of(field: FieldDescriptor) -> Store | None:
    if field.is_repeated:
        return None
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _store_bytes
    if field.message_type is not None and field.message_type.full_name == HTTP_BODY:
        return _store_http_body
    return None


def _store_bytes(message: Any, name: str, _part: Part, data: bytes) -> None:
    setattr(message, name, data)


def _store_http_body(message: Any, name: str, part: Part, data: bytes) -> None:
    holder = getattr(message, name)
    holder.content_type = part.content_type
    holder.data = data


def _whole_parts(content_type: bytes, body: bytes) -> Iterator[tuple[Part, bytes]]:
    parts = MultipartParts(content_type)
    part: Part | None = None
    pieces: list[bytes] = []
    for event in parts.feed(body):
        if isinstance(event, Part):
            part, pieces = event, []
        elif event is not None:
            pieces.append(event)
        else:
            assert part is not None
            yield part, b"".join(pieces)
    parts.finish()


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise failure_of_binding(BindingError([Violation(name, "a text part must be UTF-8")])) from None


def _malformed(reason: str) -> RpcFailure:
    return failure(Code.INVALID_ARGUMENT, reason)
