"""Fills the field mask of a PATCH from what its body names."""

import re
from collections.abc import Iterator

from edge.transcoding.schema import Cardinality, MessageKind, MessageShape

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def mask_paths(shape: MessageShape, tree: object) -> list[str]:
    """Return the paths of the fields that a JSON object names, by the contract's names, in the object's order.

    Messages are descended into, repeated fields and maps are not (field_mask.proto). An empty object and a null name
    their own field, which is how a client empties it. Inside a Struct, keys go on the path as long as they could stand
    there; the first that could not makes the mask end at the object that has it. Unknown fields are left out.
    """
    if not isinstance(tree, dict):
        return []
    return list(dict.fromkeys(_paths(shape, tree, "")))


def _paths(shape: MessageShape, tree: dict[str, object], prefix: str) -> Iterator[str]:
    for key, value in tree.items():
        field = shape.by_name.get(key)
        if field is None or field.is_extension:
            continue
        path = prefix + field.name
        inner = field.message if field.cardinality is Cardinality.SINGULAR else None
        if inner is None or not isinstance(value, dict) or not value:
            yield path
        elif inner.kind is MessageKind.OBJECT:
            # Every key may be unknown and ignored; then the object counts as empty.
            below = list(_paths(inner, value, path + "."))
            yield from below or [path]
        elif inner.kind in (MessageKind.STRUCT, MessageKind.VALUE):
            yield from _struct_paths(value, path)
        else:
            yield path


def _struct_paths(tree: dict[str, object], path: str) -> Iterator[str]:
    if not all(map(_PLAIN_KEY.match, tree)):
        yield path
        return
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _struct_paths(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}"
