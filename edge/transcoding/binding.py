"""Builds a method's request message from an HTTP request: path captures, query, body."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from edge.transcoding.codec import Codec, Decoder, JsonOptions
from edge.transcoding.json_text import is_blank, parse_exact
from edge.transcoding.query import Bound, QueryBinder, QueryOptions, choose, parse_pairs
from edge.transcoding.scalars import TextParser, text_parser
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape, Schema, reachable
from edge.transcoding.update_mask import mask_paths
from edge.transcoding.violations import (
    BindingError,
    BindingPlanError,
    RefusedError,
    TooManyError,
    Violation,
    Violations,
    did_you_mean,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingOptions:
    """How a request becomes a message; the defaults are the strict profile's.

    - `json`: how bodies, and JSON texts in parameters, are read; its `max_depth` holds for both.
    - `ignore_unknown_query`: drop query parameters that name no field the query may set.
    - `one_source_per_field`: refuse a field that path and query both give, or path and body with different values;
      otherwise the path wins.
    - `fill_update_mask`: the method is a PATCH: where its only FieldMask is empty, name in it what the body names.
    - `ignore_body`: drop a body where the rule has none, instead of refusing it.
    - `go_scalars`: read numbers and booleans of path and query as Go's strconv does.
    - `query_fields`: fields that the query may set where the body is "*", and over what the body says.
    - `max_query_parameters`: how many parts a query, and a form, may have.
    """

    json: JsonOptions = field(default_factory=JsonOptions)
    ignore_unknown_query: bool = False
    one_source_per_field: bool = True
    fill_update_mask: bool = False
    ignore_body: bool = False
    go_scalars: bool = False
    query_fields: AbstractSet[str] = frozenset()
    max_query_parameters: int = 1000


class RequestBinder:
    """Binds requests of one HTTP rule to its method's request message; compiled once, used at the same time by many.

    `path_fields` are the contract paths (dotted) that the template captures, in order; `body` is "" for none, "*", or
    the name of a top-level field. Binders that share a `schema` compile sooner. Raises `BindingPlanError` for a field
    that is missing or cannot be bound that way.
    """

    def __init__(
        self,
        *,
        input: Descriptor,  # noqa: A002 - the contract's word for a method's request type
        path_fields: Sequence[str],
        body: str,
        codec: Codec,
        options: BindingOptions,
        schema: Schema | None = None,
    ) -> None:
        shape = (schema or Schema()).message(input)
        self._options = options
        self._whole_body = body == "*"
        self._has_body = bool(body)
        self._make: Callable[[], Message] = message_factory.GetMessageClass(input)
        self._paths = tuple(_PathField(shape, path, go_scalars=options.go_scalars) for path in path_fields)
        self._body_field = _body_field(shape, body)
        self._decode = self._decoder(input, codec)
        self._query = QueryBinder(
            shape,
            from_path=path_fields,
            from_body=self._body_field.name if self._body_field is not None else "",
            codec=codec,
            options=QueryOptions(
                json=options.json,
                ignore_unknown=options.ignore_unknown_query,
                ignore_bound=options.ignore_unknown_query or not options.one_source_per_field,
                go_scalars=options.go_scalars,
            ),
        )
        self._mask = _mask_field(shape) if options.fill_update_mask and self._body_field is not None else ""
        self._may_lack_fields = any(
            f.descriptor.is_required for reached in reachable(shape) for f in _all_fields(reached)
        )
        _check_paths(self._paths, body)
        if unknown := sorted(options.query_fields - set(shape.names)):
            raise BindingPlanError(f"query_fields: {input.full_name} has no field {', '.join(unknown)}")

    def bind(self, captures: Sequence[str], query: bytes, body: bytes | None) -> Message:
        """Return the request message.

        `captures` are the path's values, percent-decoded, in the order of `path_fields`; `query` is the raw query
        string; `body` is JSON, or None where somebody else takes care of it. Raises `BindingError` with all violations.
        """
        message = self._make()
        found = Violations()
        try:
            bound = Bound()
            if body:
                self._bind_body(body, message, bound, found)
            if captures:
                self._bind_path(captures, message, bound, found)
            if query:
                pairs = parse_pairs(query, self._options.max_query_parameters, found)
                self._bind_query(pairs, message, bound, found)
            self._finish(message, body, found)
        except TooManyError:
            pass  # what was found so far is enough
        found.raise_if_any()
        return message

    def bind_form(self, captures: Sequence[str], query: bytes, body: bytes) -> Message:
        """Return the request message of a form (application/x-www-form-urlencoded) where the rule's body is "*"."""
        if body.lstrip()[:1] in (b"{", b"["):
            # No field begins so; curl, for one, calls a body a form unless told.
            reason = "the body looks like JSON and is called a form; send the header Content-Type: application/json"
            raise BindingError([Violation("", reason)])
        found = Violations()
        try:
            pairs = parse_pairs(body, self._options.max_query_parameters, found, what="form")
        except TooManyError:
            pairs = ()
        return self._bind_pairs(captures, query, pairs, found)

    def bind_pairs(self, captures: Sequence[str], query: bytes, pairs: Iterable[tuple[str, str]]) -> Message:
        """Return the request message of named texts, such as the fields of a multipart form."""
        return self._bind_pairs(captures, query, pairs, Violations())

    def _bind_pairs(
        self, captures: Sequence[str], query: bytes, pairs: Iterable[tuple[str, str]], found: Violations
    ) -> Message:
        message = self._make()
        try:
            bound = Bound()
            if captures:
                self._bind_path(captures, message, bound, found)
            self._query.bind(pairs, message, bound, found)
            if query:
                self._bind_query(parse_pairs(query, self._options.max_query_parameters, found), message, bound, found)
            self._finish(message, None, found)
        except TooManyError:
            pass  # what was found so far is enough
        found.raise_if_any()
        return message

    def _decoder(self, input_: Descriptor, codec: Codec) -> Decoder | None:
        if self._whole_body:
            return codec.decoder(input_, self._options.json)
        if self._body_field is not None:
            return codec.field_decoder(self._body_field.descriptor, self._options.json)
        return None

    def _bind_body(self, body: bytes, message: Message, bound: Bound, found: Violations) -> None:
        if self._decode is None:
            if not self._options.ignore_body:
                found.add("", "the method takes no body; send its fields in the path or the query")
            return
        if self._body_field is not None and self._body_field.oneof:
            bound.oneofs[self._body_field.oneof] = self._body_field.name
        try:
            self._decode(body, message)
        except BindingError as error:
            found.extend(error.violations)

    def _bind_path(self, captures: Sequence[str], message: Message, bound: Bound, found: Violations) -> None:
        one_source = self._options.one_source_per_field
        for path_field, text in zip(self._paths, captures, strict=True):
            path_field.bind(text, message, bound, found, one_source=one_source)

    def _bind_query(self, pairs: Iterable[tuple[str, str]], message: Message, bound: Bound, found: Violations) -> None:
        if not self._whole_body:
            self._query.bind(pairs, message, bound, found)
            return
        others = dict[str, None]()
        for name, text in pairs:
            if name in self._options.query_fields:
                self._query.bind(((name, text),), message, bound, found)
            else:
                others[name] = None
        if not self._options.ignore_unknown_query:
            allowed = ", ".join(sorted(self._options.query_fields))
            taken = f"takes no query parameters but {allowed}" if allowed else "takes no query parameters"
            for name in others:
                found.add(name, f"the method {taken}; send the field in the body")

    def _finish(self, message: Any, body: bytes | None, found: Violations) -> None:
        if self._may_lack_fields and not message.IsInitialized():
            known = found.fields()
            for path in message.FindInitializationErrors():
                if path not in known:
                    found.add(path, "the field is required")
        if self._mask and body and not found and not is_blank(body):
            mask = getattr(message, self._mask)
            if not mask.paths:
                assert self._body_field is not None
                assert self._body_field.message is not None
                paths = mask_paths(self._body_field.message, parse_exact(body))
                # Extending by nothing would leave an empty mask where there was none.
                if paths:
                    mask.paths.extend(paths)


class _PathField:
    """A field that the path captures: how to reach it, and what its text may be."""

    __slots__ = ("_leaf", "_members", "_parents", "_parse", "path")

    def __init__(self, shape: MessageShape, path: str, *, go_scalars: bool) -> None:
        self.path = path
        fields = []
        names = path.split(".")
        for depth, name in enumerate(names):
            field_ = next((f for f in shape.fields if f.name == name), None)
            at = ".".join(names[: depth + 1])
            if field_ is None:
                hint = did_you_mean(name, shape.names)
                raise BindingPlanError(f'path field "{at}": {shape.descriptor.full_name} has no field "{name}"{hint}')
            if field_.cardinality is not Cardinality.SINGULAR:
                raise BindingPlanError(f'path field "{at}" is repeated; a path carries one value of a scalar field')
            last = depth == len(names) - 1
            if last and field_.message is not None:
                raise BindingPlanError(f'path field "{at}" is a message; a path carries one value of a scalar field')
            if not last:
                if field_.message is None or field_.message.kind is not MessageKind.OBJECT:
                    raise BindingPlanError(f'path field "{path}": "{at}" has no fields of its own')
                shape = field_.message
            fields.append((at, field_))
        self._members = [(at, f) for at, f in fields if f.oneof]
        self._parents = [f for _, f in fields[:-1]]
        self._leaf = fields[-1][1]
        self._parse: TextParser = text_parser(self._leaf, go_numbers=go_scalars)

    def bind(self, text: str, message: Any, bound: Bound, found: Violations, *, one_source: bool) -> None:
        """Set the field from the path's text."""
        try:
            value = self._parse(text)
            if one_source:
                self._check_body(value, message)
            for at, member in self._members:
                choose(member, at, bound)
        except RefusedError as error:
            found.add(self.path, error.description)
            return
        bound.fields[self.path] = self.path
        for parent in self._parents:
            message = getattr(message, parent.name)
        setattr(message, self._leaf.name, value)

    def _check_body(self, value: object, message: Any) -> None:
        """Refuse another value, or another member of a oneof, that the body has set."""
        for parent in self._parents:
            self._check_oneof(parent, message)
            if not message.HasField(parent.name):
                return
            message = getattr(message, parent.name)
        leaf = self._leaf
        self._check_oneof(leaf, message)
        current = getattr(message, leaf.name)
        given = message.HasField(leaf.name) if leaf.has_presence else bool(current)
        if given and current != value:
            raise RefusedError("the body gives the field another value than the path; leave it out, or make them agree")

    def _check_oneof(self, member: FieldShape, message: Any) -> None:
        chosen = message.WhichOneof(member.oneof) if member.oneof else None
        if chosen is not None and chosen != member.name:
            raise RefusedError(f'the body gives "{chosen}"; only one field of oneof {member.oneof} may be given')


def _body_field(shape: MessageShape, body: str) -> FieldShape | None:
    if body in ("", "*"):
        return None
    if "." in body:
        raise BindingPlanError(f'body "{body}" is a path; the body is "*" or a field of {shape.descriptor.full_name}')
    found = next((f for f in shape.fields if f.name == body), None)
    if found is None:
        hint = did_you_mean(body, shape.names)
        raise BindingPlanError(f'body "{body}": {shape.descriptor.full_name} has no such field{hint}')
    return found


def _check_paths(paths: Sequence[_PathField], body: str) -> None:
    seen: set[str] = set()
    for path_field in paths:
        if path_field.path in seen:
            raise BindingPlanError(f'path field "{path_field.path}" is captured twice')
        seen.add(path_field.path)
        if path_field.path == body:
            raise BindingPlanError(f'path field "{path_field.path}" is also the body')


def _mask_field(shape: MessageShape) -> str:
    """Return the name of a message's FieldMask, the empty string unless it has exactly one."""
    masks = [f.name for f in shape.fields if _is_mask(f)]
    return masks[0] if len(masks) == 1 else ""


def _is_mask(field_: FieldShape) -> bool:
    return (
        field_.cardinality is Cardinality.SINGULAR
        and field_.message is not None
        and field_.message.kind is MessageKind.FIELD_MASK
    )


def _all_fields(shape: MessageShape) -> tuple[FieldShape, ...]:
    return (*shape.fields, *shape.extensions.values())
