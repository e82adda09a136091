"""What happens to a chat when the database is away."""

import grpc
import psycopg
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from psycopg import sql

from deploy.migrations.runner import migrate
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, refusal
from tests.integration.chat.scripted_provider import ScriptedProvider, openai_completion
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer


async def test_a_reply_that_cannot_be_stored_is_not_acknowledged_and_no_more_are_paid_for(
    running_chat: Running, auth: Auth, postgres: PostgresServer, openai_upstream: ScriptedProvider
):
    settings = {
        "openai_api_key": "k",
        "openai_base_url": openai_upstream.url,
        "database_url": postgres.url("there_is_no_such_database", "gaia_chat"),
    }
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("lost"))
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    async with running_chat(**settings) as address, connect(address) as channel:
        client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
        error = await refusal(client.chat.Chat(ChatRequest(message="x", model="gpt-4o"), metadata=client.metadata))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert openai_upstream.requests == [], "the conversation is loaded before anybody is paid"
        for _ in range(3):
            error = await refusal(client.completion_call(ask))
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert "database" in error.message
        assert openai_upstream.requests == [], "what cannot be written down is not dispatched"


async def test_a_database_that_comes_back_is_found_again(
    running_chat: Running, auth: Auth, postgres: PostgresServer, database: str
):
    name = postgres.create_database()
    postgres.drop_database(name)
    async with (
        running_chat(database_url=postgres.url(name, "gaia_chat")) as address,
        connect(address) as channel,
    ):
        client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
        ask = {"model": "local-echo", "messages": [{"role": "user", "content": "hi"}]}
        assert (await refusal(client.completion_call(ask))).code is grpc.StatusCode.UNAVAILABLE
        assert (await refusal(client.completion_call(ask))).code is grpc.StatusCode.UNAVAILABLE
        recreate(postgres, name, database)
        answer = await client.complete(ask)
        assert answer["choices"][0]["message"]["content"]
        postgres.drop_database(name)


def recreate(postgres: PostgresServer, name: str, source: str) -> None:
    """Brings a database back under its old name, with the users of another one."""
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER gaia_owner").format(sql.Identifier(name)))
    migrate(postgres.url(name, "gaia_owner"))
    with (
        psycopg.connect(postgres.url(source, "gaia_owner")) as old,
        psycopg.connect(postgres.url(name, "gaia_owner")) as new,
    ):
        for row in old.execute("SELECT id, email FROM users"):
            new.execute("INSERT INTO users (id, email) VALUES (%s, %s)", row)
