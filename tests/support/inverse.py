"""Messages that Google's client code can make HTTP requests of without losing anything, for each kind of rule."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from tests.support.random_protos import Contract, messages
from tests.support.vectors import contract_pool

# RFC 6570's reserved characters stay as they are written where a variable spans several segments, so that the client
# code's escapes of them are not undone; "/" is what separates the segments.
RESERVED = "!#$&'()*+,/:;=?@[]"


KINDS = {
    "query": {"method": "get", "uri": "/v1/query"},
    "path and query": {"method": "get", "uri": "/v1/query/{string_field}"},
    "inner path and query": {"method": "get", "uri": "/v1/query/inner/{inner.text}"},
    "body": {"method": "post", "uri": "/v1/body", "body": "*"},
    "path and body": {"method": "put", "uri": "/v1/body/{string_field}", "body": "*"},
    "inner path and body": {"method": "put", "uri": "/v1/body/inner/{inner.text}", "body": "*"},
    "body field and query": {"method": "post", "uri": "/v1/field/inner", "body": "inner"},
    "path, body field and query": {"method": "put", "uri": "/v1/field/inner/{inner.text}", "body": "inner"},
}


@cache
def segments(count: int, *, literals: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Texts of so many segments; `literals` stand before each."""
    segment = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="/" if count == 1 else RESERVED), min_size=1
    ).filter(lambda text: text not in (".", ".."))
    before = literals or ("",) * count
    return st.tuples(*(segment for _ in range(count))).map(
        lambda texts: "/".join(f"{b}/{t}" if b else t for b, t in zip(before, texts, strict=True))
    )


PATHS: dict[str, Callable[[st.DrawFn, Any], None]] = {
    "/v1/single/{name}": lambda draw, item: _set(item, name=draw(segments(1))),
    "/v1/two/{parent}/{name}": lambda draw, item: _set(item, name=draw(segments(1)), parent=draw(segments(1))),
    "/v1/deep/{name=**}": lambda draw, item: _set(item, name=draw(segments(draw(st.integers(2, 4))))),
    "/v1/{name=shelves/*/books/*}": lambda draw, item: _set(
        item, name=draw(segments(2, literals=("shelves", "books")))
    ),
    "/v1/inner/{inner.inner.name}": lambda draw, item: _set(item.inner.inner, name=draw(segments(1))),
    "/v1/verbs/{name}:read": lambda draw, item: _set(item, name=draw(segments(1))),
}


def _set(message: Any, **values: str) -> None:
    for name, value in values.items():
        setattr(message, name, value)


@st.composite
def items(draw: st.DrawFn) -> tuple[str, Message]:
    """A path of routes.proto, and a message that it can carry."""
    contract = Contract(
        contract_pool("routes.proto"), (contract_pool("routes.proto").FindMessageTypeByName("routes.v1.Item"),)
    )
    message = draw(messages(contract, contract.messages[0]))
    path = draw(st.sampled_from(sorted(PATHS)))
    PATHS[path](draw, message)
    return path, message


@st.composite
def carried_by(draw: st.DrawFn, rule: dict[str, str]) -> Message:
    """A message of fields.proto that a rule of `KINDS` can carry."""
    pool = contract_pool("fields.proto")
    contract = Contract(pool, (pool.FindMessageTypeByName("test.kinds.v1.Kinds"),))
    message: Any = draw(messages(contract, contract.messages[0]))
    for variable in re.findall(r"{(.*?)}", rule["uri"]):
        holder = message.inner if "." in variable else message
        setattr(holder, variable.rpartition(".")[2], draw(segments(1)))
    drop_what_json_does_not_tell(message)
    if rule.get("body") != "*":
        kept = message.inner.SerializeToString() if rule.get("body") == "inner" else None
        drop_what_a_query_cannot_say(message)
        if kept is not None:
            message.inner.ParseFromString(kept)
    result: Message = message
    return result


def drop_what_json_does_not_tell(message: Any) -> None:
    """Clear fields whose JSON null says nothing, and those whose types only the contract's own pool knows."""
    for field, value in message.ListFields():
        if field.enum_type is not None and field.enum_type.full_name == "google.protobuf.NullValue":
            message.ClearField(field.name)
        elif field.message_type is None:
            continue
        elif _reaches_any(field.message_type):
            message.ClearField(field.name)
        elif not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                if not one.DESCRIPTOR.full_name.startswith("google.protobuf."):
                    drop_what_json_does_not_tell(one)


def drop_what_a_query_cannot_say(message: Any) -> None:
    """Clear what Google's client code writes no parameter for: maps, repeated messages, JSON values, empty messages."""
    for field, value in message.ListFields():
        nested = field.message_type
        if nested is None:
            continue
        is_object = not nested.full_name.startswith("google.protobuf.")
        if nested.GetOptions().map_entry or _is_json(nested) or (is_object and field.is_repeated):
            message.ClearField(field.name)
        elif is_object:
            drop_what_a_query_cannot_say(value)
            if not value.ListFields():
                message.ClearField(field.name)


def _is_json(descriptor: Descriptor) -> bool:
    return descriptor.full_name in {f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue", "Empty")}


def _reaches_any(descriptor: Descriptor) -> bool:
    if descriptor.full_name == "google.protobuf.Any":
        return True
    value = descriptor.fields_by_name.get("value") if descriptor.GetOptions().map_entry else None
    return isinstance(value, FieldDescriptor) and value.message_type is not None and _reaches_any(value.message_type)
