"""The chat of version 0.3, through the gRPC door, on a real database."""

import uuid

import grpc
from gaia.chat.v1 import plain_chat_service_pb2 as pb

from tests.integration.chat.conftest import Client, outcome
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, openai_chunk, openai_completion


def greeting(exchange: Exchange):
    return exchange.reply(200, openai_completion("hello there"))


class TestReplies:
    async def test_new_begins_a_conversation_that_its_id_continues(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(500, {})
        openai_upstream.script = greeting
        first = await client.call(client.plain.PlainChat, pb.PlainChatRequest(message="a", conversation_id="new"))
        again = await client.call(client.plain.PlainChat, pb.PlainChatRequest(message="b", conversation_id="new"))
        assert first.response == "hello there"
        assert first.conversation_id != again.conversation_id
        request = pb.PlainChatRequest(message="c", conversation_id=first.conversation_id)
        assert (await client.call(client.plain.PlainChat, request)).conversation_id == first.conversation_id
        sent = [one["content"] for one in openai_upstream.requests[-1].body["messages"]]
        assert sent == ["a", "hello there", "c"]
        assert {row["origin"] for row in await client.messages()} == {"native"}

    async def test_a_new_conversation_does_not_know_the_default_one(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(500, {})
        openai_upstream.script = greeting
        await client.call(client.plain.PlainChat, pb.PlainChatRequest(message="default"))
        await client.call(client.plain.PlainChat, pb.PlainChatRequest(message="fresh", conversation_id="new"))
        assert [one["content"] for one in openai_upstream.requests[-1].body["messages"]] == ["fresh"]

    async def test_a_reply_that_never_came_leaves_no_conversation(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        for upstream in (openai_upstream, claude_upstream):
            upstream.script = lambda exchange: exchange.reply(500, {})
        request = pb.PlainChatRequest(message="a", conversation_id="new")
        assert (await client.refused(client.plain.PlainChat, request)).code is grpc.StatusCode.INTERNAL
        listed = await client.call(client.plain.ListPlainConversations, pb.ListPlainConversationsRequest())
        assert list(listed.conversations) == []


class TestStreams:
    async def test_metadata_first_then_content_then_one_done(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(
                openai_chunk({"content": "one t"}), openai_chunk({"content": "wo"}), openai_chunk({}, "stop"), b"[DONE]"
            )
            await exchange.end()

        claude_upstream.script = lambda exchange: exchange.reply(500, {})
        openai_upstream.script = script
        for wanted in ("", "new"):
            request = pb.PlainChatRequest(message="a", conversation_id=wanted)
            events = [event async for event in client.plain.StreamPlainChat(request, metadata=client.metadata)]
            assert [event.type for event in events] == ["metadata", "content", "content", "done"]
            assert [event.content for event in events[1:3]] == ["one ", "two"]
            rows = await client.messages()
            assert str(rows[-1]["conversation_id"]) == events[0].conversation_id
            assert rows[-1]["origin"] == ("native" if wanted else "default")

    async def test_a_cut_stream_has_no_done_and_keeps_what_came(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "half of "}))
            exchange.cut()

        claude_upstream.script = lambda exchange: exchange.reply(500, {})
        openai_upstream.script = script
        request = pb.PlainChatRequest(message="a", conversation_id="new")
        said, _ = await outcome(client.plain.StreamPlainChat(request, metadata=client.metadata))
        assert "done" not in [event.type for event in said]
        rows = await client.messages()
        assert [(row["content"], row["is_complete"]) for row in rows] == [("a", True), ("half of ", False)]
        assert str(rows[0]["conversation_id"]) == said[0].conversation_id


class TestConversations:
    async def test_one_that_is_begun_is_listed(self, client: Client):
        made = await client.call(
            client.plain.CreatePlainConversation, pb.CreatePlainConversationRequest(title="Kitchen")
        )
        assert made.title == "Kitchen"
        listed = await client.call(client.plain.ListPlainConversations, pb.ListPlainConversationsRequest())
        assert [(one.conversation_id, one.title) for one in listed.conversations] == [(made.conversation_id, "Kitchen")]


class TestRefusals:
    async def test_a_missing_message_is_told_in_the_words_that_clients_know(self, client: Client):
        for message in ("", " \n"):
            error = await client.refused(client.plain.PlainChat, pb.PlainChatRequest(message=message))
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert error.message == "Missing required field: message"

    async def test_an_unknown_conversation_is_not_there(self, client: Client):
        for wanted in (str(uuid.uuid4()), "latest"):
            request = pb.PlainChatRequest(message="a", conversation_id=wanted)
            error = await client.refused(client.plain.PlainChat, request)
            assert (error.code, error.message) == (grpc.StatusCode.NOT_FOUND, f"there is no conversation {wanted}")
