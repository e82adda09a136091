"""Conversations over REST, in both versions' shapes."""

import uuid

from tests.support.mesh import Caller
from tests.support.sse import all_events

V1 = "/api/v1/conversations"
V03 = "/api/v0.3"
GREETING = "Hello from the simulated provider, nice to meet you."


class TestV1:
    async def test_a_conversation_lives_from_post_to_delete(self, caller: Caller):
        made = await caller.post(V1)
        assert made.status_code == 201
        body = made.json()
        assert set(body) == {"id", "title", "preview", "created_at", "updated_at"}
        path = f"{V1}/{body['id']}"

        said = await caller.post("/api/v0.2/chat", {"message": "please greet", "conversation_id": body["id"]})
        assert said.json()["conversation_id"] == body["id"]
        shown = (await caller.get(path)).json()
        assert (shown["title"], shown["preview"]) == ("please greet", GREETING)

        messages = (await caller.get(f"{path}/messages")).json()["messages"]
        assert [one["role"] for one in messages] == ["user", "assistant"]
        assert {"id", "role", "content", "model", "provider", "tokens_used", "created_at"} <= set(messages[1])
        assert messages[1]["tokens_used"] == 18

        changed = await caller.patch(path, {"title": "Greetings"})
        assert (changed.status_code, changed.json()["title"]) == (200, "Greetings")
        assert [one["id"] for one in (await caller.get(V1)).json()["conversations"]] == [body["id"]]
        found = await caller.get(f"{V1}/search", params={"q": "simulated"})
        assert [one["title"] for one in found.json()["conversations"]] == ["Greetings"]

        gone = await caller.delete(path)
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await caller.get(path)).status_code == 404

    async def test_errors_have_the_default_shape(self, caller: Caller):
        unknown = await caller.get(f"{V1}/{uuid.uuid4()}")
        assert unknown.status_code == 404
        assert unknown.json()["detail"].startswith("there is no conversation")
        assert (await caller.get(f"{V1}/search")).status_code == 400


class TestV03:
    async def test_a_message_brings_a_reply_in_a_new_conversation(self, caller: Caller):
        reply = await caller.post(f"{V03}/chat", {"message": "please greet", "conversation_id": "new", "extra": 1})
        assert reply.status_code == 200
        assert set(reply.json()) == {"response", "conversation_id"}
        assert reply.json()["response"] == GREETING
        [listed] = (await caller.get(f"{V03}/conversations/")).json()["conversations"]
        assert set(listed) == {"conversation_id", "title", "created_at"}
        assert listed["conversation_id"] == reply.json()["conversation_id"]
        assert listed["title"] == "please greet"

    async def test_a_conversation_is_begun_with_201(self, caller: Caller):
        made = await caller.post(f"{V03}/conversations", {"title": "Mine"})
        assert made.status_code == 201
        assert set(made.json()) == {"conversation_id", "title"}

    async def test_a_stream_begins_with_metadata_and_ends_with_one_done(self, caller: Caller):
        async with caller.stream(f"{V03}/chat", {"message": "please greet", "stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = await all_events(response)
        assert [event["type"] for event in events[:1] + events[-1:]] == ["metadata", "done"]
        uuid.UUID(events[0]["conversation_id"])
        assert {event["type"] for event in events[1:-1]} == {"content"}
        assert all(set(event) == {"type", "content"} for event in events[1:-1])
        assert "".join(event["content"] for event in events[1:-1]) == GREETING
        assert events[-1] == {"type": "done"}

    async def test_errors_are_one_sentence(self, caller: Caller):
        missing = await caller.post(f"{V03}/chat", {})
        assert (missing.status_code, missing.json()) == (400, {"error": "Missing required field: message"})
        wanted = str(uuid.uuid4())
        for stream in (False, True):
            body = {"message": "a", "conversation_id": wanted, "stream": stream}
            unknown = await caller.post(f"{V03}/chat", body)
            assert (unknown.status_code, unknown.json()) == (404, {"error": f"there is no conversation {wanted}"})
