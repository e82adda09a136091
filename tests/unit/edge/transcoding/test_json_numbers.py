"""How numbers are written in JSON that clients read as integers."""

from typing import Any

import pytest
from google.protobuf import struct_pb2

from edge.transcoding.codec import JsonOptions
from edge.transcoding.json_plan import PlanCodec
from edge.transcoding.openapi_schemas import scalar_schema
from tests.support.contracts import compile_contracts, message_class

CONTRACT = """
syntax = "proto3";
package counted;
message Counted {
  int64 calls = 1 [jstype = JS_NUMBER];
  repeated uint64 sizes = 2 [jstype = JS_NUMBER];
  map<string, int64> wide = 3;
  int64 id = 4 [jstype = JS_STRING];
}
"""


def written(message: Any) -> str:
    encoder = PlanCodec().encoder(message.DESCRIPTOR, JsonOptions(emit_defaults=True))
    return encoder(message).decode()


def test_a_contract_may_say_that_a_wide_integer_is_a_number():
    counted = message_class(compile_contracts({"counted.proto": CONTRACT}), "counted.Counted")
    message = counted(calls=7, sizes=[1, 2**63], wide={"a": 1}, id=9)
    assert written(message) == '{"calls":7,"sizes":[1,9223372036854775808],"wide":{"a":"1"},"id":"9"}'
    assert written(counted()).startswith('{"calls":0,')


def test_the_schema_of_such_an_integer_says_so():
    counted = message_class(compile_contracts({"counted.proto": CONTRACT}), "counted.Counted")
    calls = counted.DESCRIPTOR.fields_by_name["calls"]
    assert scalar_schema(calls.type, is_wide=False) == {"type": "integer", "format": "int64"}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7.0, "7"),
        (-3.0, "-3"),
        (0.0, "0"),
        (-0.0, "-0.0"),
        (2.5, "2.5"),
        (2.0**53, "9007199254740992"),
        (1e300, "1e+300"),
    ],
)
def test_a_whole_number_in_a_struct_is_written_as_it_was_sent(number: float, text: str):
    message = struct_pb2.Struct()
    message.fields["a"].number_value = number
    assert written(message) == f'{{"a":{text}}}'
