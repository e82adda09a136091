"""The chat service in the test's own process, with real auth, a real database and scripted providers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from gaia.chat.v1.chat_service_pb2_grpc import ChatServiceStub
from gaia.chat.v1.combined_chat_service_pb2 import CombinedChatRequest
from gaia.chat.v1.combined_chat_service_pb2_grpc import CombinedChatServiceStub
from gaia.chat.v1.completion_service_pb2 import CreateChatCompletionRequest
from gaia.chat.v1.completion_service_pb2_grpc import CompletionServiceStub
from gaia.chat.v1.conversation_service_pb2_grpc import ConversationServiceStub
from gaia.chat.v1.message_service_pb2 import CountMessageTokensRequest, CreateMessageRequest
from gaia.chat.v1.message_service_pb2_grpc import MessageServiceStub
from gaia.chat.v1.model_service_pb2_grpc import ModelServiceStub
from gaia.chat.v1.persona_service_pb2_grpc import PersonaServiceStub
from gaia.chat.v1.plain_chat_service_pb2_grpc import PlainChatServiceStub
from gaia.chat.v1.provider_service_pb2_grpc import ProviderServiceStub
from google.api.httpbody_pb2 import HttpBody
from pydantic import SecretStr

from services.chat.server import serving
from services.chat.settings import ChatSettings
from shared.rpc.channel import connect
from tests.integration.chat.scripted_provider import ScriptedProvider, running_provider
from tests.support.auth import Auth, running_auth
from tests.support.postgres import PostgresServer

PROVIDER_KEY = "sk-secret-of-the-operator-1234567890"


@dataclass(frozen=True, slots=True)
class Client:
    """A caller of the chat service with a key of its own."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]
    owner_url: str

    @property
    def chat(self) -> Any:
        """Stub of the native chat."""
        return ChatServiceStub(self.channel)

    @property
    def conversations(self) -> Any:
        """Stub of the conversations."""
        return ConversationServiceStub(self.channel)

    @property
    def personas(self) -> Any:
        """Stub of the personas."""
        return PersonaServiceStub(self.channel)

    @property
    def plain(self) -> Any:
        """Stub of the chat of version 0.3."""
        return PlainChatServiceStub(self.channel)

    @property
    def models(self) -> Any:
        """Stub of the models."""
        return ModelServiceStub(self.channel)

    @property
    def providers(self) -> Any:
        """Stub of the providers."""
        return ProviderServiceStub(self.channel)

    def completion_call(self, body: Any) -> Any:
        """Begins a completion; the body is JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        request = CreateChatCompletionRequest(body=HttpBody(content_type="application/json", data=data))
        return CompletionServiceStub(self.channel).CreateChatCompletion(request, metadata=self.metadata)

    def message_call(self, body: Any, *headers: tuple[str, str]) -> Any:
        """Begins one of Anthropic's messages; the body is JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        request = CreateMessageRequest(body=HttpBody(content_type="application/json", data=data))
        return MessageServiceStub(self.channel).CreateMessage(request, metadata=(*self.metadata, *headers))

    def count_call(self, body: Any, *headers: tuple[str, str]) -> Any:
        """Begins a count of the tokens of one of Anthropic's messages."""
        request = CountMessageTokensRequest(body=HttpBody(content_type="application/json", data=orjson.dumps(body)))
        return MessageServiceStub(self.channel).CountMessageTokens(request, metadata=(*self.metadata, *headers))

    def combined_call(self, body: Any) -> Any:
        """Begins a chat of version 1; the body is JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        request = CombinedChatRequest(body=HttpBody(content_type="application/json", data=data))
        return CombinedChatServiceStub(self.channel).CombinedChat(request, metadata=self.metadata)

    async def combined(self, **body: Any) -> Any:
        """Returns the JSON of a whole reply of version 1."""
        [part] = [part async for part in self.combined_call(body)]
        assert part.content_type == "application/json"
        return orjson.loads(part.data)

    async def combined_stream(self, **body: Any) -> list[Any]:
        """Returns the events of a stream of version 1."""
        return events_in([part async for part in self.combined_call({**body, "stream": True})])

    async def complete(self, body: Any) -> Any:
        """Returns the JSON of a whole completion."""
        [part] = [part async for part in self.completion_call(body)]
        assert part.content_type == "application/json"
        return orjson.loads(part.data)

    async def stream(self, body: Any) -> list[Any]:
        """Returns the events of a streamed completion: JSON, and the end marker as text."""
        return events_in([part async for part in self.completion_call(body)])

    async def call(self, method: Any, request: Any) -> Any:
        """Returns the response of a method."""
        return await method(request, metadata=self.metadata)

    async def refused(self, method: Any, request: Any) -> "Refusal":
        """Returns how a method failed."""
        return await refusal(method(request, metadata=self.metadata))

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Returns rows of the database."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def messages(self) -> list[asyncpg.Record]:
        """Returns the messages of this client's user, in order."""
        return await self.rows(
            "SELECT m.*, c.origin FROM chat_messages m JOIN conversations c ON c.id = m.conversation_id "
            "JOIN users u ON u.id = c.user_id WHERE u.email = $1 ORDER BY m.position",
            await self.email(),
        )

    async def email(self) -> str:
        """Returns the email address of this client's user."""
        [row] = await self.rows(
            "SELECT u.email FROM users u JOIN api_keys k ON k.user_id = u.id WHERE k.key_hash = "
            "encode(sha256(convert_to($1, 'UTF8')), 'hex')",
            self.metadata[0][1],
        )
        return str(row["email"])


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call failed: its code, its message, and all that was told beside."""

    code: grpc.StatusCode
    message: str
    trailing: str


async def outcome(call: Any) -> tuple[list[Any], Refusal]:
    """Returns what a call that fails said before, and how it failed."""
    said: list[Any] = []
    try:
        if hasattr(call, "__aiter__"):
            async for one in call:
                said.append(one)  # noqa: PERF401 - what was said before the failure is wanted too
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return said, Refusal(error.code(), error.details() or "", str(error.trailing_metadata()))
    raise AssertionError("the call did not fail")


async def refusal(call: Any) -> Refusal:
    """Returns how a call failed."""
    return (await outcome(call))[1]


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Returns when the condition holds; fails after ten seconds."""
    async with asyncio.timeout(10.0):
        while not await condition():  # noqa: ASYNC110 - the row is in another process, which rings no bell
            await asyncio.sleep(0.01)


def parsed(kind: Any, body: Any) -> Any:
    """Reads a body as strictly as the OpenAI SDK's own types can."""
    return kind.model_validate(body, strict=True)


def events_in(parts: Iterable[HttpBody]) -> list[Any]:
    """Returns the events in the parts of a streamed completion: JSON, and the end marker as text."""
    records = b"".join(part.data for part in parts).decode().removesuffix("\n\n").split("\n\n")
    data = [record.removeprefix("data: ") for record in records]
    return [one if one == "[DONE]" else orjson.loads(one) for one in data]


@pytest.fixture(scope="module")
async def auth(postgres: PostgresServer, database: str) -> AsyncIterator[Auth]:
    async with running_auth(postgres, database) as running:
        yield running


Running = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="module")
def running_chat(postgres: PostgresServer, database: str, auth: Auth) -> Running:
    """Runs a chat service with the settings given and yields its address."""

    @contextlib.asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[str]:
        url = settings.pop("database_url", None) or postgres.url(database, "gaia_chat")
        chosen = {"openai_api_key": None, "anthropic_api_key": None, "provider_probe_seconds": 0, **settings}
        complete = ChatSettings(
            env="test",
            listen="127.0.0.1:0",
            database_url=SecretStr(url),
            auth_target=auth.address,
            drain_seconds=0.5,
            **chosen,
        )
        async with serving(complete) as server:
            yield server.address

    return run


@pytest.fixture(scope="module")
async def openai_upstream() -> AsyncIterator[ScriptedProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def claude_upstream() -> AsyncIterator[ScriptedProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def address(
    running_chat: Running, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
) -> AsyncIterator[str]:
    """The address of a chat service in front of both scripted providers."""
    async with running_chat(
        openai_api_key=SecretStr(PROVIDER_KEY),
        openai_base_url=openai_upstream.url + "/v1",
        anthropic_api_key=SecretStr(PROVIDER_KEY),
        anthropic_base_url=claude_upstream.url,
        provider_silence_seconds=0.5,
        # A test sees the failure of a single try, and has nothing of what another one made fail.
        provider_retries=0,
        provider_circuit_failures=0,
        model_aliases={"quick": "claude/claude-haiku-4-5"},
    ) as running:
        yield running


@pytest.fixture
async def client(address: str, auth: Auth) -> AsyncIterator[Client]:
    """A new user of the chat service."""
    key = await auth.new_key()
    async with connect(address) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


@pytest.fixture(autouse=True)
def fresh_scripts(openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider) -> None:
    """Each test brings its own script."""
    for provider in (openai_upstream, claude_upstream):
        provider.script = None
        provider.requests.clear()
