"""The chat of version 1 over REST: one message or many, and a reply for clients of both kinds."""

from typing import Any

import openai
import pytest

from tests.support.mesh import Caller
from tests.support.sse import DONE, all_events

GREETING = "Hello from the simulated provider, nice to meet you."
ASKED: list[Any] = [{"message": "please greet"}, {"messages": [{"role": "user", "content": "please greet"}]}]


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/chat/completions", "/api/v1/chat/"])
@pytest.mark.parametrize("asked", ASKED, ids=["message", "messages"])
class TestBothPaths:
    async def test_the_reply_is_a_superset(self, caller: Caller, path: str, asked: Any):
        body = (await caller.post(path, {**asked, "provider": "openai"})).raise_for_status().json()
        assert body["response"] == body["choices"][0]["message"]["content"] == GREETING
        assert body["object"] == "chat.completion"
        assert body["provider"] == "openai"
        assert body["usage"]["input_tokens"] == body["usage"]["prompt_tokens"] == 11
        shown = await caller.get(f"/api/v1/conversations/{body['conversation_id']}/messages")
        assert [one["content"] for one in shown.json()["messages"]] == ["please greet", GREETING]

    async def test_a_stream_is_chunks_with_one_end(self, caller: Caller, path: str, asked: Any):
        async with caller.stream(path, {**asked, "stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = await all_events(response)
        assert events.count(DONE) == 1
        assert events[-1] == DONE
        chunks = [event["choices"][0] for event in events[:-1] if event["choices"]]
        assert "".join(chunk["delta"].get("content") or "" for chunk in chunks) == GREETING
        assert [chunk["finish_reason"] for chunk in chunks if chunk["finish_reason"]] == ["stop"]


class TestChunking:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/api/v1/chat?chunking=word", {}),
            ("/api/v1/chat", {"chunking": "word"}),
            ("/api/v0.2/chat", {"chunking": "word"}),
            ("/api/v0.2/chat?chunking=word", {}),
            ("/api/v0.2/chat/stream?chunking=word", {}),
        ],
    )
    async def test_words_stay_whole_for_those_who_ask(self, caller: Caller, path: str, body: Any):
        async with caller.stream(path, {"message": "please greet", "stream": True, **body}) as response:
            assert response.status_code == 200
            events = [event for event in await all_events(response) if event != DONE]
        if "choices" in events[0]:
            pieces = [event["choices"][0]["delta"].get("content") for event in events]
        else:
            pieces = [event["content"] for event in events if event["type"] == "content"]
        said = [piece for piece in pieces if piece]
        assert "".join(said) == GREETING
        assert all(piece.endswith(" ") for piece in said[:-1])

    async def test_what_is_told_token_by_token_cannot_be_told_in_words(self, caller: Caller):
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "stream": True, "logprobs": True}
        refused = await caller.post("/api/v1/chat?chunking=word", body)
        assert refused.status_code == 400
        assert "chunking: cannot be word with logprobs" in refused.json()["detail"]

    async def test_any_other_way_is_refused(self, caller: Caller):
        refused = await caller.post("/api/v1/chat?chunking=line", {"message": "x"})
        assert refused.status_code == 400
        assert "chunking: must be word or left out" in refused.json()["detail"]


class TestSdk:
    async def test_the_official_sdk_works_on_the_versions_own_path(self, caller: Caller):
        base_url = f"{caller.http.base_url}/api/v1"
        async with openai.AsyncOpenAI(api_key=caller.key, base_url=base_url, max_retries=0) as sdk:
            reply = await sdk.chat.completions.create(model="gpt-4o", messages=ASKED[1]["messages"])
            assert reply.choices[0].message.content == GREETING
            with pytest.raises(openai.BadRequestError, match="must be a list of at least one message"):
                await sdk.chat.completions.create(model="gpt-4o", messages=[])
