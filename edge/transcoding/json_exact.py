"""Reads JSON into messages exactly as the mapping says, and finds every violation on the way.

This is the slow half of decoding: `json_decode` hands over whatever it does not take at once, so that what is right
and what is wrong, and how to say so, is decided here alone.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message

from edge.transcoding.codec import JsonOptions
from edge.transcoding.json_any import TypeResolver
from edge.transcoding.json_text import Repeated, is_blank, parse_exact
from edge.transcoding.scalars import (
    JsonParser,
    Number,
    TextParser,
    UnknownEnumNameError,
    given,
    json_parser,
    map_key_parser,
)
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape
from edge.transcoding.violations import (
    BindingError,
    RefusedError,
    TooManyError,
    Violation,
    Violations,
    did_you_mean,
    key_path,
    named,
)
from edge.transcoding.wellknown import parse_duration, parse_field_mask, parse_timestamp

MAX_WIRE_DEPTH = 100
"""How deep messages may nest before protobuf's runtimes refuse the bytes; a Struct takes three levels an object."""

# What stands in a path after a dot: a field, "@type", or an extension.
_PLAIN_STEP = re.compile(r"(?:@?[A-Za-z_][A-Za-z0-9_]{0,63}|\[[A-Za-z0-9_.]{1,200}\])\Z")
_NOTHING = object()


class ExactDecoder:
    """Decodes JSON with every check; one serves any number of message types, and calls at the same time."""

    def __init__(self, options: JsonOptions, resolve: TypeResolver) -> None:
        self._options = options
        self._resolve = resolve

    def message(self, shape: MessageShape, body: bytes, message: Message) -> None:
        """Parse the JSON of a whole message into one; raises `BindingError` with all violations."""
        if is_blank(body):
            return
        self._run(body, lambda walk, tree: walk.message(shape, tree, message, "", depth=1, wire=1))

    def field(self, field: FieldShape, body: bytes, message: Message) -> None:
        """Parse the JSON value of one field into the message that has it."""
        if is_blank(body):
            return
        self._run(body, lambda walk, tree: walk.field(field, tree, message, field.name, depth=1, wire=1))

    def _run(self, body: bytes, walk_tree: "Callable[[_Walk, object], None]") -> None:
        try:
            tree = parse_exact(body)
        except RefusedError as error:
            raise BindingError([Violation("", error.description)]) from None
        walk = _Walk(self._options, self._resolve)
        with suppress(TooManyError):
            walk_tree(walk, tree)
        walk.found.raise_if_any()


class _Walk:
    """One decoding: the violations so far, and the rules.

    Messages are `Any`: their types are known at run time only. `depth` counts the arrays and objects of the JSON
    around a value, itself included; `wire` the messages.
    """

    __slots__ = ("_max_depth", "_options", "_parsers", "_resolve", "found")

    def __init__(self, options: JsonOptions, resolve: TypeResolver) -> None:
        self.found = Violations()
        self._options = options
        self._max_depth = options.max_depth
        self._resolve = resolve
        self._parsers: dict[FieldShape, JsonParser] = {}

    def message(self, shape: MessageShape, value: object, message: Any, path: str, *, depth: int, wire: int) -> None:
        if wire > MAX_WIRE_DEPTH:
            self.found.add(path, f"messages nest deeper than {MAX_WIRE_DEPTH} levels, which is what protobuf carries")
            return
        kind = shape.kind
        if kind is MessageKind.OBJECT:
            self._object(shape, value, message, path, depth, wire)
        elif kind is MessageKind.WRAPPER:
            (inner,) = shape.fields
            self._store(inner, value, path, lambda parsed: setattr(message, "value", parsed))
        elif kind is MessageKind.TIMESTAMP:
            self._pair(parse_timestamp, "a time as a string", value, message, path)
        elif kind is MessageKind.DURATION:
            self._pair(parse_duration, "a duration as a string", value, message, path)
        elif kind is MessageKind.FIELD_MASK:
            self._field_mask(value, message, path)
        elif kind is MessageKind.STRUCT:
            self._struct(value, message, path, depth, wire)
        elif kind is MessageKind.VALUE:
            self._value(value, message, path, depth, wire)
        elif kind is MessageKind.LIST_VALUE:
            self._list_value(value, message, path, depth, wire)
        else:
            self._any(value, message, path, depth)

    def field(self, field: FieldShape, value: object, message: Any, path: str, *, depth: int, wire: int) -> None:
        """Put a value into a field of a message; null empties the field unless it is one of its values."""
        if value is None and not (field.takes_null and field.cardinality is Cardinality.SINGULAR):
            _clear(field, message)
        elif field.cardinality is Cardinality.MAP:
            self._map(field, value, message, path, depth, wire)
        elif field.cardinality is Cardinality.REPEATED:
            self._repeated(field, value, message, path, depth, wire)
        elif field.message is not None:
            inner = _get(field, message)
            inner.SetInParent()
            self.message(field.message, value, inner, path, depth=depth, wire=wire + 1)
        else:
            self._store(field, value, path, lambda parsed: _set(field, message, parsed))

    def _object(
        self,
        shape: MessageShape,
        value: object,
        message: Any,
        path: str,
        depth: int,
        wire: int,
        skip: object = None,
    ) -> None:
        if not isinstance(value, dict):
            self.found.add(path, f"expected an object ({shape.descriptor.full_name}), got {given(value)}")
            return
        if not self._open(value, path, depth):
            return
        taken: dict[FieldShape, str] = {}
        chosen: dict[str, str] = {}
        for key, item in value.items():
            if key == skip:
                continue
            at = _join(path, key)
            field = shape.by_name.get(key)
            if field is None:
                self._unknown(shape, key, item, at, depth)
                continue
            other = taken.setdefault(field, key)
            if other != key:
                self.found.add(at, f'the same field is also given as "{other}"; give it once')
                continue
            if field.oneof and (item is not None or field.takes_null):
                rival = chosen.setdefault(field.oneof, key)
                if rival != key:
                    self.found.add(at, f'"{rival}" is given as well; only one field of oneof {field.oneof} may be')
                    continue
            self.field(field, item, message, at, depth=depth + 1, wire=wire)

    def _unknown(self, shape: MessageShape, key: str, item: object, at: str, depth: int) -> None:
        if self._options.ignore_unknown:
            if self._well_formed(key, at):
                self._skim(item, at, depth + 1)
            return
        if key.startswith("[") and key.endswith("]"):
            hint = " that the server knows" if shape.descriptor.is_extendable else "s"
            self.found.add(at, f"{shape.descriptor.full_name} has no such extension{hint}")
            return
        hint = did_you_mean(key, shape.names)
        self.found.add(at, f"{shape.descriptor.full_name} has no field {named(key)}{hint}")

    def _open(self, value: dict[str, object] | list[object], path: str, depth: int) -> bool:
        """Check what holds of every array and object; False if it must not be entered."""
        if depth > self._max_depth:
            self.found.add(path, f"arrays and objects nest deeper than {self._max_depth} levels")
            return False
        if isinstance(value, Repeated):
            for key in value.keys_repeated:
                self.found.add(_join(path, key), "the key is given more than once in one object")
        return True

    def _skim(self, value: object, path: str, depth: int) -> None:
        """Check an ignored value's depth, keys and strings, and nothing else."""
        if isinstance(value, str):
            self._well_formed(value, path)
        elif isinstance(value, dict):
            if self._open(value, path, depth):
                for key, item in value.items():
                    at = _join(path, key)
                    if self._well_formed(key, at):
                        self._skim(item, at, depth + 1)
        elif isinstance(value, list) and self._open(value, path, depth):
            for index, item in enumerate(value):
                self._skim(item, f"{path}[{index}]", depth + 1)

    def _parse(self, field: FieldShape, value: object, path: str) -> object:
        """Return the parsed value of a scalar or enum field, or `_NOTHING` where there is none to store."""
        parser = self._parsers.get(field)
        if parser is None:
            parser = self._parsers[field] = json_parser(field)
        try:
            return parser(value)
        except RefusedError as error:
            if not (isinstance(error, UnknownEnumNameError) and self._options.ignore_unknown_enums):
                self.found.add(path, error.description)
            return _NOTHING

    def _store(self, field: FieldShape, value: object, path: str, store: Callable[[object], None]) -> None:
        parsed = self._parse(field, value, path)
        if parsed is not _NOTHING:
            store(parsed)

    def _repeated(self, field: FieldShape, value: object, message: Any, path: str, depth: int, wire: int) -> None:
        _clear(field, message)
        if not isinstance(value, list):
            self.found.add(path, f"expected an array, got {given(value)}")
            return
        if not self._open(value, path, depth):
            return
        target = _get(field, message)
        for index, item in enumerate(value):
            at = f"{path}[{index}]"
            if item is None and not field.takes_null:
                self.found.add(at, "null is no element of an array; leave it out")
            elif field.message is not None:
                self.message(field.message, item, target.add(), at, depth=depth + 1, wire=wire + 1)
            else:
                self._store(field, item, at, target.append)

    def _map(self, field: FieldShape, value: object, message: Any, path: str, depth: int, wire: int) -> None:
        _clear(field, message)
        if not isinstance(value, dict):
            self.found.add(path, f"expected an object (a map), got {given(value)}")
            return
        if not self._open(value, path, depth):
            return
        assert field.key is not None
        assert field.value is not None
        target = _get(field, message)
        parse_key = map_key_parser(field.key)
        spelled: dict[object, str] = {}
        for key, item in value.items():
            at = path + key_path(key)
            parsed_key = self._key(parse_key, key, at)
            if parsed_key is _NOTHING:
                continue
            other = spelled.setdefault(parsed_key, key)
            if other != key:
                self.found.add(at, f"the same key is also given as {named(other)}; give it once")
            elif item is None and not field.value.takes_null:
                self.found.add(at, "null is no value of a map; leave the key out")
            elif field.value.message is not None:
                # An entry is a message of its own on the wire.
                self.message(field.value.message, item, target[parsed_key], at, depth=depth + 1, wire=wire + 2)
            else:
                parsed = self._parse(field.value, item, at)
                if parsed is not _NOTHING:
                    target[parsed_key] = parsed

    def _key(self, parse: TextParser, key: str, path: str) -> object:
        try:
            return parse(key)
        except RefusedError as error:
            self.found.add(path, f"map key: {error.description}")
            return _NOTHING

    def _pair(
        self, parse: Callable[[str], tuple[int, int]], wanted: str, value: object, message: Any, path: str
    ) -> None:
        text = self._text(value, wanted, path)
        if text is None:
            return
        try:
            seconds, nanos = parse(text)
        except RefusedError as error:
            self.found.add(path, error.description)
            return
        message.seconds = seconds
        message.nanos = nanos

    def _field_mask(self, value: object, message: Any, path: str) -> None:
        text = self._text(value, "field paths in one string, with commas", path)
        if text is None:
            return
        try:
            paths = parse_field_mask(text)
        except RefusedError as error:
            self.found.add(path, error.description)
            return
        message.ClearField("paths")
        message.paths.extend(paths)

    def _text(self, value: object, wanted: str, path: str) -> str | None:
        if type(value) is str:
            return value
        self.found.add(path, f"expected {wanted}, got {given(value)}")
        return None

    def _struct(self, value: object, message: Any, path: str, depth: int, wire: int) -> None:
        if not isinstance(value, dict):
            self.found.add(path, f"expected an object, got {given(value)}")
            return
        if not self._open(value, path, depth):
            return
        message.Clear()
        message.SetInParent()
        target = message.fields
        for key, item in value.items():
            at = _join(path, key)
            if self._well_formed(key, at):
                self._value(item, target[key], at, depth + 1, wire + 2)

    def _list_value(self, value: object, message: Any, path: str, depth: int, wire: int) -> None:
        if not isinstance(value, list):
            self.found.add(path, f"expected an array, got {given(value)}")
            return
        if not self._open(value, path, depth):
            return
        message.Clear()
        message.SetInParent()
        target = message.values
        for index, item in enumerate(value):
            self._value(item, target.add(), f"{path}[{index}]", depth + 1, wire + 1)

    def _value(self, value: object, message: Any, path: str, depth: int, wire: int) -> None:
        if wire > MAX_WIRE_DEPTH:
            self.found.add(path, f"the value nests deeper than the {MAX_WIRE_DEPTH} messages that protobuf carries")
        elif isinstance(value, dict):
            self._struct(value, message.struct_value, path, depth, wire + 1)
        elif isinstance(value, list):
            self._list_value(value, message.list_value, path, depth, wire + 1)
        elif value is None:
            message.null_value = 0
        elif isinstance(value, bool):
            message.bool_value = value
        elif isinstance(value, Number | int | float):
            number = float(value)
            if number in (float("inf"), float("-inf")):
                self.found.add(path, "the number is beyond the range of a double")
            else:
                message.number_value = number
        elif self._well_formed(value, path):
            message.string_value = value

    def _well_formed(self, text: object, path: str) -> bool:
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                self.found.add(path, "the string holds half of a surrogate pair, which is no character")
                return False
        return True

    def _any(self, value: object, message: Any, path: str, depth: int) -> None:
        if not isinstance(value, dict):
            self.found.add(path, f'expected an object with "@type", got {given(value)}')
            return
        if not self._open(value, path, depth):
            return
        message.Clear()
        message.SetInParent()
        if not value:
            return
        url = value.get("@type")
        if not isinstance(url, str) or isinstance(url, Number):
            self.found.add(_join(path, "@type"), "expected a type URL such as type.googleapis.com/package.Message")
            return
        resolved = self._resolve(url)
        if resolved is None:
            self.found.add(
                _join(path, "@type"),
                "the server knows no such message type; expected a URL such as type.googleapis.com/package.Message",
            )
            return
        inner = resolved.make()
        if resolved.shape.kind is MessageKind.OBJECT:
            # Its bytes are a value of their own, with nesting of their own.
            self._object(resolved.shape, value, inner, path, depth, wire=1, skip="@type")
        elif "value" in value:
            for key in value.keys() - {"@type", "value"}:
                self._unknown(resolved.shape, key, value[key], _join(path, key), depth)
            self.message(resolved.shape, value["value"], inner, _join(path, "value"), depth=depth + 1, wire=1)
        else:
            self.found.add(_join(path, "value"), f'a {resolved.shape.descriptor.full_name} is given in "value"')
        missing = list(_missing(inner, path))
        for at in missing:
            self.found.add(at, "the field is required")
        if not missing:
            message.type_url = url
            message.value = inner.SerializeToString()


def _missing(message: Any, path: str) -> Iterator[str]:
    if not message.IsInitialized():
        for name in message.FindInitializationErrors():
            yield _join(path, name)


def _join(path: str, key: str) -> str:
    if _PLAIN_STEP.match(key) is None:
        return path + key_path(key)
    return f"{path}.{key}" if path else key


def _get(field: FieldShape, message: Any) -> Any:
    return message.Extensions[field.descriptor] if field.is_extension else getattr(message, field.name)


def _set(field: FieldShape, message: Any, value: object) -> None:
    if field.is_extension:
        message.Extensions[field.descriptor] = value
    else:
        setattr(message, field.name, value)


def _clear(field: FieldShape, message: Any) -> None:
    if field.is_extension:
        message.ClearExtension(field.descriptor)
    else:
        message.ClearField(field.name)
