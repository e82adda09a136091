"""Native chat: one message in, one reply out, in a conversation that Gaia keeps."""

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest

from tests.support.mesh import Caller, Mesh
from tests.support.simulator import Simulator
from tests.support.sse import DONE, all_events

CHAT = "/api/v0.2/chat"
STREAM = "/api/v0.2/chat/stream"
GREETING = "Hello from the simulated provider, nice to meet you."
EVERY_SCRIPT = "naïve Grüße, здравствуй мир, 你好世界, שלום ﷽ and 🎉 👩\u200d🚀 \U0001d4b3 ends here."
MIB = 1 << 20


async def say(caller: Caller, message: str, **fields: Any) -> dict[str, Any]:
    reply = await caller.post(CHAT, {"message": message, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def stream(caller: Caller, message: str, path: str = STREAM, **fields: Any) -> list[Any]:
    async with caller.stream(path, {"message": message, **fields}) as response:
        assert response.status_code == 200, await response.aread()
        return await all_events(response)


def _said(event: dict[str, Any]) -> str:
    """What an event of an SDK's dialect adds to the text."""
    if "choices" in event:
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    if event["type"] == "response.output_text.delta":
        return str(event["delta"])
    return str(event["delta"].get("text") or "") if event["type"] == "content_block_delta" else ""


class TestReplies:
    @pytest.mark.parametrize("provider", ["claude", "anthropic", "openai"])
    async def test_a_provider_answers(self, caller: Caller, provider: str):
        body = await say(caller, "please greet", provider=provider)
        assert set(body) == {
            "response",
            "provider",
            "model",
            "usage",
            "response_time_ms",
            "reasoning",
            "fallback_used",
            "conversation_id",
        }
        assert body["response"] == GREETING
        assert body["provider"] == ("openai" if provider == "openai" else "claude")
        assert body["usage"] == {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
        assert body["fallback_used"] is False
        assert body["reasoning"]
        assert 0 <= body["response_time_ms"] < 20_000
        uuid.UUID(body["conversation_id"])

    async def test_the_local_provider_says_what_it_is_and_needs_no_key(self, caller: Caller):
        body = await say(caller, "good morning 🎉", provider="local")
        assert body["provider"] == "local"
        assert "local development provider" in body["response"]
        assert "good morning 🎉" in body["response"]
        assert body["usage"]["output_tokens"] > 0
        assert await say(caller, "good morning 🎉", provider="local") != body, "it sees how often it was asked"

    async def test_without_a_wish_the_first_configured_provider_answers(self, caller: Caller):
        assert (await say(caller, "please greet"))["provider"] == "claude"

    async def test_a_model_is_taken_by_its_id_and_by_provider_and_id(self, caller: Caller, simulator: Simulator):
        for name in ("gpt-5", "openai/gpt-5"):
            nonce = str(uuid.uuid4())
            body = await say(caller, f"please greet {nonce}", model=name, temperature=0.5, max_tokens=77)
            assert (body["provider"], body["model"]) == ("openai", "gpt-5")
            [asked] = await simulator.journal(nonce)
            assert asked["body"]["model"] == "gpt-5"
            assert 77 in asked["body"].values()

    async def test_what_a_client_sends_on_top_is_ignored(self, caller: Caller):
        assert (await say(caller, "please greet", voice="deep", nested={"a": 1}))["response"] == GREETING

    @pytest.mark.parametrize("path", [CHAT + "/", STREAM + "/"])
    async def test_a_trailing_slash_changes_nothing(self, caller: Caller, path: str):
        reply = await caller.post(path, {"message": "please greet"})
        assert reply.status_code == 200
        assert "Hello" in reply.text

    async def test_our_own_key_is_what_the_provider_gets_and_nothing_of_the_callers(
        self, caller: Caller, simulator: Simulator
    ):
        for provider in ("openai", "claude"):
            nonce = str(uuid.uuid4())
            headers = {"X-Request-Id": nonce, "Cookie": "c=1", "X-Forwarded-For": "203.0.113.7"}
            reply = await caller.post(CHAT, {"message": f"please greet {nonce}", "provider": provider}, headers=headers)
            assert reply.status_code == 200
            [asked] = await simulator.journal(f"greet {nonce}")
            sent = str(asked["headers"])
            assert caller.key not in sent
            assert not any(value in sent for value in headers.values())


class TestStream:
    @pytest.mark.parametrize("provider", ["claude", "openai", "local"])
    async def test_its_events_come_in_their_order_and_say_what_they_must(self, caller: Caller, provider: str):
        message = "please greet"
        *events, end = await stream(caller, message, provider=provider)
        assert end == DONE
        contents = [event for event in events if event["type"] == "content"]
        assert [event["type"] for event in events] == [
            "start",
            "ready",
            "model_selection",
            *["content"] * len(contents),
            "metadata",
            "complete",
        ]
        start, ready, selection, metadata, complete = (*events[:3], *events[-2:])
        times = [dt.datetime.fromisoformat(event["timestamp"]) for event in (start, ready, complete)]
        assert times == sorted(times)
        assert set(selection) == {"type", "model", "provider", "reasoning"}
        assert selection["provider"] == provider
        assert len(contents) > 1
        for event in contents:
            assert set(event) == {"type", "content", "provider", "model"}
            assert (event["provider"], event["model"]) == (provider, selection["model"])
        reply = "".join(event["content"] for event in contents)
        if provider != "local":
            assert reply == GREETING
        assert set(metadata) == {"type", "response_time_ms", "fallback_used", "total_tokens", "usage"}
        assert metadata["fallback_used"] is False
        assert metadata["total_tokens"] == metadata["usage"]["total_tokens"] > 0
        assert set(complete) == {"type", "timestamp", "response_length", "conversation_id"}
        assert complete["response_length"] == len(reply)

    @pytest.mark.parametrize("provider", ["claude", "openai"])
    async def test_words_and_characters_stay_whole(self, caller: Caller, provider: str):
        # The simulator sends this reply one character at a time.
        events = await stream(caller, "please use every script", provider=provider)
        contents = [event["content"] for event in events[:-1] if event["type"] == "content"]
        assert "".join(contents) == EVERY_SCRIPT
        assert all(content[-1].isspace() for content in contents[:-1]), contents
        assert not any(content[0].isspace() for content in contents[1:]), contents

    @pytest.mark.parametrize("model", ["claude-sonnet-5", "gpt-4o"])
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
    async def test_characters_stay_whole_in_the_dialects_of_the_sdks(self, caller: Caller, path: str, model: str):
        # The simulator cuts those in two that are two units of UTF-16.
        asked = [{"role": "user", "content": "please use every script"}]
        body: dict[str, Any] = {
            "model": model,
            "stream": True,
            "input" if path == "/v1/responses" else "messages": asked,
        }
        if path == "/v1/messages":
            body["max_tokens"] = 100
        async with caller.stream(path, body) as response:
            assert response.status_code == 200
            events = [event for event in await all_events(response) if event != DONE]
        assert "".join(map(_said, events)) == EVERY_SCRIPT

    async def test_what_the_provider_sends_is_passed_on_at_once(self, caller: Caller):
        # 0.1 s lies between two pieces of this reply; waiting for the whole of it would show.
        loop = asyncio.get_running_loop()
        body = {"message": "please be slow", "provider": "openai"}
        async with asyncio.timeout(10), caller.stream(STREAM, body) as response:
            arrivals = []
            async for piece in response.aiter_bytes():
                if b'"content"' in piece:
                    arrivals.append(loop.time())
                if len(arrivals) == 3:
                    break
        assert arrivals[2] - arrivals[0] > 0.15

    async def test_with_stream_true_chat_answers_in_openais_chunks(self, caller: Caller):
        *chunks, end = await stream(caller, "please greet", path=CHAT, stream=True, provider="claude")
        assert end == DONE
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({chunk["id"] for chunk in chunks}) == 1
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        assert {choice["index"] for choice in choices} == {0}
        assert "".join(choice["delta"].get("content") or "" for choice in choices) == GREETING
        assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
        assert chunks[-1]["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}

    async def test_a_faulty_request_is_refused_before_the_stream_begins(self, caller: Caller):
        for body in ({"message": " "}, {"message": "x", "model": "none"}, {"message": "x", "stream": "maybe"}):
            reply = await caller.post(STREAM, body)
            assert reply.status_code in (400, 404)
            assert reply.headers["content-type"] == "application/json"


class TestConversations:
    async def test_without_an_id_there_is_one_conversation_and_it_is_remembered(
        self, caller: Caller, simulator: Simulator
    ):
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        one = await say(caller, f"please greet {first}")
        two = await say(caller, f"please greet {second}", provider="openai")
        assert one["conversation_id"] == two["conversation_id"]
        [asked] = await simulator.journal(second)
        said = [(message["role"], message["content"]) for message in asked["body"]["messages"][-3:]]
        assert said == [
            ("user", f"please greet {first}"),
            ("assistant", GREETING),
            ("user", f"please greet {second}"),
        ]

    async def test_the_local_provider_remembers_as_well(self, caller: Caller):
        await say(caller, "my cat is called Ada", provider="local")
        body = await say(caller, "who is my cat?", provider="local")
        assert "my cat is called Ada" in body["response"]

    async def test_an_id_goes_on_with_its_conversation_over_both_calls(self, caller: Caller):
        conversation_id = (await say(caller, "please greet"))["conversation_id"]
        events = await stream(caller, "please greet", conversation_id=conversation_id)
        assert events[-2]["conversation_id"] == conversation_id

    async def test_users_share_nothing(self, mesh: Mesh, caller: Caller):
        secret = f"my secret is {uuid.uuid4()}"
        mine = await say(caller, secret, provider="local")
        other = await mesh.new_caller()
        theirs = await say(other, "what was said first?", provider="local")
        assert theirs["conversation_id"] != mine["conversation_id"]
        assert secret not in theirs["response"]
        reply = await other.post(CHAT, {"message": "and now?", "conversation_id": mine["conversation_id"]})
        assert (reply.status_code, reply.json()["code"]) == (404, 5)

    async def test_two_keys_of_a_user_share_a_conversation(self, mesh: Mesh, caller: Caller):
        other_key = await mesh.new_key(caller.user_id)
        one = await say(caller, "please greet")
        two = await say(other_key, "please greet")
        assert one["conversation_id"] == two["conversation_id"]

    async def test_its_status_counts_both_sides_and_clearing_forgets(self, caller: Caller):
        status = f"{CHAT}/status"
        empty = {"message_count": 0, "has_history": False, "api_version": "0.2"}
        assert (await caller.get(status)).json() == empty
        await say(caller, "please greet")
        await stream(caller, "please greet")
        assert (await caller.get(status)).json() == {"message_count": 4, "has_history": True, "api_version": "0.2"}
        cleared = await caller.delete(f"{CHAT}/history")
        assert cleared.status_code == 200
        assert (cleared.json()["status"], cleared.json()["api_version"]) == ("success", "0.2")
        assert (await caller.get(status)).json() == empty
        assert "my cat" not in (await say(caller, "hello", provider="local"))["response"]

    async def test_many_first_messages_at_once_begin_one_conversation(self, mesh: Mesh, caller: Caller):
        replies = await asyncio.gather(*(say(caller, f"hello {number}", provider="local") for number in range(8)))
        assert len({reply["conversation_id"] for reply in replies}) == 1
        assert (await caller.get(f"{CHAT}/status")).json()["message_count"] == 16

    @pytest.mark.parametrize("path", [CHAT, STREAM])
    async def test_a_reply_is_in_the_database_when_it_is_acknowledged(self, mesh: Mesh, caller: Caller, path: str):
        nonce = str(uuid.uuid4())
        request_id = str(uuid.uuid4())
        body = {"message": f"please greet {nonce}", "provider": "claude"}
        assert (await caller.post(path, body, headers={"X-Request-Id": request_id})).status_code == 200
        query = "SELECT * FROM chat_messages WHERE request_id = $1 ORDER BY position"
        user, assistant = await mesh.rows(query, request_id)
        assert (user["role"], user["content"]) == ("user", f"please greet {nonce}")
        assert (assistant["role"], assistant["content"]) == ("assistant", GREETING)
        assert (assistant["provider"], assistant["is_complete"]) == ("claude", True)
        assert (assistant["input_tokens"], assistant["output_tokens"]) == (11, 7)


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "message"),
            ({"message": ""}, "message"),
            ({"message": " \n\t "}, "message"),
            ({"message": 5}, "message"),
            ({"message": ["x"]}, "message"),
            ({"message": "x", "priority": "soon"}, "priority"),
            ({"message": "x", "context_type": "chat"}, "context_type"),
            ({"message": "x", "temperature": 2.1}, "temperature"),
            ({"message": "x", "temperature": "hot"}, "temperature"),
            ({"message": "x", "max_tokens": 0}, "max_tokens"),
            ({"message": "x", "required_capabilities": "vision"}, "required_capabilities"),
            ({"message": "x", "required_capabilities": ["flying"]}, "required_capabilities"),
        ],
    )
    async def test_a_faulty_field_is_refused_by_its_name(self, caller: Caller, body: dict[str, Any], field: str):
        for path in (CHAT, STREAM):
            reply = await caller.post(path, body)
            assert (reply.status_code, reply.json()["code"]) == (400, 3), reply.text
            [detail] = reply.json()["details"]
            assert detail["field_violations"][0]["field"].startswith(field)

    @pytest.mark.parametrize(
        ("fields", "hint"),
        [({"provider": "cluade"}, "claude"), ({"model": "gpt-5x"}, "gpt-5"), ({"model": "claude/gpt-5"}, "claude-")],
    )
    async def test_an_unknown_provider_or_model_is_404_and_names_near_ones(
        self, caller: Caller, fields: dict[str, str], hint: str
    ):
        reply = await caller.post(CHAT, {"message": "please greet", **fields})
        assert (reply.status_code, reply.json()["code"]) == (404, 5), reply.text
        assert hint in reply.json()["message"].replace(next(iter(fields.values())), "")

    @pytest.mark.parametrize("field", ["conversation_id", "persona_id"])
    async def test_what_is_not_the_callers_is_not_there(self, caller: Caller, field: str):
        for value in (str(uuid.uuid4()), "nothing"):
            reply = await caller.post(CHAT, {"message": "please greet", field: value})
            assert (reply.status_code, reply.json()["code"]) == (404, 5)

    async def test_nothing_refused_is_remembered(self, caller: Caller):
        for body in ({"message": " "}, {"message": "x", "model": "none"}, {"message": "please fail with 500"}):
            assert (await caller.post(CHAT, body)).status_code >= 400
        assert (await caller.get(f"{CHAT}/status")).json()["message_count"] == 0

    async def test_bodies_of_up_to_four_mebibytes_are_read(self, caller: Caller):
        over = await caller.post(CHAT, {"message": "x" * (4 * MIB), "provider": "local"})
        assert (over.status_code, over.json()["code"]) == (413, 3)
        within = await caller.post(CHAT, {"message": "x" * (4 * MIB - 100), "provider": "none"})
        assert within.status_code == 404, "read to the end, where it names an unknown provider"
