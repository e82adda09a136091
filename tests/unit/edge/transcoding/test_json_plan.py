"""JSON in and out, kind by kind, through the codec that the transcoder uses."""

import json
from typing import Any

import pytest
from google.protobuf import (  # type: ignore[attr-defined]  # json_enumvalue_options_pb2 is newer than the stubs
    descriptor_pb2,
    descriptor_pool,
    json_enumvalue_options_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
)

from edge.transcoding.codec import Codec, JsonOptions
from edge.transcoding.json_plan import ChoosingCodec, PlanCodec, UnsupportedShapeError
from edge.transcoding.json_reference import ReferenceCodec
from edge.transcoding.violations import BindingError, EncodingError
from tests.support.kinds import field, kind, kinds_pool, make

CODECS = pytest.mark.parametrize("codec", [PlanCodec(), ReferenceCodec()], ids=["plan", "reference"])


def decode(codec: Codec, type_name: str, body: str | bytes, **options: Any) -> Any:
    message = make(type_name)
    raw = body.encode() if isinstance(body, str) else body
    codec.decoder(kind(type_name), JsonOptions(**options))(raw, message)
    return message


def encode(codec: Codec, message: Any, **options: Any) -> Any:
    return json.loads(codec.encoder(message.DESCRIPTOR, JsonOptions(**options))(message))


def refused(codec: Codec, type_name: str, body: str | bytes, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(BindingError) as caught:
        decode(codec, type_name, body, **options)
    return [(violation.field, violation.description) for violation in caught.value.violations]


# Each pair is read from the JSON and written back as it.
BOTH_WAYS: dict[str, Any] = {
    "int32": ({"int32_field": -5}, {"int32_field": -5}),
    "int64 as string": ({"int64_field": "-9223372036854775808"}, {"int64_field": -(2**63)}),
    "uint64 as string": ({"uint64_field": "18446744073709551615"}, {"uint64_field": 2**64 - 1}),
    "float": ({"float_field": 0.1}, {"float_field": 0.1}),
    "largest float": ({"float_field": 3.4028235e38}, {"float_field": 3.4028235e38}),
    "double": ({"double_field": 1e300}, {"double_field": 1e300}),
    "infinity": ({"double_field": "-Infinity"}, {"double_field": float("-inf")}),
    "minus zero": ({"double_field": -0.0}, {"double_field": -0.0}),
    "bool": ({"bool_field": True}, {"bool_field": True}),
    "string": ({"string_field": "na\u00efve \U0001f600"}, {"string_field": "na\u00efve \U0001f600"}),
    "bytes": ({"bytes_field": "+/8="}, {"bytes_field": b"\xfb\xff"}),
    "enum": ({"color": "COLOR_VIOLET"}, {"color": 2}),
    "unknown enum number": ({"color": 77}, {"color": 77}),
    "message": ({"inner": {"text": "a", "inner": {"count_of": 1}}}, {"inner": {"text": "a", "inner": {"count_of": 1}}}),
    "empty message": ({"inner": {}}, {"inner": {}}),
    "optional zero": ({"optional_int": 0}, {"optional_int": 0}),
    "repeated wide": ({"numbers": ["1", "-2"]}, {"numbers": [1, -2]}),
    "repeated strings": ({"tags": ["", "b"]}, {"tags": ["", "b"]}),
    "repeated messages": ({"inners": [{}, {"text": "x"}]}, {"inners": [{}, {"text": "x"}]}),
    "repeated enums": ({"colors": ["COLOR_RED", 9]}, {"colors": [1, 9]}),
    "repeated bools": ({"flags": [True, False]}, {"flags": [True, False]}),
    "repeated bytes": ({"blobs": ["QQ=="]}, {"blobs": [b"A"]}),
    "string map": ({"labels": {"": "x", "k": ""}}, {"labels": {"": "x", "k": ""}}),
    "number map": ({"by_number": {"-1": {"text": "x"}}}, {"by_number": {-1: {"text": "x"}}}),
    "bool map": ({"by_flag": {"true": "1", "false": "0"}}, {"by_flag": {True: 1, False: 0}}),
    "oneof default": ({"number": 0}, {"number": 0}),
    "wrapped": ({"wrapped_int": "0", "wrapped_bool": False}, {"wrapped_int": {"value": 0}, "wrapped_bool": {}}),
    "wrapped bytes": ({"wrapped_bytes": "QQ=="}, {"wrapped_bytes": {"value": b"A"}}),
    "wrapped NaN": ({"wrapped_double": "NaN"}, None),
    "timestamp": (
        {"created_at": "2024-05-17T09:30:00.120Z"},
        {"created_at": {"seconds": 1715938200, "nanos": 120000000}},
    ),
    "duration": ({"max_wait": "-1.500s"}, {"max_wait": {"seconds": -1, "nanos": -500000000}}),
    "field mask": ({"mask": "a,bC.dE"}, {"mask": {"paths": ["a", "b_c.d_e"]}}),
    "struct": ({"extra": {"a": [1.5, None, {"b": "c"}, True]}}, None),
    "empty struct": ({"extra": {}}, {"extra": {}}),
    "value null": ({"value": None}, {"value": {"null_value": 0}}),
    "value number": ({"value": 2.5}, {"value": {"number_value": 2.5}}),
    "value list": ({"value": [[], {}]}, None),
    "list": ({"list": ["a", 1.5]}, None),
    "empty": ({"empty": {}}, {"empty": {}}),
    "null value in a oneof": ({"nothing": None}, {"nothing": 0}),
    "any": ({"any": {"@type": "type.googleapis.com/test.kinds.v1.Inner", "text": "x", "inner": {}}}, None),
    "any of a well-known type": ({"any": {"@type": "x/google.protobuf.Duration", "value": "1s"}}, None),
    "any in any": (
        {"any": {"@type": "x/google.protobuf.Any", "value": {"@type": "x/google.protobuf.BoolValue", "value": True}}},
        None,
    ),
    "empty any": ({"any": {}}, {"any": {}}),
}


@CODECS
@pytest.mark.parametrize(("tree", "fields"), BOTH_WAYS.values(), ids=BOTH_WAYS)
def test_a_value_of_each_kind_is_read_and_written(codec: Codec, tree: Any, fields: Any) -> None:
    if "largest" in str(fields) or tree == {"float_field": 3.4028235e38}:
        codec = PlanCodec()  # json_format refuses the largest float that it writes itself
    message = decode(codec, "Kinds", json.dumps(tree))
    if fields is not None:
        assert message == make("Kinds", **fields)
    assert encode(codec, message) == tree
    # 1 and 1.0 and True are equal, their texts are not; a map has no order.
    assert json.dumps(encode(codec, message), sort_keys=True) == json.dumps(tree, sort_keys=True)


READ_ALSO = {
    "JSON name": ('{"int32Field": 1}', {"int32_field": 1}),
    "integer as string": ('{"int32_field": "-7"}', {"int32_field": -7}),
    "integer with exponent": ('{"int32_field": 1.2e1}', {"int32_field": 12}),
    "integral float": ('{"int32_field": 5.0}', {"int32_field": 5}),
    "wide integer as number": ('{"uint64_field": 18446744073709551615}', {"uint64_field": 2**64 - 1}),
    "number as string": ('{"double_field": "1.5e3"}', {"double_field": 1500.0}),
    "integer for a double": ('{"double_field": 3}', {"double_field": 3.0}),
    "URL-safe base64": ('{"bytes_field": "-_8="}', {"bytes_field": b"\xfb\xff"}),
    "unpadded base64": ('{"bytes_field": "-_8"}', {"bytes_field": b"\xfb\xff"}),
    "enum by number": ('{"color": 1}', {"color": 1}),
    "enum by number as string": ('{"color": "1"}', {"color": 1}),
    "null": ('{"int32_field": null, "inner": null, "tags": null, "labels": null, "extra": null}', {}),
    "null in a oneof": ('{"name": null, "number": 3, "nested": null}', {"number": 3}),
    "offset": ('{"created_at": "1970-01-01T01:00:00+01:00"}', {"created_at": {}}),
    "nanoseconds": ('{"created_at": "1970-01-01T00:00:00.000000001Z"}', {"created_at": {"nanos": 1}}),
    "null value": ('{"null_value": null}', {}),
    "white space": (' {\n"tags" : [ "a" ,\t"b" ] } \r\n', {"tags": ["a", "b"]}),
    "escapes": (r'{"string_field": "\"a\\:\u00e9\ud83d\ude00"}', {"string_field": '"a\\:\u00e9\U0001f600'}),
    "nothing": ("", {}),
    "white space alone": (" \n", {}),
}


@CODECS
@pytest.mark.parametrize(("body", "fields"), READ_ALSO.values(), ids=READ_ALSO)
def test_other_forms_of_a_value_are_read(codec: Codec, body: str, fields: Any) -> None:
    assert decode(codec, "Kinds", body) == make("Kinds", **fields)


@CODECS
@pytest.mark.parametrize(
    "body",
    [
        '{"int32_field": 2147483648}',
        '{"int32_field": -2147483649}',
        '{"uint32_field": -1}',
        '{"int64_field": 9223372036854775808}',
        '{"uint64_field": 18446744073709551616}',
        '{"int32_field": 1.5}',
        '{"int32_field": true}',
        '{"int32_field": "1 "}',
        '{"int32_field": ""}',
        '{"int32_field": []}',
        '{"bool_field": 1}',
        '{"bool_field": "true"}',
        '{"flags": [1]}',
        '{"flags": [true, null]}',
        '{"double_field": 1e400}',
        '{"float_field": 1e39}',
        '{"double_field": "nan"}',
        '{"double_field": NaN}',
        '{"double_field": Infinity}',
        '{"string_field": 1}',
        '{"string_field": "\\ud800"}',
        '{"string_field": ["a"]}',
        '{"color": "COLOR_NONE"}',
        '{"color": {}}',
        '{"bytes_field": 5}',
        '{"bytes_field": "A"}',
        '{"inner": 5}',
        '{"tags": "a"}',
        '{"tags": [null]}',
        '{"tags": [1]}',
        '{"labels": []}',
        '{"labels": {"a": null}}',
        '{"by_number": {"x": {}}}',
        '{"by_flag": {"1": "1"}}',
        '{"name": "a", "number": 1}',
        '{"created_at": "2024-02-30T00:00:00Z"}',
        '{"created_at": 5}',
        '{"created_at": "2024-05-17 09:30:00Z"}',
        '{"created_at": "2024-05-17T09:30:00"}',
        '{"created_at": "0001-01-01T00:00:00+00:01"}',
        '{"max_wait": "1"}',
        '{"max_wait": "315576000001s"}',
        '{"max_wait": 1}',
        '{"mask": ["a"]}',
        '{"extra": []}',
        '{"list": {}}',
        '{"any": {"text": "x"}}',
        '{"any": {"@type": "x/unknown.Type"}}',
        '{"any": {"@type": 5}}',
        '{"any": {"@type": "x/google.protobuf.Duration"}}',
        '{"wrapped_int": {"value": 1}}',
        '{"empty": {"a": 1}}',
        '{"unknown": 1}',
        '{"int32_field": 1, "int32_field": 1}',
        '{"labels": {"a": "1", "a": "2"}}',
        '{"extra": {"a": [{"b": 1, "b": 2}]}}',
        '{"inner": {"text": "a", "text": "b"}}',
        "null",
        "5",
        '"x"',
        "{} {}",
        '{"int32_field": 1}x',
        '{"int32_field": 1',
        "{'int32_field': 1}",
        '{"int32_field": 01}',
        '{"tags": ["a",]}',
        "\ufeff{}",
    ],
)
def test_what_does_not_fit_is_refused(codec: Codec, body: str) -> None:
    assert refused(codec, "Kinds", body)


@CODECS
def test_text_that_is_not_utf8_is_refused(codec: Codec) -> None:
    assert refused(codec, "Kinds", b'{"string_field": "\xff"}')
    assert refused(codec, "Kinds", b'{"\xff": 1}')


@CODECS
def test_ignoring_unknown_fields_still_checks_the_rest(codec: Codec) -> None:
    body = '{"nope": [{"a": {"b": 1}}, "x:y"], "int32_field": 4, "inner": {"more": 1, "text": "t"}}'
    assert decode(codec, "Kinds", body, ignore_unknown=True) == make("Kinds", int32_field=4, inner={"text": "t"})
    assert refused(codec, "Kinds", '{"nope": {"a": 1, "a": 2}}', ignore_unknown=True)
    assert refused(codec, "Kinds", '{"nope": 1, "int32_field": "x"}', ignore_unknown=True)


def test_a_bad_enum_name_is_refused_though_unknown_fields_are_ignored() -> None:
    body = '{"color": "PINK", "colors": ["PINK", "COLOR_RED"]}'
    found = refused(PlanCodec(), "Kinds", body, ignore_unknown=True)
    assert [path for path, _ in found] == ["color", "colors[0]"]
    lenient = decode(PlanCodec(), "Kinds", body, ignore_unknown_enums=True)
    assert lenient == make("Kinds", colors=[1])


@CODECS
def test_options_shape_what_is_written(codec: Codec) -> None:
    message = make("Inner", count_of=3)
    assert encode(codec, message) == {"count_of": 3}
    assert encode(codec, message, proto_names=False) == {"countOf": 3}
    assert encode(codec, message, emit_defaults=True) == {"text": "", "count_of": 3}
    kinds = make("Kinds", color=2)
    assert encode(codec, kinds, enum_numbers=True) == {"color": 2}
    everything = encode(codec, kinds, emit_defaults=True)
    assert everything["int64_field"] == "0"
    assert everything["tags"] == []
    assert everything["labels"] == {}
    assert everything["bytes_field"] == ""
    assert "optional_int" not in everything
    assert "inner" not in everything
    assert "name" not in everything


def test_nulls_stand_for_unset_messages_but_not_for_oneofs() -> None:
    written = encode(PlanCodec(), make("Kinds"), emit_defaults=True, emit_nulls=True)
    assert written["inner"] is None
    assert written["created_at"] is None
    assert written["wrapped_int"] is None
    assert not {"name", "nested", "optional_int"} & written.keys()
    legacy = encode(PlanCodec(), make("Legacy"), emit_defaults=True, emit_nulls=True)
    assert legacy["count"] is None
    assert legacy["bit"] == []


def test_nulls_stand_for_unset_optional_fields_where_they_are_asked_for() -> None:
    written = encode(PlanCodec(), make("Kinds"), emit_defaults=True, emit_nulls=True, null_optionals=True)
    assert written["optional_int"] is None
    assert written["inner"] is None
    assert not {"name", "nested"} & written.keys()
    given = encode(PlanCodec(), make("Kinds", optional_int=0), emit_defaults=True, emit_nulls=True, null_optionals=True)
    assert given["optional_int"] == 0


@CODECS
def test_proto2_keeps_presence_groups_and_extensions(codec: Codec) -> None:
    tree = {
        "count": 0,
        "mood": "MOOD_ANGRY",
        "part": {"piece": "x"},
        "bit": [{"size": 1}, {}],
        "[test.legacy.v1.note]": "n",
        "[test.legacy.v1.older]": [{"count": 1}],
    }
    message = decode(codec, "Legacy", json.dumps(tree))
    assert message.HasField("count")
    assert encode(codec, message) == tree
    assert encode(codec, make("Legacy")) == {}
    assert refused(codec, "Legacy", '{"mood": 3}')
    assert refused(codec, "Legacy", '{"[test.legacy.v1.none]": 3}')


@CODECS
def test_a_field_alone_is_read_from_a_body(codec: Codec) -> None:
    def read(name: str, body: str) -> Any:
        message = make("BodyOfEveryKind", id="kept")
        codec.field_decoder(field("BodyOfEveryKind", name), JsonOptions())(body.encode(), message)
        assert message.id == "kept"
        return message

    assert read("text", '"hello"').text == "hello"
    assert read("number", '"9007199254740993"').number == 9007199254740993
    assert read("color", '"COLOR_RED"').color == 1
    assert [inner.text for inner in read("inners", '[{"text":"a"},{}]').inners] == ["a", ""]
    assert dict(read("counts", '{"a":1}').counts) == {"a": 1}
    assert read("value", "null").value.WhichOneof("kind") == "null_value"
    assert read("one", "{}").HasField("one")
    assert not read("one", "null").HasField("one")
    assert not read("one", "").HasField("one")
    assert read("raw", '"QQ"').raw == b"A"
    extension = kinds_pool().FindExtensionByName("test.legacy.v1.older")
    legacy = make("Legacy", count=1)
    codec.field_decoder(extension, JsonOptions())(b'[{"count": 2}]', legacy)
    assert [older.count for older in legacy.Extensions[extension]] == [2]
    assert legacy.count == 1


def test_violations_of_a_field_body_carry_paths_from_the_request() -> None:
    decoder = PlanCodec().field_decoder(field("BodyOfEveryKind", "inners"), JsonOptions())
    with pytest.raises(BindingError) as caught:
        decoder(b'[{"text": 1}, 2]', make("BodyOfEveryKind"))
    assert [violation.field for violation in caught.value.violations] == ["inners[0].text", "inners[1]"]


@CODECS
def test_any_field_of_a_reply_can_be_the_whole_of_it(codec: Codec) -> None:
    message = make(
        "Kinds",
        int64_field=2**60,
        inner={"inner": {"count_of": 4, "text": "x"}},
        tags=["a"],
        by_flag={True: 1},
        created_at={"seconds": 1},
        color=1,
        wrapped_int={"value": 5},
    )

    def write(*names: str, of: Any = message, **options: Any) -> Any:
        fields = []
        descriptor = of.DESCRIPTOR
        for name in names:
            fields.append(descriptor.fields_by_name[name])
            descriptor = fields[-1].message_type
        return json.loads(codec.field_encoder(fields, JsonOptions(**options))(of))

    assert write("int64_field") == str(2**60)
    assert write("inner", "inner") == {"count_of": 4, "text": "x"}
    assert write("inner", "inner", proto_names=False) == {"countOf": 4, "text": "x"}
    assert write("inner", "inner", "count_of") == 4
    assert write("tags") == ["a"]
    assert write("by_flag") == {"true": "1"}
    assert write("created_at") == "1970-01-01T00:00:01Z"
    assert write("color") == "COLOR_RED"
    assert write("wrapped_int") == "5"
    empty = make("Kinds")
    assert write("inner", of=empty) == {}
    assert write("inner", "inner", "text", of=empty) == ""
    assert write("inner", of=empty, emit_defaults=True) == {"text": "", "count_of": 0}
    assert write("tags", of=empty) == []
    assert write("labels", of=empty) == {}
    assert write("extra", of=empty) == {}
    assert write("created_at", of=empty) is None
    assert write("wrapped_int", of=empty) is None
    assert write("int64_field", of=empty) == "0"
    assert write("color", of=empty) == "COLOR_UNSPECIFIED"
    assert write("optional_int", of=empty) == 0
    assert not message.inner.inner.HasField("inner")


@CODECS
@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": {"seconds": 253402300800}},
        {"created_at": {"nanos": -1}},
        {"max_wait": {"seconds": 1, "nanos": -1}},
        {"value": {"number_value": float("nan")}},
    ],
)
def test_a_reply_without_json_form_is_an_encoding_error(codec: Codec, fields: Any) -> None:
    with pytest.raises(EncodingError):
        encode(codec, make("Kinds", **fields))


def test_an_encoding_error_names_the_field() -> None:
    message = make("Kinds", inners=[{}], by_number={1: {"extra": {}}})
    message.inner.inner.extra.fields["x"].number_value = float("inf")
    with pytest.raises(EncodingError, match=r"^inner\.inner\.extra: a google\.protobuf\.Value holds NaN or infinity"):
        encode(PlanCodec(), message)


def test_an_any_of_unknown_type_keeps_its_bytes() -> None:
    message = make("Kinds", any={"type_url": "x/unknown.Type", "value": b"A"})
    assert encode(PlanCodec(), message) == {"any": {"@type": "x/unknown.Type", "value": "QQ=="}}
    broken = make("Kinds", any={"type_url": "x/test.kinds.v1.Inner", "value": b"\xff"})
    assert encode(PlanCodec(), broken) == {"any": {"@type": "x/test.kinds.v1.Inner", "value": "/w=="}}


@pytest.mark.parametrize("levels", [300, 3000])
def test_a_reply_of_hopelessly_nested_any_is_an_encoding_error(levels: int) -> None:
    message = make("Kinds").any
    for _ in range(levels):
        outer = type(message)()
        outer.Pack(message)
        message = outer
    with pytest.raises(EncodingError, match="nests too deep"):
        encode(PlanCodec(), message)


def test_a_reply_whose_string_is_not_utf8_is_an_encoding_error() -> None:
    broken = make("Legacy").FromString(b"\x12\x01\xff")
    with pytest.raises(EncodingError, match="not UTF-8"):
        encode(PlanCodec(), broken)


def test_an_encoding_error_inside_an_extension_names_it() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="extended.proto", package="extended", syntax="proto2")
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Base").extension_range.add(start=1, end=9)
    kinds = {"type": 11, "type_name": ".google.protobuf.Timestamp"}
    file.extension.add(name="at", number=1, label=1, extendee=".extended.Base", **kinds)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("extended.Base"))()
    message.Extensions[pool.FindExtensionByName("extended.at")].nanos = -1
    with pytest.raises(EncodingError, match=r"^\[extended\.at\]: a Timestamp of"):
        encode(PlanCodec(), message)


def test_a_field_mask_path_without_a_json_name_is_written_as_it_is() -> None:
    assert encode(PlanCodec(), make("Kinds", mask={"paths": ["a_1", "b_c", "Odd"]})) == {"mask": "a_1,bC,Odd"}


def test_null_empties_what_was_there() -> None:
    message = make("Kinds", tags=["a"], inners=[{}], labels={"a": "b"}, by_number={1: {}}, inner={}, optional_int=1)
    body = b'{"tags":null,"inners":null,"labels":null,"by_number":null,"inner":null,"optional_int":null}'
    PlanCodec().decoder(kind("Kinds"), JsonOptions())(body, message)
    assert message == make("Kinds")


def test_reading_replaces_lists_and_maps_and_merges_messages() -> None:
    message = make("Kinds", tags=["old"], labels={"old": "1"}, inner={"text": "kept"}, string_field="kept", inners=[{}])
    body = b'{"tags": ["new"], "labels": {"new": "2"}, "inner": {"count_of": 1}, "inners": [{"text": "new"}]}'
    PlanCodec().decoder(kind("Kinds"), JsonOptions())(body, message)
    assert message == make(
        "Kinds",
        tags=["new"],
        labels={"new": "2"},
        inner={"text": "kept", "count_of": 1},
        string_field="kept",
        inners=[{"text": "new"}],
    )


def test_types_without_a_plan_go_to_the_reference() -> None:
    with pytest.raises(UnsupportedShapeError):
        PlanCodec().decoder(kind("OldSet"), JsonOptions())
    codec = ChoosingCodec()
    message = make("OldSet")
    codec.decoder(kind("OldSet"), JsonOptions())(b"{}", message)
    assert codec.field_encoder([field("Kinds", "tags")], JsonOptions())(make("Kinds")) == b"[]"
    assert codec.encoder(kind("OldSet"), JsonOptions())(message) == b"{}"
    with pytest.raises(BindingError):
        codec.decoder(kind("OldSet"), JsonOptions())(b'{"x": 1}', message)


def test_enum_values_take_their_own_json_names() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="named.proto", package="named", syntax="proto3")
    enum = file.enum_type.add(name="Level")
    for number, own in enumerate(("none", "very-high")):
        value = enum.value.add(name=f"LEVEL_{number}", number=number)
        value.options.Extensions[json_enumvalue_options_pb2.json].string = own
    message_type = file.message_type.add(name="Named")
    message_type.field.add(name="level", number=1, type=14, type_name=".named.Level", label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("named.Named")
    for body in (b'{"level":"very-high"}', b'{"level":"LEVEL_1"}', b'{"level":1}'):
        message: Any = message_factory.GetMessageClass(descriptor)()
        PlanCodec().decoder(descriptor, JsonOptions())(body, message)
        assert message.level == 1
        assert encode(PlanCodec(), message) == {"level": "very-high"}


def test_generated_modules_serve_as_well_as_dynamic_types() -> None:
    tree = {"a": [1.0, {"b": None}]}
    message = struct_pb2.Struct()
    PlanCodec().decoder(struct_pb2.Struct.DESCRIPTOR, JsonOptions())(json.dumps(tree).encode(), message)
    assert encode(PlanCodec(), message) == tree


def test_max_depth_is_one_to_a_hundred() -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        JsonOptions(max_depth=101)


def test_the_pool_of_the_tests_is_not_the_default_one() -> None:
    assert kind("Kinds").file.pool is kinds_pool()
