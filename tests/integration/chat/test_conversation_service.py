"""The conversations of a user, through the gRPC door, on a real database."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from gaia.chat.v1 import conversation_service_pb2 as pb
from gaia.chat.v1.chat_service_pb2 import ChatRequest, ClearChatHistoryRequest
from gaia.chat.v1.conversation_pb2 import Conversation
from google.protobuf.field_mask_pb2 import FieldMask

from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client
from tests.integration.chat.scripted_provider import ScriptedProvider, openai_completion
from tests.support.auth import Auth


@pytest.fixture
async def stranger(address: str, auth: Auth) -> AsyncIterator[Client]:
    key = await auth.new_key()
    async with connect(address) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


async def begin(client: Client, title: str = "") -> Conversation:
    made = await client.call(client.conversations.CreateConversation, pb.CreateConversationRequest(title=title))
    assert isinstance(made.conversation, Conversation)
    return made.conversation


async def say(client: Client, message: str, conversation_id: str = "", **fields: Any) -> Any:
    request = ChatRequest(message=message, conversation_id=conversation_id, **{"provider": "local", **fields})
    return await client.call(client.chat.Chat, request)


async def get(client: Client, conversation_id: str) -> Conversation:
    found = await client.call(client.conversations.GetConversation, pb.GetConversationRequest(id=conversation_id))
    assert isinstance(found.conversation, Conversation)
    return found.conversation


async def titles(client: Client, **fields: Any) -> list[str]:
    listed = await client.call(client.conversations.ListConversations, pb.ListConversationsRequest(**fields))
    return [one.title for one in listed.conversations]


async def found(client: Client, words: str) -> list[str]:
    answer = await client.call(client.conversations.SearchConversations, pb.SearchConversationsRequest(q=words))
    return [one.title for one in answer.conversations]


class TestOne:
    async def test_it_is_empty_then_titled_by_its_first_message_and_previewed_by_its_newest(self, client: Client):
        made = await begin(client)
        assert (made.title, made.preview) == ("New conversation", "")
        reply = await say(client, "how do I cook rice?", made.id)
        await say(client, "and beans?", made.id)
        now = await get(client, made.id)
        assert now.title == "how do I cook rice?"
        assert now.preview.startswith("I am Gaia's local development provider")
        assert reply.conversation_id == made.id
        assert now.updated_at.ToDatetime() > now.created_at.ToDatetime() == made.created_at.ToDatetime()

    async def test_a_given_title_stands_until_it_is_emptied(self, client: Client):
        made = await begin(client, "  Kitchen ")
        await say(client, "how do I cook rice?", made.id)
        assert (await get(client, made.id)).title == "Kitchen"
        for title, shown in (("Dinner", "Dinner"), ("", "how do I cook rice?"), ("a\x00b", "a\ufffdb")):
            request = pb.UpdateConversationRequest(
                conversation=Conversation(id=made.id, title=title), update_mask=FieldMask(paths=["title"])
            )
            changed = await client.call(client.conversations.UpdateConversation, request)
            assert changed.conversation.title == shown

    async def test_deleting_takes_its_messages_along(self, client: Client):
        made = await begin(client)
        await say(client, "secret", made.id)
        await client.call(client.conversations.DeleteConversation, pb.DeleteConversationRequest(id=made.id))
        assert await client.messages() == []
        error = await client.refused(client.conversations.GetConversation, pb.GetConversationRequest(id=made.id))
        assert (error.code, error.message) == (grpc.StatusCode.NOT_FOUND, f"there is no conversation {made.id}")

    async def test_a_cleared_default_conversation_keeps_nothing_of_what_was_said(self, client: Client):
        reply = await say(client, "my secret plan")
        await client.call(client.chat.ClearChatHistory, ClearChatHistoryRequest())
        left = await get(client, reply.conversation_id)
        assert (left.title, left.preview) == ("New conversation", "")
        assert await found(client, "secret") == []


class TestMessages:
    async def test_they_come_in_order_with_who_said_them_and_what_it_took(self, client: Client):
        made = await begin(client)
        await say(client, "one", made.id)
        await say(client, "two", made.id)
        request = pb.ListConversationMessagesRequest(id=made.id)
        listed = await client.call(client.conversations.ListConversationMessages, request)
        assert [one.role for one in listed.messages] == ["user", "assistant"] * 2
        question, answer = listed.messages[:2]
        assert question.content == "one"
        assert not question.HasField("model")
        assert not question.HasField("tokens_used")
        assert (answer.provider, answer.model, answer.is_complete) == ("local", "local-echo", True)
        assert answer.tokens_used > 0
        assert listed.next_page_token == ""

    async def test_pages_hold_each_message_once(self, client: Client):
        made = await begin(client)
        for number in range(3):
            await say(client, f"m{number}", made.id)
        seen, token, pages = [], "", 0
        while pages == 0 or token:
            request = pb.ListConversationMessagesRequest(id=made.id, page_size=4, page_token=token)
            listed = await client.call(client.conversations.ListConversationMessages, request)
            seen += [one.content for one in listed.messages if one.role == "user"]
            token, pages = listed.next_page_token, pages + 1
        assert (seen, pages) == (["m0", "m1", "m2"], 2)

    async def test_a_page_ends_before_it_is_too_large_to_be_sent(self, client: Client):
        made = await begin(client)
        for text in ("long", "ü" * 400_000) * 3:
            insert = "INSERT INTO chat_messages (conversation_id, role, content) VALUES ($1, 'user', $2)"
            await client.rows(insert, uuid.UUID(made.id), text)
        lengths: list[list[int]] = []
        token = ""
        while not lengths or token:
            request = pb.ListConversationMessagesRequest(id=made.id, page_token=token)
            listed = await client.call(client.conversations.ListConversationMessages, request)
            lengths.append([len(one.content) for one in listed.messages])
            token = listed.next_page_token
        assert lengths == [[4, 400_000, 4, 400_000], [4, 400_000]]

    async def test_an_empty_conversation_has_none(self, client: Client):
        made = await begin(client)
        request = pb.ListConversationMessagesRequest(id=made.id)
        listed = await client.call(client.conversations.ListConversationMessages, request)
        assert (list(listed.messages), listed.next_page_token) == ([], "")


class TestLists:
    async def test_the_one_used_last_is_first_and_stateless_calls_are_not_listed(self, client: Client):
        first, second = await begin(client, "first"), await begin(client, "second")
        await say(client, "x", first.id)
        await say(client, "the default one")
        await client.complete({"model": "local-echo", "messages": [{"role": "user", "content": "stateless"}]})
        assert await titles(client) == ["the default one", "first", "second"]
        assert second.title == "second"

    async def test_pages_hold_each_conversation_once(self, client: Client):
        for number in range(5):
            await begin(client, f"c{number}")
        seen, token, pages = [], "", 0
        while pages == 0 or token:
            request = pb.ListConversationsRequest(page_size=2, page_token=token)
            listed = await client.call(client.conversations.ListConversations, request)
            seen += [one.title for one in listed.conversations]
            token, pages = listed.next_page_token, pages + 1
        assert (seen, pages) == (["c4", "c3", "c2", "c1", "c0"], 3)


class TestSearch:
    async def test_words_are_found_in_questions_answers_and_titles_whatever_their_case(self, client: Client):
        rice, title = await begin(client), await begin(client, "Zebra crossing")
        await say(client, "how do I cook Basmati rice?", rice.id)
        await say(client, "x", title.id)
        assert await found(client, "basmati RICE") == ["how do I cook Basmati rice?"]
        assert await found(client, "zebra") == ["Zebra crossing"]
        assert await found(client, '"rice basmati"') == []
        assert len(await found(client, "basmati or zebra")) == 2
        assert await found(client, "basmati -rice") == []
        assert len(await found(client, "development")) == 2, "the local provider's answers have the word"

    @pytest.mark.parametrize(
        ("said", "asked", "others"),
        [
            (
                "東京都に住んでいます。寿司が好きです",
                ["東京", "京都に", "寿司", "東京 寿司", "好き"],
                ["京東", "東京寿司"],
            ),
            ("我喜欢吃北京烤鸭", ["北京", "烤鸭", '"北京烤鸭"', "北京 -上海"], ["上海", "北京 -烤鸭", '北京 -"烤鸭"']),
            ("서울에서 만나요", ["서울", "에서"], ["부산"]),
            ("สวัสดีชาวโลก", ["ชาวโลก", "สวัสดี"], ["โลกชาว"]),
            ("iPhone手机很贵", ["iphone", "手机", "iPhone手机"], ["android手机"]),
            ("𠮷野家 is open", ["𠮷野", "open"], ["野𠮷"]),
            ("Größe der Straßenbahn", ["größe", "STRASSENBAHN OR straßenbahn"], ["bahn"]),
            ("Привет, как дела", ["ПРИВЕТ", "как дела"], ["пока"]),
            ("مرحبا بالعالم الجديد", ["بالعالم", "مرحبا الجديد"], ["القديم"]),
            ("नमस्ते दुनिया", ["नमस्ते"], ["विदा"]),
            ("call foo_bar.baz(qux) at a.example/path", ["baz", "foo_bar", "foo_bar.baz", "a.example"], ["bar_foo"]),
            ("pi is 3.14 or so", ["3.14", "pi -2.71"], ["3.15", "pi -3.14"]),
        ],
    )
    async def test_every_script_is_searched(self, client: Client, said: str, asked: list[str], others: list[str]):
        made = await begin(client)
        await say(client, said, made.id)
        for words in asked:
            assert await found(client, words) == [said], words
        for words in others:
            assert await found(client, words) == [], words

    async def test_the_index_is_used(self, client: Client):
        connection = await asyncpg.connect(client.owner_url)
        try:
            # A table of a few rows is read whole otherwise.
            await connection.execute("SET enable_seqscan = off")
            plan = await connection.fetch(
                "EXPLAIN SELECT 1 FROM chat_messages WHERE is_searchable AND search_words(content) "
                "@@ websearch_to_tsquery('simple', 'rice')"
            )
        finally:
            await connection.close()
        assert any("chat_messages_search" in line for (line,) in plan)

    async def test_no_syntax_is_an_error(self, client: Client):
        for words in ("'", '"', "a & | !", "\x00", ":*", "-", "%"):
            assert await found(client, words) == []

    async def test_a_text_too_large_to_be_indexed_whole_is_stored_all_the_same(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        words = " ".join(f"w{number}" for number in range(300_000))
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion(words))
        made = await begin(client, "huge")
        await say(client, "all words", made.id, provider="openai")
        assert await found(client, "w77") == ["huge"]

    async def test_stateless_calls_and_other_peoples_words_are_not_found(self, client: Client, stranger: Client):
        await client.complete({"model": "local-echo", "messages": [{"role": "user", "content": "xylophone"}]})
        await say(stranger, "xylophone")
        assert await found(client, "xylophone") == []
        assert await found(stranger, "xylophone") == ["xylophone"]


class TestOwnership:
    async def test_a_foreign_an_unknown_and_an_impossible_id_are_not_there(self, client: Client, stranger: Client):
        mine = await begin(client, "mine")
        await say(client, "secret", mine.id)
        stub = stranger.conversations
        for conversation_id in (mine.id, str(uuid.uuid4()), "latest"):
            update = pb.UpdateConversationRequest(
                conversation=Conversation(id=conversation_id, title="x"), update_mask=FieldMask(paths=["title"])
            )
            for method, request in (
                (stub.GetConversation, pb.GetConversationRequest(id=conversation_id)),
                (stub.ListConversationMessages, pb.ListConversationMessagesRequest(id=conversation_id)),
                (stub.UpdateConversation, update),
                (stub.DeleteConversation, pb.DeleteConversationRequest(id=conversation_id)),
            ):
                error = await stranger.refused(method, request)
                assert error.code is grpc.StatusCode.NOT_FOUND
                assert error.message == f"there is no conversation {conversation_id}"
        assert (await get(client, mine.id)).title == "mine"
        assert len(await client.messages()) == 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "request_", "says"),
        [
            ("CreateConversation", pb.CreateConversationRequest(title="x" * 201), "title: must have at most 200"),
            ("SearchConversations", pb.SearchConversationsRequest(q=" "), "q: must hold the words to look for"),
            ("SearchConversations", pb.SearchConversationsRequest(q="x" * 501), "q: must have at most 500"),
            ("ListConversations", pb.ListConversationsRequest(page_size=-1), "page_size"),
            ("ListConversations", pb.ListConversationsRequest(page_token="x"), "page_token: is not a token"),
            ("UpdateConversation", pb.UpdateConversationRequest(), "update_mask: names no field; name title"),
            (
                "UpdateConversation",
                pb.UpdateConversationRequest(update_mask=FieldMask(paths=["preview"])),
                "preview cannot be changed; only title can",
            ),
        ],
    )
    async def test_a_faulty_request_is_told_what_would_be_right(
        self, client: Client, method: str, request_: Any, says: str
    ):
        error = await client.refused(getattr(client.conversations, method), request_)
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert says in error.message
