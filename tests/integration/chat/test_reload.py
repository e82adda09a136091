"""Other settings, and other models, while the service runs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from gaia.chat.v1.model_service_pb2 import GetModelRequest
from gaia.chat.v1.provider_service_pb2 import GetProviderRequest, ListProviderModelsRequest

from services.chat.server import serving
from services.chat.settings import ChatSettings
from shared.rpc.channel import connect
from shared.settings import load
from tests.integration.chat.conftest import Client, events_in
from tests.integration.chat.scripted_provider import (
    Exchange,
    openai_chunk,
    openai_completion,
    openai_usage,
    running_provider,
)
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer

ASK = {"messages": [{"role": "user", "content": "Hi"}]}


class Service:
    """A chat service with a file of settings; `client` calls it."""

    def __init__(self, path: Path, client: Client, reload: asyncio.Event) -> None:
        self.path = path
        self.client = client
        self._reload = reload

    async def provider(self, name: str) -> Any:
        found = await self.client.call(self.client.providers.GetProvider, GetProviderRequest(id=name))
        return found.provider

    async def said(self, model: str) -> str:
        answer = await self.client.complete({**ASK, "model": model})
        return answer["choices"][0]["message"]["content"]

    def take(self, text: str) -> None:
        self.path.write_text(text)
        self._reload.set()


Begin = Callable[[str], contextlib.AbstractAsyncContextManager[Service]]


@pytest.fixture
async def begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer, database: str, auth: Auth
) -> Begin:
    """Runs a service with the text of its file."""
    path = tmp_path / "gaia.toml"
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAIA_CONFIG", str(path))
    monkeypatch.setenv("DATABASE_URL", postgres.url(database, "gaia_chat"))
    monkeypatch.setenv("GAIA_AUTH_TARGET", auth.address)
    monkeypatch.setenv("GAIA_ENV", "test")
    monkeypatch.setenv("GAIA_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("GAIA_DRAIN_SECONDS", "0.5")
    key = await auth.new_key()

    @contextlib.asynccontextmanager
    async def run(text: str) -> AsyncIterator[Service]:
        path.write_text(text)
        reload = asyncio.Event()
        async with serving(load(ChatSettings), reload) as server, connect(server.address) as channel:
            yield Service(path, Client(channel, (("x-api-key", key),), auth.owner_url), reload)

    return run


async def until(condition: Callable[[], Any]) -> None:
    """Returns when the condition holds."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - the service tells nobody when it has taken its settings over
            await asyncio.sleep(0.01)


def compatible(url: str, *models: str, **more: str) -> str:
    listed = ", ".join(f'"{model}"' for model in models)
    rest = "".join(f"{name} = {value}\n" for name, value in more.items())
    return f'[[providers.compatible]]\nid = "up"\nbase_url = "{url}/v1"\nmodels = [{listed}]\n{rest}'


async def test_calls_go_to_the_new_settings_and_a_stream_of_before_comes_to_its_end(begin: Begin):
    async with running_provider() as old, running_provider() as new:
        last_word, closed = asyncio.Event(), asyncio.Event()

        async def slowly(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"role": "assistant", "content": "first "}))
            await last_word.wait()
            await exchange.events(openai_chunk({"content": "last"}), openai_chunk({}, "stop"), openai_usage(7, 3))
            await exchange.events(b"[DONE]")
            await exchange.end()
            await exchange.gone()
            closed.set()

        old.script = slowly
        new.script = lambda exchange: exchange.reply(200, openai_completion("new"))
        async with begin(compatible(old.url, "m", "gone")) as service:
            stream = service.client.completion_call({**ASK, "model": "up/m", "stream": True})
            rest = stream.__aiter__()
            parts = [await anext(rest)]
            service.take(compatible(new.url, "m", "more") + "[models.m]\nprices = [{ input = 3, output = 15 }]\n")

            async def is_taken() -> bool:
                return "more" in (await service.provider("up")).models

            await until(is_taken)
            assert await service.said("up/m") == "new"
            assert list((await service.provider("up")).models) == ["m", "more"]
            request = ListProviderModelsRequest(id="up")
            listed = await service.client.call(service.client.providers.ListProviderModels, request)
            assert listed.models[0].pricing.output_tokens_per_million == 15
            found = await service.client.call(service.client.models.GetModel, GetModelRequest(id="up/more"))
            assert found.id == "more"
            assert not closed.is_set()
            last_word.set()
            parts += [part async for part in rest]
            text = "".join(
                event["choices"][0]["delta"].get("content") or ""
                for event in events_in(parts)
                if event != "[DONE]" and event["choices"]
            )
            assert text == "first last"
            assert events_in(parts)[-1] == "[DONE]"
            # Its adapter is closed then, and with it the connection.
            async with asyncio.timeout(10):
                await closed.wait()
        assert len(old.requests) == 1


async def test_an_adapter_whose_settings_are_the_same_keeps_its_connections(begin: Begin):
    async with running_provider() as provider:
        provider.script = lambda exchange: exchange.reply(200, openai_completion("same"))
        async with begin(compatible(provider.url, "m")) as service:
            await service.said("m")
            service.take(compatible(provider.url, "m", "n"))

            async def is_taken() -> bool:
                return "n" in (await service.provider("up")).models

            await until(is_taken)
            await service.said("n")
        first, second = provider.requests
        assert first.writer is second.writer


async def test_an_endpoint_that_is_added_takes_its_part_of_the_calls(begin: Begin):
    def stated(*urls: str) -> str:
        tables = "".join(f'[[providers.openai.endpoints]]\nbase_url = "{url}/v1"\n' for url in urls)
        return f'[providers.openai]\napi_key = "k"\nmodels = ["m"]\n{tables}'

    async with running_provider() as first, running_provider() as second:
        for provider in (first, second):
            provider.script = lambda exchange: exchange.reply(200, openai_completion("here"))
        async with begin(stated(first.url)) as service:
            assert await service.said("openai/m") == "here"
            service.take(stated(first.url, second.url))

            async def is_asked() -> bool:
                await service.said("openai/m")
                return bool(second.requests)

            await until(is_asked)
            service.take(stated(first.url) + "[[providers.openai.endpoints]]\napi_keey = 1\n")
            assert await service.said("openai/m") == "here"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("[providers\n", "is no TOML"),
        ("[budget]\n", "did you mean budgets"),
        ('[aliases]\nfast = "nobody/nothing"\n', "fast stands for nobody/nothing"),
    ],
)
async def test_settings_that_do_not_load_are_refused_and_those_before_hold(
    begin: Begin, wrong: str, says: str, caplog: pytest.LogCaptureFixture
):
    async with running_provider() as provider:
        provider.script = lambda exchange: exchange.reply(200, openai_completion("still"))
        right = compatible(provider.url, "m")
        async with begin(right) as service:
            with caplog.at_level(logging.ERROR, "services.chat.offering"):
                service.take(f"{right}\n{wrong}")

                async def is_refused() -> bool:
                    return bool(caplog.records)

                await until(is_refused)
            assert says in vars(caplog.records[0])["error"]
            assert await service.said("up/m") == "still"
            service.take(right.replace('"m"', '"m", "n"'))

            async def is_taken() -> bool:
                return "n" in (await service.provider("up")).models

            await until(is_taken)


async def test_a_provider_that_tells_its_models_is_offered_when_it_did(begin: Begin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.chat.discovery.FIRST_SECONDS", 0.05)
    async with running_provider() as provider:
        is_up = False

        async def script(exchange: Exchange) -> None:
            if exchange.path == "/v1/models":
                await exchange.reply(200 if is_up else 503, {"data": [{"id": "found"}]})
            else:
                await exchange.reply(200, openai_completion("here"))

        provider.script = script
        text = f'[[providers.compatible]]\nid = "up"\nbase_url = "{provider.url}/v1"\n[defaults]\nmodel = "up/found"\n'
        async with begin(text) as service:
            found = await service.provider("up")
            assert (found.status, list(found.models)) == ("unreachable", [])
            assert (await service.said("local-echo")) != ""
            is_up = True

            async def is_available() -> bool:
                return (await service.provider("up")).status == "available"

            await until(is_available)
            assert list((await service.provider("up")).models) == ["found"]
            assert await service.said("found") == "here"
