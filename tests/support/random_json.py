"""Random JSON for a message type: mostly what its fields take, with faults of every kind strewn in."""

import json
from random import Random

from google.protobuf.descriptor import FieldDescriptor

from edge.transcoding.scalars import INTEGER_RANGES
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape
from tests.support.random_protos import TEXTS

HALF = "\ud800"  # of a surrogate pair: JSON can write it, UTF-8 cannot
STRINGS = (*(json.dumps(text) for text in TEXTS), json.dumps(HALF))
INTEGERS = (
    *("0", "-0", "1", "-1", "7", "1.0", "1.5", "-0.0", "1e2", "1E-2", "2147483647", "2147483648", "-2147483649"),
    *("4294967295", "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "9223372036854775807.0", "1e30"),
    *(
        '"1"',
        '"-7"',
        '"1.0"',
        '"1e3"',
        '"01"',
        '" 1"',
        '"1_0"',
        '"+1"',
        '"9223372036854775807"',
        '"18446744073709551615"',
    ),
    *("true", '""', '"x"', "123456789012345678901234567890"),
)
FLOATS = (
    *("0", "-0.0", "1", "2.5", "5e-324", "1e300", "3.4028235e38", "3.5e38", "1e400", "0.1", "16777217", "1e-400"),
    *('"NaN"', '"Infinity"', '"-Infinity"', '"inf"', '"nan"', '"1.5"', '" 1"', '"1e39"', '"1e400"', '"-0"', "true"),
)
BYTES = ('"QQ=="', '"QQ"', '"-_8"', '"+/8="', '"Q"', '"QQ===="', '"!!"', '"QQ="', '""', '"Q Q="')
ENUMS = (
    *('"E_ONE"', '"E_UNO"', '"G_MANY"', '"E_NONE"', '"G_MINUS"', '"NULL_VALUE"', "0", "1", "70", "5", "-3", "1.0"),
    *('"1"', '"70"', '"5"', '"1.0"', "4294967296", '"4294967297"', "true"),
)
TIMES = (
    *('"2024-05-17T09:30:00Z"', '"2024-05-17T09:30:00.123456789+02:00"', '"2024-02-30T00:00:00Z"', '"2024-1-1T0:0:0Z"'),
    *('"0001-01-01T00:00:00+01:00"', '"9999-12-31T23:59:59.999999999Z"', '"1969-12-31T23:59:59.5-23:59"', "5", '""'),
)
DURATIONS = (
    '"1.5s"',
    '"-0.000000001s"',
    '"1s "',
    '"1h"',
    '"315576000001s"',
    '"-315576000000s"',
    '"1.s"',
    '".5s"',
    "1",
    '""',
)
MASKS = ('"a,bC.d"', '"b_c"', '""', '"a,,b"', '"a b"', '"fooBar"', "[]")
JSON_VALUES = (
    "null",
    "true",
    "1",
    "-0.0",
    "1e400",
    "[]",
    "{}",
    '[null,{"a":[1.5,"x"]}]',
    '{"":{"k":null}}',
    '{"a":1,"a":2}',
)
ANYS = (
    *("{}", '{"@type":"x"}', '{"@type":5}', '{"a":1}', '{"@type":"x/google.protobuf.Duration","value":"1s"}'),
    *('{"@type":"x/t.M0"}', '{"@type":"x/t.M0","unknown":1}', '{"@type":"x/google.protobuf.Value","value":null}'),
    r'{"@type":"\ud800/t.M0"}',
    *('{"@type":"x/google.protobuf.Struct","value":{"a":1},"b":2}', '{"@type":"x/t.Nope"}'),
)
KEYS = ("0", "-0", "1", "01", "-1", "true", "false", "", "a", "1.0", " 1", "9223372036854775808", "\u00e9", '":', HALF)
ANYTHING = (
    *STRINGS,
    *INTEGERS,
    *FLOATS,
    "null",
    "[]",
    "{}",
    "[null]",
    "[1]",
    "[[]]",
    '{"a":1}',
    '{"1":{}}',
    "[{}]",
    "false",
)


def random_json(rng: Random, shape: MessageShape, depth: int = 0) -> str:
    """Return the text of a JSON value for a message type, right or wrong."""
    if not rng.randrange(25):
        return rng.choice(ANYTHING)
    kind = shape.kind
    if kind is MessageKind.WRAPPER:
        return _scalar(rng, shape.fields[0])
    if kind is MessageKind.TIMESTAMP:
        return rng.choice(TIMES)
    if kind is MessageKind.DURATION:
        return rng.choice(DURATIONS)
    if kind is MessageKind.FIELD_MASK:
        return rng.choice(MASKS)
    if kind is MessageKind.ANY:
        return rng.choice(ANYS)
    if kind is not MessageKind.OBJECT:
        return rng.choice(JSON_VALUES)
    names = list(shape.by_name)
    members = []
    for _ in range(rng.randrange(1 + min(4, len(names)) if depth < 3 else 1)):
        name = rng.choice(names)
        members.append(_member(rng, name, _field(rng, shape.by_name[name], depth)))
        if not rng.randrange(15):
            # The same field again, by this or its other name.
            field = shape.by_name[name]
            again = rng.choice((name, field.name, field.json_name))
            members.append(_member(rng, again, _field(rng, field, depth)))
    if not rng.randrange(12):
        members.append(_member(rng, rng.choice(("unknown", "", "[t.none]", "A", "@type", HALF)), rng.choice(ANYTHING)))
    return "{" + rng.choice((",", ", ", "\n,")).join(members) + "}"


def _member(rng: Random, name: str, value: str) -> str:
    return json.dumps(name, ensure_ascii=name == HALF or rng.random() < 0.5) + rng.choice((":", ": ", " : ")) + value


def _field(rng: Random, field: FieldShape, depth: int) -> str:
    if not rng.randrange(15):
        return "null"
    if not rng.randrange(20):
        return rng.choice(ANYTHING)
    if field.cardinality is Cardinality.MAP:
        assert field.key is not None
        assert field.value is not None
        keys = rng.sample(KEYS, rng.randrange(4))
        if field.key.type in INTEGER_RANGES and rng.randrange(4):
            keys = [key for key in keys if key.lstrip("-").isdigit()]
        if field.key.type == FieldDescriptor.TYPE_BOOL and rng.randrange(4):
            keys = [key for key in keys if key in ("true", "false")]
        return "{" + ",".join(_member(rng, key, _one(rng, field.value, depth)) for key in keys) + "}"
    if field.cardinality is Cardinality.REPEATED:
        return "[" + ",".join(_one(rng, field, depth) for _ in range(rng.randrange(4))) + "]"
    return _one(rng, field, depth)


def _one(rng: Random, field: FieldShape, depth: int) -> str:
    if field.message is not None:
        return random_json(rng, field.message, depth + 1) if rng.randrange(30) else "null"
    return _scalar(rng, field)


def _scalar(rng: Random, field: FieldShape) -> str:
    if not rng.randrange(30):
        return rng.choice(ANYTHING)
    if field.enum is not None:
        return rng.choice((*ENUMS, *(["null"] * 6 if field.enum.is_null_value else [])))
    if field.type in INTEGER_RANGES:
        return rng.choice(INTEGERS)
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return rng.choice(FLOATS)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return rng.choice(("true", "false", "true", "false", "1", '"true"', "null"))
    return rng.choice(BYTES if field.type == FieldDescriptor.TYPE_BYTES else STRINGS)
