"""A model that a key may not use, asked for by whatever way, stands in the audit trail."""

from typing import Any

import grpc
import orjson
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.embedding_service_pb2 import CreateEmbeddingsRequest
from gaia.chat.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from google.api.httpbody_pb2 import HttpBody

from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, refusal
from tests.integration.chat.scripted_provider import ScriptedProvider, claude_message
from tests.integration.chat.test_budgets import limit
from tests.support.auth import Auth
from tests.support.edge import running_edge
from tests.support.waiting import eventually

TURN = {"model": "local-echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}


async def denials(client: Client) -> list[Any]:
    """What the audit trail has of the client's user."""
    return await client.rows(
        "SELECT target_id, address, request_id, details->>'scope' AS scope, (details->>'count')::int AS count "
        "FROM audit_events e JOIN users u ON u.id = e.actor_user_id "
        "WHERE action = 'authorization.denied' AND result = 'permission_denied' AND u.email = $1",
        await client.email(),
    )


async def test_a_refused_model_is_written_with_who_what_and_where(auth: Auth, running_chat: Running):
    key = await auth.new_key()
    async with running_chat() as address, connect(address) as channel:
        client = Client(channel, (("x-api-key", key),), auth.owner_url)
        await limit(client, allowed_models=["gpt-4o"])
        embedding = orjson.dumps({"model": "local-embedding", "input": "hi"})
        calls = {
            "CompletionService.CreateChatCompletion": client.completion_call({**TURN, "stream": True}),
            "CombinedChatService.CombinedChat": client.combined_call({"message": "hi", "model": "local-echo"}),
            "MessageService.CreateMessage": client.message_call(TURN),
            "MessageService.CountMessageTokens": client.count_call(TURN),
            "ChatService.Chat": client.chat.Chat(
                ChatRequest(message="hi", model="local-echo"), metadata=client.metadata
            ),
            "EmbeddingService.CreateEmbeddings": EmbeddingServiceStub(channel).CreateEmbeddings(
                CreateEmbeddingsRequest(body=HttpBody(content_type="application/json", data=embedding)),
                metadata=client.metadata,
            ),
        }
        for call in calls.values():
            assert (await refusal(call)).code is grpc.StatusCode.PERMISSION_DENIED
        # Through the edge it is the client's address, and the request has its id.
        async with running_edge(auth.address, chat_target=f"dns:///{address}", trusted_proxies=1) as edge:
            headers = {"x-api-key": key, "x-forwarded-for": "203.0.113.7", "x-request-id": "no-such-model"}
            for _ in range(3):
                reply = await edge.post("/v1/chat/completions", json=TURN, headers=headers)
                assert reply.status_code == 403, reply.text

    async def written() -> list[Any]:
        found = await denials(client)
        return found if sum(row["count"] for row in found) == len(calls) + 3 else []

    found = await eventually(written)
    direct = {(row["target_id"], row["scope"]) for row in found if row["address"] == "127.0.0.1"}
    expected = {(f"gaia.chat.v1.{name}", "model:local-echo") for name in calls if "Embedding" not in name}
    assert direct == expected | {("gaia.chat.v1.EmbeddingService.CreateEmbeddings", "model:local-embedding")}
    [edges] = [row for row in found if row["address"] == "203.0.113.7"]
    assert (edges["count"], edges["request_id"]) == (3, "no-such-model")


async def test_a_key_that_may_not_use_all_models_may_not_have_its_provider_use_them(
    client: Client, claude_upstream: ScriptedProvider
):
    claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hello"}]))
    claude = {**TURN, "model": "claude-haiku-5-5"}
    advisor = {"type": "advisor_20260301", "name": "advisor"}

    def asking(model: str) -> list[dict[str, Any]]:
        return [{**claude, "fallbacks": [{"model": model}]}, {**claude, "tools": [{**advisor, "model": model}]}]

    await limit(client, allowed_models=["claude-haiku-5-5", "claude/claude-sonnet-5"])
    for body in asking("claude-opus-5"):
        error = await refusal(client.message_call(body))
        assert error.code is grpc.StatusCode.PERMISSION_DENIED
        assert "claude-opus-5" in error.message
    error = await refusal(client.message_call({**claude, "fallbacks": "default"}))
    assert (error.code, error.message[:10]) == (grpc.StatusCode.INVALID_ARGUMENT, "fallbacks:")
    assert claude_upstream.requests == []
    for body in asking("claude-sonnet-5"):
        assert [part async for part in client.message_call(body)]
    assert [one.body for one in claude_upstream.requests] == asking("claude-sonnet-5")
