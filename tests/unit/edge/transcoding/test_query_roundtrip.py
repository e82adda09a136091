"""The inverse property: what a message holds, written as parameters, becomes the same message."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from edge.transcoding.binding import BindingOptions, RequestBinder
from edge.transcoding.codec import JsonOptions
from edge.transcoding.json_plan import ChoosingCodec
from edge.transcoding.violations import BindingError
from tests.support.random_protos import contracts, messages

JSON = frozenset(f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue"))
TEXT = frozenset(f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "FieldMask"))


def parameters(message: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield a message's fields as parameters, but for what has no parameter: repeated messages, Any, extensions."""
    for field, value in message.ListFields():
        name = prefix + field.name
        if field.is_extension:
            continue
        nested = field.message_type
        if nested is not None and nested.GetOptions().map_entry:
            yield from entries(nested.fields_by_name["value"], value, name)
        else:
            for item in value if field.is_repeated else [value]:
                yield from one(field, item, name)


def entries(field: FieldDescriptor, value: Any, name: str) -> Iterator[tuple[str, str]]:
    for key in value:
        text = str(key).lower() if isinstance(key, bool) else str(key)
        # The key of a message's entry ends at the first "].".
        if field.message_type is None or field.message_type.full_name.startswith("google.") or "]" not in text:
            yield from one(field, value[key], f"{name}[{text}]")


def one(field: FieldDescriptor, value: Any, name: str) -> Iterator[tuple[str, str]]:
    nested = field.message_type
    if nested is None:
        yield name, scalar(value)
    elif nested.full_name in TEXT or nested.full_name in JSON or nested.full_name.endswith("Value"):
        text = ChoosingCodec().encoder(nested, JsonOptions())(value).decode()
        # A Struct has no order.
        yield name, json.dumps(json.loads(text), sort_keys=True) if nested.full_name in JSON else plain(text)
    elif nested.full_name != "google.protobuf.Any" and not field.is_repeated:
        yield from parameters(value, name + ".")


def scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))
    return str(value)


def plain(text: str) -> str:
    """Return the parameter for a JSON scalar: strings without quotes."""
    value = json.loads(text)
    return value if isinstance(value, str) else text


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_message_written_as_parameters_is_bound_to_the_same_message(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    message: Any = data.draw(messages(contract, contract.messages[0]))
    pairs = list(parameters(message))
    event(f"{min(len(pairs), 5)} parameters or more")
    made = RequestBinder(
        input=contract.messages[0], path_fields=(), body="", codec=ChoosingCodec(), options=BindingOptions()
    )
    bound = made.bind((), urlencode(pairs).encode(), None)
    assert sorted(parameters(bound)) == sorted(pairs)


PIECES = (
    "a",
    "b_c",
    "value",
    "[",
    "]",
    ".",
    "=",
    "&",
    "+",
    "%",
    "%5B",
    "%zz",
    "%ff",
    "1",
    "-",
    "true",
    "{",
    '"',
    "\u00e9",
    "].",
    "x" * 300,
)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_query_is_bound_or_refused_with_its_violations(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    names = [field.name for field in contract.messages[0].fields]
    query = "".join(data.draw(st.lists(st.sampled_from((*PIECES, *names)), max_size=12))).encode()
    made = RequestBinder(
        input=contract.messages[0], path_fields=(), body="", codec=ChoosingCodec(), options=BindingOptions()
    )
    try:
        made.bind((), query, None).SerializeToString()
    except BindingError as error:
        event("refused")
        for violation in error.violations:
            (violation.field + violation.description).encode()
            assert violation.description
