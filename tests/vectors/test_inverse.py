"""The inverse: a message, made an HTTP request by Google's own client code, comes out of the transcoder as it was.

The requests are those of google-api-core, which generated REST clients are built on.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest
from google.api_core import rest_helpers
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from edge.transcoding.app import Transcoder
from edge.transcoding.profile import GRPC_GATEWAY, STRICT, Profile
from tests.support.asgi_server import running_asgi
from tests.support.random_protos import Contract, messages
from tests.support.scripted import ScriptedBackend, running_backend
from tests.support.vectors import contract_pool, services
from tests.support.wire import send

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # each example is a call; shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
# RFC 6570's reserved characters stay as they are written where a variable spans several segments, so that the client
# code's escapes of them are not undone; "/" is what separates the segments.
RESERVED = "!#$&'()*+,/:;=?@[]"


@dataclass(frozen=True)
class Edge:
    """A transcoder of each profile, and the backend behind both."""

    urls: dict[str, str]
    backend: ScriptedBackend


@pytest.fixture(scope="module")
async def routes() -> AsyncIterator[Edge]:
    async for running in running_edge("routes.proto"):
        yield running


@pytest.fixture(scope="module")
async def fields() -> AsyncIterator[Edge]:
    async for running in running_edge("fields.proto"):
        yield running


async def running_edge(contract: str) -> AsyncIterator[Edge]:
    async with running_backend(services(contract)) as backend, grpc.aio.insecure_channel(backend.address) as channel:
        strict, gateway = (transcoder(contract, channel, profile) for profile in (STRICT, GRPC_GATEWAY))
        async with running_asgi(strict) as first, running_asgi(gateway) as second:
            yield Edge({"strict": first, "grpc-gateway": second}, backend)


def transcoder(contract: str, channel: grpc.aio.Channel, profile: Profile) -> Transcoder:
    return Transcoder(services(contract), channel, profile=profile)


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


@EXAMPLES
@given(items(), st.sampled_from(["strict", "grpc-gateway"]))
async def test_what_a_path_carries_comes_out_again(routes: Edge, item: tuple[str, Message], profile: str) -> None:
    path, message = item
    drop_what_a_query_cannot_say(message)
    await round_trip(routes, profile, {"method": "get", "uri": path}, message)


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


@pytest.mark.parametrize("rule", KINDS.values(), ids=KINDS)
@EXAMPLES
@given(data=st.data())
async def test_every_kind_of_field_comes_out_again(fields: Edge, rule: dict[str, str], data: st.DataObject) -> None:
    pool = contract_pool("fields.proto")
    contract = Contract(pool, (pool.FindMessageTypeByName("test.kinds.v1.Kinds"),))
    message: Any = data.draw(messages(contract, contract.messages[0]))
    for variable in re.findall(r"{(.*?)}", rule["uri"]):
        holder = message.inner if "." in variable else message
        setattr(holder, variable.rpartition(".")[2], data.draw(segments(1)))
    drop_what_json_does_not_tell(message)
    if rule.get("body") != "*":
        kept = message.inner if rule.get("body") == "inner" else None
        inner = kept.SerializeToString() if kept is not None else None
        drop_what_a_query_cannot_say(message)
        if inner is not None:
            message.inner.ParseFromString(inner)
    profile = data.draw(st.sampled_from(["strict", "grpc-gateway"]))
    await round_trip(fields, profile, rule, message, numeric_enums=data.draw(st.booleans()))


async def round_trip(
    edge: Edge, profile: str, rule: dict[str, str], message: Message, *, numeric_enums: bool = False
) -> None:
    """Send a message as a generated client does, and compare it with what the backend gets."""
    request, body, query = rest_helpers.transcode_request([rule], message, rest_numeric_enums=numeric_enums)
    query.pop("$alt", None)  # a system parameter of Google's APIs, which belongs to no message
    encoded = urlencode(rest_helpers.flatten_query_params(query, strict=True))  # type: ignore[no-untyped-call]
    target = request["uri"] + (f"?{encoded}" if encoded else "")
    assume(len(target) < 8000)
    headers = [("Content-Type", "application/json")] if body is not None else []
    edge.backend.follow(type(edge.backend.script)())
    response = await send(edge.urls[profile], request["method"].upper(), target, headers, (body or "").encode())
    assert response.status == 200, response.body
    (call,) = edge.backend.calls
    # Text as well, since NaN is not equal to itself.
    assert call.messages[0] == message or str(call.messages[0]) == str(message)


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
