"""Puts query parameters and form fields into messages, by plans made once from the message's shape."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from edge.transcoding.codec import Codec, Decoder, JsonOptions
from edge.transcoding.scalars import TextParser, UnknownEnumNameError, map_key_parser, text_parser
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape
from edge.transcoding.violations import BindingError, RefusedError, Violations, did_you_mean, key_path, named
from edge.transcoding.wellknown import parse_clock_duration, parse_field_mask, parse_timestamp

_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NAME_END = re.compile(r"[.\[]")

StoreText = Callable[[Any, str], None]
"""Puts a text into the message given, which is the value itself: a wrapper, a timestamp, a Struct."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """How parameters are read.

    - `json`: how a Struct's, Value's or ListValue's JSON text is read.
    - `ignore_unknown`: drop parameters that name no field, or one that is bound from elsewhere.
    - `ignore_bound`: drop parameters whose field the path has bound, instead of refusing them.
    - `go_scalars`: numbers and booleans as Go reads them.
    """

    json: JsonOptions
    ignore_unknown: bool
    ignore_bound: bool
    go_scalars: bool


@dataclass(slots=True, eq=False)
class _Node:
    """A message type as parameters see it: its fields by each of their names."""

    shape: MessageShape
    fields: dict[str, "_Field"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Field:
    """A field as parameters see it: what takes its text, or the node whose fields are meant instead."""

    shape: FieldShape
    name: str
    parse: TextParser | None = None
    store: StoreText | None = None
    node: _Node | None = None
    key: TextParser | None = None


@dataclass(slots=True)
class Bound:
    """What the parameters and captures of one request have set so far.

    `fields` maps the contract's path of each field to the name that it was given by, `oneofs` the path of each oneof
    to the contract's path of the member that was chosen.
    """

    fields: dict[str, str] = field(default_factory=dict)
    oneofs: dict[str, str] = field(default_factory=dict)


class QueryBinder:
    """Binds name and text pairs to the fields of one message type."""

    def __init__(
        self,
        shape: MessageShape,
        *,
        from_path: Collection[str],
        from_body: str,
        codec: Codec,
        options: QueryOptions,
    ) -> None:
        """Compile the plan: `from_path` and `from_body` are contract paths that parameters must leave alone."""
        self._codec = codec
        self._options = options
        self._from_path = frozenset(from_path)
        self._from_body = from_body
        self._nodes: dict[MessageShape, _Node] = {}
        self._root = self._node(shape)

    def bind(self, pairs: Iterable[tuple[str, str]], message: Any, bound: Bound, found: Violations) -> None:
        """Set a message's fields from pairs; what does not fit goes to `found` under the name it was given by."""
        for name, text in pairs:
            try:
                self._bind_one(name, text, message, bound)
            except RefusedError as error:
                if not (isinstance(error, _DroppableError) and self._drops(error)):
                    found.add(name if len(name) <= 256 else name[:253] + "...", error.description)
            except BindingError as error:
                for violation in error.violations:
                    at = violation.field
                    separator = "" if not at or at.startswith("[") else "."
                    found.add(f"{name}{separator}{at}", violation.description)

    def _drops(self, error: "_DroppableError") -> bool:
        return self._options.ignore_bound if error.bound_by_path else self._options.ignore_unknown

    def _bind_one(self, name: str, text: str, message: Any, bound: Bound) -> None:
        self._bind_below(self._root, name, text, message, "", name, bound)

    def _bind_below(self, node: _Node, rest: str, text: str, message: Any, path: str, name: str, bound: Bound) -> None:
        """Follow what is `rest` of a parameter's name from a message, and set the field at its end."""
        while True:
            # Most parameters are plain names.
            field_ = node.fields.get(rest)
            end = None if field_ is not None else _NAME_END.search(rest)
            head = rest if end is None else rest[: end.start()]
            if end is not None:
                field_ = node.fields.get(head)
            if field_ is None:
                hint = did_you_mean(head, node.shape.names)
                raise _DroppableError(f"{node.shape.descriptor.full_name} has no field {named(head)}{hint}")
            path = f"{path}.{field_.name}" if path else field_.name
            self._check_source(path)
            choose(field_.shape, path, bound)
            rest = "" if end is None else rest[end.start() :]
            if field_.key is not None:
                self._bind_entry(field_, rest, text, message, path, name, bound)
                return
            # How many clients write the name of a list: OpenAI's SDKs, and whatever else comes from PHP or Rails.
            if not rest or (rest == "[]" and field_.shape.cardinality is Cardinality.REPEATED):
                self._store(field_, text, message, path, name, bound)
                return
            if rest[0] == "[":
                raise RefusedError(f'{named(head)} is no map, so that "[...]" cannot follow it')
            if field_.node is None or field_.shape.cardinality is not Cardinality.SINGULAR:
                raise RefusedError(f"{named(head)} has no fields that a parameter could name; give its own value")
            message = getattr(message, field_.name)
            node = field_.node
            rest = rest[1:]

    def _check_source(self, path: str) -> None:
        if path in self._from_path:
            raise _DroppableError("the field is given by the path; leave the parameter out", bound_by_path=True)
        if path == self._from_body:
            raise _DroppableError("the field is the body of the request; give it there")

    def _bind_entry(
        self, field_: _Field, rest: str, text: str, message: Any, path: str, name: str, bound: Bound
    ) -> None:
        """Set one entry of a map: `rest` is what follows the map's name, such as `[env]` or `[env].size`."""
        shape = field_.shape.value
        assert shape is not None
        assert field_.key is not None
        node = field_.node
        # The key of a map of scalars may hold brackets: it ends with the name.
        end = rest.find("].") if node is not None else len(rest) - 1
        if not rest.startswith("[") or end < 1 or rest[end] != "]":
            wanted = f"{field_.name}[key].field" if node is not None else f"{field_.name}[key]"
            raise RefusedError(f"the field is a map; name an entry, such as {wanted}")
        try:
            key = field_.key(rest[1:end])
        except RefusedError as error:
            raise RefusedError(f"map key: {error.description}") from None
        entries = getattr(message, field_.name)
        path += key_path(str(key))
        if node is not None:
            self._bind_below(node, rest[end + 2 :], text, entries[key], path, name, bound)
            return
        _claim(path, name, bound, repeated=False)
        if field_.parse is not None:
            value = self._parsed(field_.parse, text)
            if value is not None:
                entries[key] = value
        elif field_.store is not None:
            field_.store(entries[key], text)
        else:
            raise RefusedError(_body_only(shape))

    def _store(self, field_: _Field, text: str, message: Any, path: str, name: str, bound: Bound) -> None:
        repeated = field_.shape.cardinality is Cardinality.REPEATED
        _claim(path, name, bound, repeated=repeated)
        if field_.parse is not None:
            value = self._parsed(field_.parse, text)
            if value is None:
                return
            if repeated:
                getattr(message, field_.name).append(value)
            else:
                setattr(message, field_.name, value)
        elif field_.store is not None:
            inner = getattr(message, field_.name)
            if repeated:
                inner = inner.add()
            else:
                inner.SetInParent()
            field_.store(inner, text)
        elif field_.node is not None and not repeated:
            first = next(iter(field_.node.fields), "field")
            raise RefusedError(f"the field is a message; give its fields, such as {field_.name}.{first}")
        else:
            raise RefusedError(_body_only(field_.shape))

    def _parsed(self, parse: TextParser, text: str) -> object:
        """Return the value of a text, None for an enum's unknown name that is to be ignored."""
        try:
            return parse(text)
        except UnknownEnumNameError:
            if self._options.json.ignore_unknown_enums:
                return None
            raise

    def _node(self, shape: MessageShape) -> _Node:
        node = self._nodes.get(shape)
        if node is None:
            # Types may hold themselves: the node is known before its fields are.
            node = self._nodes[shape] = _Node(shape)
            for name, field_ in shape.by_name.items():
                if not field_.is_extension:
                    node.fields[name] = self._field(field_)
        return node

    def _field(self, shape: FieldShape) -> _Field:
        value = shape
        made = _Field(shape, shape.name)
        if shape.cardinality is Cardinality.MAP:
            assert shape.key is not None
            assert shape.value is not None
            value = shape.value
            made.key = map_key_parser(shape.key)
        if value.message is None:
            made.parse = text_parser(value, go_numbers=self._options.go_scalars)
        elif value.message.kind is MessageKind.OBJECT:
            made.node = self._node(value.message)
        else:
            made.store = self._well_known(value.message)
        return made

    def _well_known(self, shape: MessageShape) -> StoreText | None:
        kind = shape.kind
        if kind is MessageKind.TIMESTAMP:
            return _store_timestamp
        if kind is MessageKind.DURATION:
            return _store_duration
        if kind is MessageKind.FIELD_MASK:
            return _store_field_mask
        if kind is MessageKind.WRAPPER:
            return _wrapper(text_parser(shape.fields[0], go_numbers=self._options.go_scalars))
        if kind is MessageKind.ANY:
            return None
        decode = self._codec.decoder(shape.descriptor, self._options.json)
        wanted = "JSON text is expected here" + (", with quotes around strings" if kind is MessageKind.VALUE else "")
        return _json_text(decode, wanted)


class _DroppableError(RefusedError):
    """A parameter with no place to go, which an option ignores."""

    def __init__(self, description: str, *, bound_by_path: bool = False) -> None:
        super().__init__(description)
        self.bound_by_path = bound_by_path


def choose(shape: FieldShape, path: str, bound: Bound) -> None:
    """Note that a field is given; raises `RefusedError` if another member of its oneof was."""
    if not shape.oneof:
        return
    parent = path.rpartition(".")[0]
    oneof = f"{parent}.{shape.oneof}" if parent else shape.oneof
    rival = bound.oneofs.setdefault(oneof, shape.name)
    if rival != shape.name:
        raise RefusedError(f'"{rival}" is given as well; only one field of oneof {shape.oneof} may be')


def _claim(path: str, name: str, bound: Bound, *, repeated: bool) -> None:
    other = bound.fields.get(path)
    if other is None:
        bound.fields[path] = name
    elif other != name:
        raise RefusedError(f"the same field is also given as {named(other)}; use one name")
    elif not repeated:
        raise RefusedError("the parameter is given more than once; the field takes one value")


def _body_only(shape: FieldShape) -> str:
    assert shape.message is not None
    return f"a {shape.message.descriptor.full_name} here has no text form; give it in the body, if the method has one"


def _store_timestamp(message: Any, text: str) -> None:
    message.seconds, message.nanos = parse_timestamp(text)


def _store_duration(message: Any, text: str) -> None:
    message.seconds, message.nanos = parse_clock_duration(text)


def _store_field_mask(message: Any, text: str) -> None:
    message.paths.extend(parse_field_mask(text))


def _wrapper(parse: TextParser) -> StoreText:
    def store(message: Any, text: str) -> None:
        message.value = parse(text)

    return store


def _json_text(decode: Decoder, wanted: str) -> StoreText:
    def store(message: Any, text: str) -> None:
        try:
            body = text.encode("utf-8")
        except UnicodeEncodeError:
            raise RefusedError("the text holds half of a surrogate pair, which is no character") from None
        if not body.strip():
            raise RefusedError(f"{wanted}, got an empty text")
        try:
            decode(body, message)
        except BindingError as error:
            if any(violation.field for violation in error.violations):
                raise
            reason = error.violations[0].description.replace("the body", "the text")
            raise RefusedError(f"{wanted}: {reason}") from None

    return store


def parse_pairs(encoded: bytes, limit: int, found: Violations, *, what: str = "query") -> Sequence[tuple[str, str]]:
    """Return the names and texts of a query or a form (application/x-www-form-urlencoded, WHATWG URL).

    `+` is a space. Parts that are malformed go to `found`; more than `limit` parts are refused as a whole.
    """
    if encoded.count(b"&") >= limit:
        found.add("", f"the {what} has more than {limit} parameters")
        return ()
    pairs = []
    for part in encoded.split(b"&"):
        if not part:
            continue
        name, _, text = part.partition(b"=")
        if b"%" in part or b"+" in part:
            if _MALFORMED.search(part):
                found.add(_lossy(name), f"the {what} holds a % that is not followed by two hexadecimal digits")
                continue
            name = unquote_to_bytes(name.replace(b"+", b" "))
            text = unquote_to_bytes(text.replace(b"+", b" "))
        try:
            pairs.append((name.decode("utf-8"), text.decode("utf-8")))
        except UnicodeDecodeError:
            found.add(_lossy(name), f"the {what} parameter is not valid UTF-8")
    return pairs


def _lossy(name: bytes) -> str:
    return name[:256].decode("utf-8", "replace")
