"""Examples made from schemas: one value that fits, whose texts say which field they stand in."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edge.transcoding.openapi_components import JsonSchema
from edge.transcoding.options import Framing

_MAX_DEPTH = 6
_BY_FORMAT: Mapping[str, str] = {
    "date-time": "2026-01-31T12:00:00Z",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/path",
    "uuid": "8f14e45f-ceea-467f-a0e6-1d3c4b2a9f10",
    "int64": "1",
    "uint64": "1",
    "byte": "AAEC",
}
_BY_NAME: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:.*_)?id\Z"), _BY_FORMAT["uuid"]),
    (re.compile(r"(?:.*_)?email\Z"), "ada@example.com"),
    (re.compile(r"(?:.*_)?(?:url|uri)\Z"), "https://example.com/"),
)


class NoExampleError(ValueError):
    """A schema that no value is known for, such as one with a pattern."""


class Examples:
    """Makes examples; `components` are the schemas that references lead to, by name."""

    def __init__(self, components: Mapping[str, JsonSchema]) -> None:
        self._components = components

    def of(self, schema: JsonSchema) -> Any:
        """Return a value that fits a schema; raises `NoExampleError`."""
        return self._value(schema, "text", ())

    def stream(self, media_type: str, schema: JsonSchema, given: Sequence[Any] | None) -> str:
        """Return the text of a stream of the messages given, or of one message, framed as the media type says.

        The schema is that of one record, as `openapi_bodies` writes it: a message or an error. Raises `NoExampleError`.
        """
        end = ""
        if media_type == Framing.SSE.value:
            data = schema.get("properties", {}).get("data", {})
            choices = data.get("anyOf", [data])
            end = "".join(f"data: {choice['const']}\n\n" for choice in choices if "const" in choice)
            schema = choices[-1].get("contentSchema", {})
        message = schema["anyOf"][0] if "anyOf" in schema else schema
        values = [self.of(message)] if given is None else [self.completed(message, one) for one in given]
        texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
        if media_type == Framing.SSE.value:
            return "".join(f"data: {text}\n\n" for text in texts) + end
        return "".join(f"{text}\n" for text in texts)

    def completed(self, schema: JsonSchema, example: Any) -> Any:
        """Return an example with what its schema requires and it lacks; raises `NoExampleError`.

        A field that may be null is null, another one gets a value of its own.
        """
        if "$ref" in schema:
            return self.completed(self._components[schema["$ref"].rpartition("/")[2]], example)
        if isinstance(example, list):
            return [self.completed(schema.get("items", {}), item) for item in example]
        if not isinstance(example, dict):
            return example
        if "anyOf" in schema and "properties" not in schema:
            return self.completed(schema["anyOf"][0], example)
        properties: Mapping[str, JsonSchema] = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        entry = rest if isinstance(rest, dict) else {}
        made = {name: self.completed(properties.get(name, entry), value) for name, value in example.items()}
        for name in schema.get("required", ()):
            if name not in made:
                inner = properties.get(name, {})
                made[name] = None if _may_be_null(inner) else self._value(inner, name, ())
        # In the contract's order, whatever was given.
        return {name: made[name] for name in (*properties, *made) if name in made}

    def _value(self, schema: JsonSchema, name: str, around: tuple[str, ...]) -> Any:
        if "$ref" in schema:
            target = schema["$ref"].rpartition("/")[2]
            if target in around or len(around) >= _MAX_DEPTH:
                raise NoExampleError
            return self._value({**self._components[target], **_siblings(schema)}, name, (*around, target))
        for keyword in ("const", "default"):
            if keyword in schema:
                return schema[keyword]
        if "examples" in schema:
            return schema["examples"][0]
        if "enum" in schema:
            # The first value of an enum is the one that stands for none.
            return schema["enum"][min(1, len(schema["enum"]) - 1)]
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0]
        if kind is None:
            return self._value(schema["anyOf"][0], name, around) if "anyOf" in schema else {}
        if kind == "object":
            return self._object(schema, around)
        if kind == "array":
            return self._array(schema, name, around)
        if kind == "string":
            return _text(schema, name)
        return {"boolean": True, "null": None}[kind] if kind in ("boolean", "null") else _number(schema, kind)

    def _object(self, schema: JsonSchema, around: tuple[str, ...]) -> dict[str, Any]:
        required = schema.get("required", ())
        made: dict[str, Any] = {}
        for name, inner in schema.get("properties", {}).items():
            if inner.get("deprecated") and name not in required:
                continue
            try:
                made[name] = self._value(inner, name, around)
            except NoExampleError:
                if name in required:
                    raise
        entry = schema.get("additionalProperties")
        if isinstance(entry, dict):
            keys = schema.get("propertyNames", {})
            key = keys["enum"][0] if "enum" in keys else "1" if "pattern" in keys else "key"
            made[key] = self._value(entry, "value", around)
        for forbidden in _forbidden(schema):
            if all(name in made for name in forbidden):
                del made[forbidden[-1]]
        if schema.get("minProperties", 0) > len(made):
            raise NoExampleError
        return made

    def _array(self, schema: JsonSchema, name: str, around: tuple[str, ...]) -> list[Any]:
        count = max(1, schema.get("minItems", 1))
        if count > 1 and schema.get("uniqueItems"):
            raise NoExampleError
        try:
            one = self._value(schema["items"], _singular(name), around)
        except NoExampleError:
            if schema.get("minItems", 0):
                raise
            return []
        return [one] * count


def _may_be_null(schema: JsonSchema) -> bool:
    kind = schema.get("type")
    return kind == "null" or (isinstance(kind, list) and "null" in kind) or {"type": "null"} in schema.get("anyOf", ())


def _singular(name: str) -> str:
    return f"{name[:-3]}y" if name.endswith("ies") else name.removesuffix("s")


def _siblings(schema: JsonSchema) -> JsonSchema:
    return {name: value for name, value in schema.items() if name not in ("$ref", "description")}


def _forbidden(schema: JsonSchema) -> list[list[str]]:
    """Return the pairs of properties of which a oneof allows one."""
    rule = schema.get("not", {})
    return [pair["required"] for pair in rule.get("anyOf", [rule]) if "required" in pair]


def _text(schema: JsonSchema, name: str) -> str:
    if schema.get("format") in _BY_FORMAT:
        return _BY_FORMAT[schema["format"]]
    text = next((text for pattern, text in _BY_NAME if pattern.match(name)), name.replace("_", " "))
    low, high = schema.get("minLength", 0), schema.get("maxLength", len(text))
    text = (text * (low // max(len(text), 1) + 1))[: max(low, min(high, len(text)))] if low > len(text) else text[:high]
    pattern = schema.get("pattern")
    if "allOf" in schema or (pattern is not None and not _fits(pattern, text)):
        raise NoExampleError
    return text


def _fits(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _number(schema: JsonSchema, kind: str) -> float:
    step = 1 if kind == "integer" else 0.5
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    number = 1 if low is None else max(low, 1)
    if high is not None and number > high:
        number = high
    if low is not None and number < low:
        raise NoExampleError
    return int(number) if kind == "integer" else float(number)
