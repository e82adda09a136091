"""Replies of OpenAI's family that are told in other dialects: refusals, and tool calls that come in odd pieces."""

from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import orjson
import pytest
from openai.types.responses import Response

from services.chat.settings import CompatibleEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    openai_chunk,
    openai_completion,
    openai_usage,
)
from tests.integration.chat.test_message_service import accumulated, answered, streamed
from tests.integration.chat.test_response_service import respond, stream
from tests.support.auth import Auth

MODEL = "house-model"
MESSAGE = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
RESPONSE = {"model": MODEL, "input": "hi"}
AT_ULM, AT_BONN = '{"at":"Ulm"}', '{"at":"Bonn"}'


@pytest.fixture(scope="module")
async def house(running_chat: Running, openai_upstream: ScriptedProvider) -> AsyncIterator[str]:
    """The address of a service whose models are those of an endpoint that knows completions only."""
    endpoint = CompatibleEndpoint(id="house", base_url=openai_upstream.url + "/v1", models=(MODEL,))
    async with running_chat(openai_compatible=(endpoint,), provider_retries=0) as address:
        yield address


@pytest.fixture
async def client(house: str, auth: Auth) -> AsyncIterator[Client]:
    """A new user of it."""
    async with connect(house) as channel:
        yield Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)


def streaming(*chunks: dict[str, Any]) -> Any:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.events(*chunks, openai_usage(7, 3), b"[DONE]")
        await exchange.end()

    return script


def call(index: int | None, arguments: str = "", call_id: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        told["index"] = index
    if call_id:
        told |= {"id": call_id, "type": "function"}
        told["function"]["name"] = "weather"
    return openai_chunk({"tool_calls": [told]})


class TestRefusals:
    whole = openai_completion(
        "", choices=[{"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"}]
    )
    pieces = (
        openai_chunk({"role": "assistant", "content": "", "refusal": None}),
        openai_chunk({"refusal": "I will"}),
        openai_chunk({"refusal": " not"}),
        openai_chunk({}, "stop"),
    )

    async def test_one_is_a_messages_reason_to_end(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(200, self.whole)
        made = await answered(client, MESSAGE)
        assert (made.content[0].text, made.stop_reason, made.stop_details.type) == ("I will not", *["refusal"] * 2)
        openai_upstream.script = streaming(*self.pieces)
        made = accumulated(await streamed(client, MESSAGE))
        assert (made.content[0].text, made.stop_reason, made.stop_details.type) == ("I will not", *["refusal"] * 2)

    async def test_one_is_a_part_of_its_own_in_a_response(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(200, self.whole)
        whole: Any = Response.model_validate(await respond(client, RESPONSE), strict=True)
        assert whole.output[0].content[0].refusal == "I will not"
        assert whole.status == "completed"
        openai_upstream.script = streaming(*self.pieces)
        events = await stream(client, RESPONSE)
        # Pieces that are there together come together.
        assert [kind for kind, _ in groupby(event["type"].removeprefix("response.") for event in events[3:-1])] == [
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
        ]
        assert "".join(event["delta"] for event in events if "delta" in event) == "I will not"
        assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not"}]

    async def test_one_told_again_is_still_one(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(200, self.whole)
        for _ in range(2):
            [part] = [part async for part in client.message_call(MESSAGE, ("idempotency-key", "k"))]
            assert orjson.loads(part.data)["stop_reason"] == "refusal"
        assert len(openai_upstream.requests) == 1


class TestToolCalls:
    mixed = (
        call(0, call_id="call_a"),
        call(1, call_id="call_b"),
        call(0, AT_ULM[:4]),
        call(1, AT_BONN[:6]),
        call(0, AT_ULM[4:]),
        call(1, AT_BONN[6:]),
        openai_chunk({}, "tool_calls"),
    )
    same_number = (
        call(0, AT_ULM, "call_a"),
        call(0, AT_BONN[:6], "call_b"),
        call(0, AT_BONN[6:]),
        openai_chunk({}, "tool_calls"),
    )
    no_number = (call(None, AT_ULM, "call_a"), call(None, AT_BONN, "call_b"), openai_chunk({}, "tool_calls"))

    @pytest.mark.parametrize("chunks", [mixed, same_number, no_number])
    async def test_each_arrives_whole_however_its_pieces_came(
        self, client: Client, openai_upstream: ScriptedProvider, chunks
    ):
        openai_upstream.script = streaming(*chunks)
        made = accumulated(await streamed(client, MESSAGE))
        assert [(block.id, block.input) for block in made.content] == [
            ("call_a", {"at": "Ulm"}),
            ("call_b", {"at": "Bonn"}),
        ]
        openai_upstream.script = streaming(*chunks)
        events = await stream(client, RESPONSE)
        assert [(item["call_id"], item["arguments"]) for item in events[-1]["response"]["output"]] == [
            ("call_a", AT_ULM),
            ("call_b", AT_BONN),
        ]
        kept = [orjson.loads(row["tool_calls"]) for row in await client.messages() if row["role"] == "assistant"]
        assert [[one["arguments"] for one in calls] for calls in kept] == [[AT_ULM, AT_BONN]] * 2
