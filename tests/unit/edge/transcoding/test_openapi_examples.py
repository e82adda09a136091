from typing import Any

import pytest

from edge.transcoding.openapi_components import JsonSchema
from edge.transcoding.openapi_examples import Examples, NoExampleError
from tests.support.openapi import faults_of_value

COMPONENTS: dict[str, JsonSchema] = {
    "Pet": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "born": {"type": ["string", "null"], "format": "date-time"},
            "owner": {"anyOf": [{"$ref": "#/components/schemas/Owner"}, {"type": "null"}]},
            "legs": {"type": "integer", "format": "int32"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "born", "owner", "legs"],
    },
    "Owner": {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]},
    "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
    "Trap": {"type": "object", "properties": {"t": {"$ref": "#/components/schemas/Trap"}}, "required": ["t"]},
}


@pytest.fixture
def examples() -> Examples:
    return Examples(COMPONENTS)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, "2026-01-31T12:00:00Z"),
        ({"type": "string", "minLength": 6}, "textte"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "enum": ["NONE", "ONE"]}, "ONE"),
        ({"type": "string", "const": "x"}, "x"),
        ({"type": "string", "examples": ["1.5s"], "pattern": "s$"}, "1.5s"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "maximum": 0}, 0),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({}, {}),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"key": 1}),
        ({"$ref": "#/components/schemas/Node"}, {}),
        ({"$ref": "#/components/schemas/Owner"}, {"email": "ada@example.com"}),
    ],
    ids=str,
)
def test_an_example_fits_its_schema(examples: Examples, schema: JsonSchema, value: Any):
    assert examples.of(schema) == value
    assert faults_of_value({"components": {"schemas": COMPONENTS}}, schema, value) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[0-9]+$"},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
        {"$ref": "#/components/schemas/Trap"},
    ],
    ids=str,
)
def test_no_example_is_better_than_a_wrong_one(examples: Examples, schema: JsonSchema):
    with pytest.raises(NoExampleError):
        examples.of(schema)


def test_texts_say_which_field_they_stand_in(examples: Examples):
    assert examples.of(COMPONENTS["Pet"])["tags"] == ["tag"]


def test_an_example_of_somebody_else_is_completed_and_put_in_order(examples: Examples):
    pet = {"$ref": "#/components/schemas/Pet"}
    completed = examples.completed({"type": "array", "items": pet}, [{"tags": ["quiet"], "name": "Tom", "owner": {}}])
    assert completed == [
        {"name": "Tom", "born": None, "owner": {"email": "ada@example.com"}, "legs": 1, "tags": ["quiet"]}
    ]
    assert list(completed[0]) == ["name", "born", "owner", "legs", "tags"]
