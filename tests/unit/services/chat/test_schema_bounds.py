"""Schemas for models that can be held to their structure only."""

from enum import StrEnum
from typing import Annotated, Literal

from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from services.chat.schema_bounds import without_bounds


def test_bounds_are_said_in_the_description_and_named():
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 1, "maximum": 9, "description": "in years"},
            "name": {"type": "string", "pattern": "^a"},
        },
        "required": ["age"],
        "additionalProperties": False,
    }
    assert without_bounds(schema) == (
        {
            **schema,
            "properties": {
                "age": {"type": "integer", "description": "in years\n\n{minimum: 1, maximum: 9}"},
                "name": {"type": "string", "description": "{pattern: ^a}"},
            },
        },
        ("maximum", "minimum", "pattern"),
    )


def test_they_are_found_wherever_schemas_are():
    bounded = {"type": "string", "minLength": 2}
    plain = {"type": "string", "description": "{minLength: 2}"}
    for name in ("$defs", "definitions"):
        assert without_bounds({name: {"x": bounded}})[0] == {name: {"x": plain}}
    for name in ("anyOf", "oneOf", "allOf"):
        assert without_bounds({name: [bounded, {"type": "null"}]})[0] == {name: [plain, {"type": "null"}]}
    assert without_bounds({"type": "array", "items": bounded}) == ({"type": "array", "items": plain}, ("minLength",))


def test_a_property_that_is_called_like_a_bound_is_none():
    schema = {
        "type": "object",
        "properties": {"minimum": {"type": "integer"}, "format": {"type": "string"}},
        "required": ["minimum"],
        "additionalProperties": False,
    }
    assert without_bounds(schema) == (schema, ())


def test_what_can_be_held_stays():
    schema = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "date-time", "enum": ["a"]}}
    assert without_bounds(schema) == (schema, ())
    lost = {"type": "array", "minItems": 2, "items": {"type": "string", "format": "color"}}
    assert without_bounds(lost)[1] == ("format", "minItems")


def test_objects_that_do_not_say_are_closed_and_open_ones_are_the_providers_to_refuse():
    assert without_bounds({"type": "object", "properties": {}})[0]["additionalProperties"] is False
    for open_one in (True, {"type": "string"}):
        schema = {"type": "object", "additionalProperties": open_one}
        assert without_bounds(schema) == (schema, ())


def test_what_is_no_schema_stays_as_it_is():
    for odd in ({"properties": 5, "items": True, "anyOf": "x", "$defs": None}, {"type": ["string", 5]}):
        assert without_bounds(odd) == (odd, ())


class _Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class _Wheel(BaseModel):
    spokes: Annotated[int, Field(ge=3, le=40)]
    colour: _Colour


class _Car(BaseModel):
    """A car."""

    kind: Literal["car"]
    wheels: Annotated[list[_Wheel], Field(min_length=3)]
    owner: Annotated[str, Field(max_length=20)] | None


def test_a_model_that_the_openai_sdk_makes_a_schema_of_keeps_its_structure():
    loosened, names = without_bounds(to_strict_json_schema(_Car))
    assert names == ("maxLength", "maximum", "minItems", "minimum")
    assert set(loosened["properties"]) == set(loosened["required"]) == {"kind", "wheels", "owner"}
    assert "{minItems: 3}" in loosened["properties"]["wheels"]["description"]
    # Once is enough: nothing is said twice, however often it is done.
    assert without_bounds(loosened) == (loosened, ())
