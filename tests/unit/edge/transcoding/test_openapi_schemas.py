"""The schemas against the codec: random contracts, random messages, and what is written of them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from edge.transcoding.codec import JsonOptions
from edge.transcoding.comments import Comments
from edge.transcoding.json_plan import PlanCodec
from edge.transcoding.openapi_components import JsonSchema, Use
from edge.transcoding.openapi_examples import Examples, NoExampleError
from edge.transcoding.openapi_schemas import Schemas
from edge.transcoding.schema import Schema
from tests.support.depot import depot_files, depot_service
from tests.support.openapi import faults_of_value
from tests.support.random_protos import Contract, contracts, messages, new

ROUND = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def described(type_name: str, use: Use = Use.REPLY, **options: Any) -> dict[str, JsonSchema]:
    """Return the components of a type of the depot, by name."""
    schemas = Schemas(JsonOptions(**options), Comments.of_descriptor_set(depot_files()))
    descriptor = depot_service().file.pool.FindMessageTypeByName(f"depot.v1.{type_name}")
    schemas.message(Schema().message(descriptor), use)
    return schemas.named(())


def lenient(schema: Any) -> Any:
    """Return a schema that also takes what is left out on purpose: NaN and the like, and an enum's unknown numbers."""
    if isinstance(schema, list):
        return [lenient(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: lenient(value) for name, value in schema.items()}
    kind = made.get("type")
    if kind == "number" or kind == ["number", "null"]:
        made["type"] = ["number", "null", "string"]
    if "enum" in made and kind == "string":
        return {"anyOf": [made, {"type": "integer"}]}
    return {**made, "type": "integer", "enum": [*made["enum"], 5, -(2**31)]} if "enum" in made and kind else made


@ROUND
@given(data=st.data(), contract=contracts(), defaults=st.booleans(), proto_names=st.booleans(), numbers=st.booleans())
def test_whatever_is_written_fits_its_schema(
    data: st.DataObject, contract: Contract, defaults: bool, proto_names: bool, numbers: bool
):
    options = JsonOptions(
        proto_names=proto_names,
        emit_defaults=defaults,
        emit_nulls=data.draw(st.booleans()),
        null_optionals=data.draw(st.booleans()),
        enum_numbers=numbers,
    )
    schemas, shapes = Schemas(options, Comments()), Schema()
    use = Use.REPLY if defaults else Use.SPARSE_REPLY
    roots = [schemas.message(shapes.message(message), use) for message in contract.messages]
    document = {"components": {"schemas": lenient(schemas.named(()))}}
    codec = PlanCodec()
    for message_type, root in zip(contract.messages, roots, strict=True):
        encode = codec.encoder(message_type, options)
        for message in data.draw(st.lists(messages(contract, message_type), min_size=1, max_size=2)):
            if not message.IsInitialized():
                continue
            text = encode(message)
            note(text.decode())
            assert faults_of_value(document, root, json.loads(text)) == []


@ROUND
@given(contract=contracts(), proto_names=st.booleans())
def test_every_example_fits_its_schema_and_is_read_by_the_codec(contract: Contract, proto_names: bool):
    options = JsonOptions(proto_names=proto_names)
    schemas, shapes = Schemas(options, Comments()), Schema()
    roots = [schemas.message(shapes.message(message), Use.REQUEST) for message in contract.messages]
    document = {"components": {"schemas": schemas.named(())}}
    examples, codec = Examples(document["components"]["schemas"]), PlanCodec()
    for message_type, root in zip(contract.messages, roots, strict=True):
        try:
            example = examples.of(root)
        except NoExampleError:
            continue
        note(json.dumps(example))
        assert faults_of_value(document, root, example) == []
        codec.decoder(message_type, options)(json.dumps(example).encode(), new(message_type))


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("count", {"type": "integer", "format": "int32"}),
        ("level", {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1}),
        ("grams", {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}),
        ("serial", {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}),
        ("is_new", {"type": "boolean"}),
        ("picture", {"type": "string", "format": "byte", "contentEncoding": "base64"}),
        ("condition", {"$ref": "#/components/schemas/Condition"}),
        ("packing", {"$ref": "#/components/schemas/Thing_Packing"}),
        ("size", {"$ref": "#/components/schemas/Thing_Size"}),
        ("tags", {"type": "array", "items": {"type": "string"}}),
        ("stock", {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}}),
        (
            "sizes",
            {
                "type": "object",
                "additionalProperties": {"$ref": "#/components/schemas/Thing_Size"},
                "propertyNames": {"pattern": "^-?[0-9]+$"},
            },
        ),
        (
            "signs",
            {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "propertyNames": {"enum": ["true", "false"]},
            },
        ),
        (
            "parts",
            {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Thing"},
                "description": "What it consists of.",
            },
        ),
        ("kept_since", {"type": "string", "format": "date-time"}),
        ("labels", {"type": "object", "additionalProperties": True}),
        ("value", {}),
        ("list", {"type": "array", "items": {}}),
        ("nickname", {"type": "string"}),
        ("weight", {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}),
        ("nothing", {"type": "null"}),
        ("old", {"type": "string", "deprecated": True}),
    ],
)
def test_a_field_is_described_as_json_has_it(field: str, schema: JsonSchema):
    assert described("Thing")["Thing"]["properties"][field] == schema


def test_an_enum_lists_its_names_and_their_comments():
    assert described("Thing")["Condition"] == {
        "type": "string",
        "enum": ["CONDITION_UNSPECIFIED", "CONDITION_GOOD", "CONDITION_BAD"],
        "description": "How a thing is.\n\n- `CONDITION_GOOD`: As if new.",
    }


def test_an_enum_is_described_by_numbers_where_these_are_written():
    assert described("Thing", enum_numbers=True)["Condition"]["enum"] == [0, 1, 2]


def test_names_are_those_that_are_written():
    assert "keptSince" in described("Thing", proto_names=False)["Thing"]["properties"]


def test_a_reply_with_defaults_always_has_the_fields_without_presence():
    required = described("Thing")["Thing"]["required"]
    assert {"count", "tags", "stock", "condition"} <= set(required)
    assert not {"note", "size", "person", "kept_since"} & set(required)
    assert "required" not in described("Thing", Use.SPARSE_REPLY)["Thing"]


def test_a_request_demands_what_the_contract_marks_as_required():
    assert described("MoveThingRequest", Use.REQUEST)["MoveThingRequest"]["required"] == ["room"]


def test_fields_for_replies_only_are_not_asked_for_and_those_for_requests_not_promised():
    reply, request = described("Thing")["Thing"], described("Thing", Use.REQUEST)["Thing"]
    assert ("create_time" in reply["properties"], "secret" in reply["properties"]) == (True, False)
    assert ("create_time" in request["properties"], "secret" in request["properties"]) == (False, True)


def test_only_one_member_of_a_oneof_fits():
    components = described("Thing", Use.REQUEST)
    document, root = {"components": {"schemas": components}}, components["Thing"]
    assert faults_of_value(document, root, {"person": "Ada"}) == []
    assert faults_of_value(document, root, {"person": "Ada", "company": "Co"}) != []
    assert "At most one of `person`, `company`, `number`." in root["description"]


def test_unset_messages_are_null_where_nulls_are_written():
    thing = described("Thing", emit_nulls=True)["Thing"]
    assert thing["properties"]["size"] == {"anyOf": [{"$ref": "#/components/schemas/Thing_Size"}, {"type": "null"}]}
    assert thing["properties"]["kept_since"]["type"] == ["string", "null"]
    assert {"size", "kept_since"} <= set(thing["required"])


def test_a_default_of_proto2_is_told():
    schema = Schemas(JsonOptions(), Comments())
    with_default = depot_service().file.pool.FindMessageTypeByName("google.protobuf.FieldOptions")
    schema.message(Schema().message(with_default), Use.REQUEST)
    field = schema.named(())["FieldOptions"]["properties"]["ctype"]
    assert field["default"] == "STRING"
