"""The inverse: a message, made an HTTP request by Google's own client code, comes out of the transcoder as it was.

The requests are those of google-api-core, which generated REST clients are built on.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlencode

import grpc
import pytest
from google.api_core import rest_helpers
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from edge.transcoding.app import Transcoder
from edge.transcoding.profile import GRPC_GATEWAY, STRICT, Profile
from tests.support.asgi_server import running_asgi
from tests.support.inverse import KINDS, carried_by, drop_what_a_query_cannot_say, items
from tests.support.scripted import ScriptedBackend, running_backend
from tests.support.vectors import services
from tests.support.wire import send

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # each example is a call; shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


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


@EXAMPLES
@given(items(), st.sampled_from(["strict", "grpc-gateway"]))
async def test_what_a_path_carries_comes_out_again(routes: Edge, item: tuple[str, Message], profile: str) -> None:
    path, message = item
    drop_what_a_query_cannot_say(message)
    await round_trip(routes, profile, {"method": "get", "uri": path}, message)


@pytest.mark.parametrize("rule", KINDS.values(), ids=KINDS)
@EXAMPLES
@given(data=st.data())
async def test_every_kind_of_field_comes_out_again(fields: Edge, rule: dict[str, str], data: st.DataObject) -> None:
    message = data.draw(carried_by(rule))
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
