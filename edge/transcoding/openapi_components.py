"""The named schemas of an OpenAPI document while it is made: what refers to them is written when all are known."""

import enum
import hashlib
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

JsonSchema = dict[str, Any]

_PREFIX = "#/components/schemas/"


class Use(enum.Enum):
    """What a schema describes, for that decides which fields are always there. The value is a suffix for names."""

    REPLY = ""
    SPARSE_REPLY = "Partial"
    REQUEST = "Input"


@dataclass(slots=True, eq=False)
class _Component:
    """A schema in the making; `name` is the full name of what it describes, in parts."""

    name: tuple[str, ...]
    use: Use
    schema: JsonSchema = field(default_factory=dict)


class Components:
    """Hands out references to schemas, and names these at the end."""

    def __init__(self) -> None:
        self._components: dict[Hashable, _Component] = {}
        self._references: list[tuple[JsonSchema, _Component]] = []

    def reference(self, key: Hashable, name: tuple[str, ...], use: Use, make: Callable[[], JsonSchema]) -> JsonSchema:
        """Return a new reference to the schema of a key, which is made when it is first asked for.

        Its target is written by `named`. A schema may refer to itself.
        """
        component = self._components.get(key)
        if component is None:
            component = self._components[key] = _Component(name, use)
            component.schema.update(make())
        reference: JsonSchema = {"$ref": ""}
        self._references.append((reference, component))
        return reference

    def named(self, reserved: Collection[str] = ()) -> dict[str, JsonSchema]:
        """Return all schemas by their names, none of which is `reserved`, and write the references.

        A name is as short as it can be and still be one type's alone. Types that look the same in requests and in
        replies are one component.
        """
        labels = self._distinct()
        names = self._names(labels, reserved)
        for reference, target in self._references:
            reference["$ref"] = _PREFIX + names[labels[target]]
        return {names[labels[component]]: component.schema for component in self._components.values()}

    def _distinct(self) -> dict[_Component, str]:
        """Return a label for each component, equal where two of one type say the same, all that they refer to included.

        Labels begin as the types' names, and are refined until no refinement tells more of them apart.
        """
        labels = {component: ".".join(component.name) for component in self._components.values()}
        while True:
            for reference, target in self._references:
                reference["$ref"] = labels[target]
            refined = {component: _label(component) for component in labels}
            if len(set(refined.values())) == len(set(labels.values())):
                return refined
            labels = refined

    def _names(self, labels: dict[_Component, str], reserved: Collection[str]) -> dict[str, str]:
        short = _shortest({component.name for component in labels})
        order = list(Use)
        names: dict[str, str] = {}
        taken = set(reserved)
        for component in sorted(labels, key=lambda component: order.index(component.use)):
            label = labels[component]
            if label in names:
                continue
            name = short[component.name]
            # The first of a type's forms has its plain name; replies come first.
            if name in taken:
                name += component.use.value
            while name in taken:
                name += "_"
            taken.add(name)
            names[label] = name
        return names


def _label(component: _Component) -> str:
    said = orjson.dumps(component.schema, option=orjson.OPT_SORT_KEYS)
    return f"{'.'.join(component.name)} {hashlib.blake2b(said, digest_size=16).hexdigest()}"


def _shortest(names: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Return the shortest ends of names that are no other's."""
    found = {}
    ends: dict[tuple[str, ...], int] = {}
    for name in names:
        for end in _ends(name):
            ends[end] = ends.get(end, 0) + 1
    for name in names:
        end = next((end for end in _ends(name) if ends[end] == 1), name)
        found[name] = "_".join(end)
    return found


def _ends(name: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (name[-length:] for length in range(1, len(name) + 1))
