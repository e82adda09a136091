"""The parameters of an operation: what the path captures, and the fields that a query or a form may name."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge.transcoding.comments import Comments
from edge.transcoding.openapi_components import JsonSchema, Use
from edge.transcoding.openapi_paths import Placed, Wildcard
from edge.transcoding.openapi_rules import behavior_of
from edge.transcoding.openapi_schemas import Schemas, object_schema
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape

_MAX_LEAVES = 200
"""How many fields of one message are listed; the transcoder takes the others as well."""
_JSON_TEXT = frozenset((MessageKind.STRUCT, MessageKind.VALUE, MessageKind.LIST_VALUE))
_NO_TEXT = frozenset((MessageKind.OBJECT, MessageKind.ANY))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that a parameter can set; `name` is the parameter's, `path` the contract's names with dots."""

    name: str
    path: str
    field: FieldShape

    @property
    def is_json_text(self) -> bool:
        """Whether the parameter's text is JSON."""
        message = self.field.message
        return message is not None and message.kind in _JSON_TEXT and self.field.cardinality is Cardinality.SINGULAR

    @property
    def is_map(self) -> bool:
        """Whether there is a parameter for each entry: `name[key]`."""
        return self.field.cardinality is Cardinality.MAP

    @property
    def is_plain(self) -> bool:
        """Whether the parameter is the field as JSON has it, by the same name."""
        return "." not in self.path and not self.is_json_text and not self.is_map

    @property
    def is_required(self) -> bool:
        """Whether a request without it is refused."""
        return "." not in self.path and behavior_of(self.field.descriptor).required


def leaves(shape: MessageShape, schemas: Schemas, *, without: Collection[str] = ()) -> list[Leaf]:
    """Return the fields of a message that parameters can set, but for the paths `without`, in the contract's order.

    Types that hold themselves are followed once.
    """
    found: list[Leaf] = []
    for leaf in _walk(shape, schemas, frozenset(without), "", "", (shape,)):
        if len(found) >= _MAX_LEAVES:
            break
        found.append(leaf)
    return found


def query_parameters(listed: Sequence[Leaf], schemas: Schemas, comments: Comments) -> list[dict[str, Any]]:
    """Return the query parameters for fields."""
    parameters = []
    for leaf in listed:
        schema = schemas.field(leaf.field, Use.REQUEST, described=False)
        parameter: dict[str, Any] = {"name": leaf.name, "in": "query"}
        _describe(parameter, comments.of(leaf.field.descriptor.full_name), schema)
        if leaf.is_required:
            parameter["required"] = True
        if leaf.is_json_text:
            parameter["content"] = {"application/json": {"schema": schema}}
        else:
            parameter["schema"] = schema
            if leaf.is_map:
                parameter |= {"style": "deepObject", "explode": True}
        parameters.append(parameter)
    return parameters


def path_parameters(
    placed: Placed, shape: MessageShape, schemas: Schemas, comments: Comments
) -> Iterator[dict[str, Any]]:
    """Yield the path parameters of a route whose method takes messages of this shape."""
    sources = {v.field_path: v for v in placed.route.template.variables}
    for wildcard in placed.wildcards:
        field = _find(shape, wildcard.field_path) if wildcard.field_path else None
        parameter: dict[str, Any] = {"name": wildcard.label, "in": "path", "required": True}
        schema: JsonSchema = {"type": "string"}
        text = ""
        if field is not None:
            text = comments.of(field.descriptor.full_name)
            if wildcard.is_whole:
                schema = schemas.field(field, Use.REQUEST, described=False)
            else:
                variable = sources[wildcard.field_path]
                segments = placed.route.template.segments[variable.start : variable.stop]
                form = "/".join(segment.text or segment.kind.value for segment in segments)
                text = f"Part of `{wildcard.field_path}`, which has the form `{form}`. {text}".rstrip()
        _describe(parameter, _with_depth(text, wildcard), schema)
        parameter["schema"] = schema
        yield parameter


def form_schema(listed: Sequence[Leaf], schemas: Schemas) -> JsonSchema:
    """Return the schema of a form with these fields."""
    properties = {leaf.name: schemas.field(leaf.field, Use.REQUEST) for leaf in listed}
    return object_schema(properties, [leaf.name for leaf in listed if leaf.is_required])


def _walk(
    shape: MessageShape,
    schemas: Schemas,
    without: frozenset[str],
    name: str,
    path: str,
    around: tuple[MessageShape, ...],
) -> Iterator[Leaf]:
    for field in shape.fields:
        own_path = f"{path}.{field.name}" if path else field.name
        own_name = f"{name}.{schemas.name_of(field)}" if name else schemas.name_of(field)
        if own_path in without or behavior_of(field.descriptor).output_only:
            continue
        inner = field.message
        if inner is not None and inner.kind is MessageKind.OBJECT and field.cardinality is Cardinality.SINGULAR:
            if inner not in around:
                yield from _walk(inner, schemas, without, own_name, own_path, (*around, inner))
        elif _has_text(field):
            yield Leaf(own_name, own_path, field)


def _has_text(field: FieldShape) -> bool:
    value = field.value if field.value is not None else field
    if value.message is None:
        return True
    kind = value.message.kind
    return kind not in _NO_TEXT and (field.cardinality is Cardinality.SINGULAR or kind not in _JSON_TEXT)


def _find(shape: MessageShape, path: str) -> FieldShape:
    *parents, last = path.split(".")
    for name in parents:
        inner = shape.by_name[name].message
        assert inner is not None
        shape = inner
    return shape.by_name[last]


def _describe(parameter: dict[str, Any], text: str, schema: JsonSchema) -> None:
    if text:
        parameter["description"] = text
    if schema.pop("deprecated", False):
        parameter["deprecated"] = True


def _with_depth(text: str, wildcard: Wildcard) -> str:
    return f"{text} It may hold `/`.".lstrip() if wildcard.is_deep else text
