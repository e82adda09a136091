"""What the adapters send to a provider, and what becomes of their connections."""

import asyncio
import contextlib
import datetime as dt
import time

import anthropic
import openai
import pytest

from services.chat.providers.openai import connect_openai
from services.chat.providers.sdk_requests import JSON
from services.chat.providers.upstream import MAX_REPLY_BYTES, Upstream, tls_context
from shared.errors import BadUpstream, DeadlineExceeded, GaiaError, Unavailable
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, running_provider
from tests.support.waiting import least

# What the SDKs add to be counted, and what belongs to the connection.
UNCOMPARED = {"host", "content-length", "connection", "accept-encoding", "x-stainless-read-timeout"}
UNCOMPARED |= {"x-stainless-retry-count", "x-stainless-timeout", "idempotency-key"}


@pytest.fixture
async def provider():
    async with running_provider() as running:
        yield running


async def ok(exchange: Exchange) -> None:
    await exchange.reply(200, {"fine": True})


def now() -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@contextlib.asynccontextmanager
async def upstream(client, *, connections: int = 10, silence_seconds: float = 5.0):
    made = Upstream(
        "up",
        client,
        tls=tls_context(),
        connect_seconds=0.5,
        silence_seconds=silence_seconds,
        connections=connections,
        setting="SETTING",
        now=now,
    )
    try:
        yield made
    finally:
        await made.close()


def openai_client(url: str, **more) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="first", base_url=url, max_retries=0, http_client=openai.DefaultAioHttpClient(), **more
    )


def compared(exchange: Exchange) -> dict[str, str]:
    return {name: value for name, value in exchange.headers.items() if name not in UNCOMPARED}


class TestHeaders:
    async def test_openai_gets_those_of_its_sdk(self, provider: ScriptedProvider):
        provider.script = ok
        client = openai_client(f"{provider.url}/v1", organization="org-1", project="proj-1")
        async with upstream(client) as up:
            await client.post("/chat/completions", body={"a": 1}, cast_to=object)
            await up.fetch("/chat/completions", b'{"a": 1}')
        theirs, ours = provider.requests
        assert compared(ours) == compared(theirs)
        assert (ours.path, ours.body) == (theirs.path, theirs.body)
        assert ours.headers["openai-organization"] == "org-1"

    async def test_anthropic_gets_those_of_its_sdk(self, provider: ScriptedProvider):
        provider.script = ok
        client = anthropic.AsyncAnthropic(
            api_key="key", base_url=provider.url, max_retries=0, http_client=anthropic.DefaultAioHttpClient()
        )
        async with upstream(client) as up:
            await client.post("/v1/messages", body={"a": 1}, cast_to=object)
            await up.fetch("/v1/messages", b'{"a": 1}')
        theirs, ours = provider.requests
        assert compared(ours) == compared(theirs)
        assert (ours.path, ours.body) == (theirs.path, theirs.body)

    async def test_the_account_of_the_environment_goes_to_openai_only(self, provider: ScriptedProvider, monkeypatch):
        monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
        provider.script = ok
        for is_openai in (True, False):
            adapter = connect_openai(
                "up",
                api_key="key",
                base_url=f"{provider.url}/v1",
                setting="SETTING",
                connect_seconds=1,
                silence_seconds=1,
                connections=1,
                now=now,
                is_openai=is_openai,
            )
            await adapter._upstream.fetch("/x", b"{}")
            await adapter.close()
        at_openai, elsewhere = provider.requests
        assert at_openai.headers["openai-organization"] == "org-of-the-environment"
        assert "openai-organization" not in elsewhere.headers

    async def test_a_key_that_is_set_anew_is_sent_from_then_on(self, provider: ScriptedProvider):
        provider.script = ok
        client = openai_client(provider.url)
        async with upstream(client) as up:
            await up.fetch("/x", b"{}")
            client.api_key = "second"
            await up.fetch("/x", b"{}")
        assert [one.headers["authorization"] for one in provider.requests] == ["Bearer first", "Bearer second"]

    async def test_those_of_one_call_win_and_stay_with_it(self, provider: ScriptedProvider):
        provider.script = ok
        async with upstream(openai_client(provider.url)) as up:
            await up.fetch("/x", b"{}", {"accept": "text/plain", "Extra": "1"})
            await up.fetch("/x", b"{}")
        first, second = provider.requests
        assert (first.headers["accept"], first.headers["extra"]) == ("text/plain", "1")
        assert second.headers["accept"] == JSON
        assert "extra" not in second.headers

    async def test_a_login_in_the_base_url_is_sent_instead_of_the_key(self, provider: ScriptedProvider):
        provider.script = ok
        async with upstream(openai_client(provider.url.replace("//", "//me:pass%20word@") + "/v1?tenant=a")) as up:
            await up.fetch("/x", b"{}")
        assert provider.requests[0].headers["authorization"] == "Basic bWU6cGFzcyB3b3Jk"
        assert provider.requests[0].path == "/v1/x?tenant=a"


class TestTheWay:
    async def test_a_redirect_is_not_followed(self, provider: ScriptedProvider):
        async def elsewhere(exchange: Exchange) -> None:
            await exchange.reply(307, {}, {"location": f"{provider.url}/other"})

        provider.script = elsewhere
        async with upstream(openai_client(provider.url)) as up:
            with pytest.raises(BadUpstream, match="307"):
                await up.fetch("/x", b"{}")
        assert [one.path for one in provider.requests] == ["/x"]

    async def test_the_proxy_of_the_environment_is_used(self, provider: ScriptedProvider, monkeypatch):
        provider.script = ok
        monkeypatch.setenv("http_proxy", provider.url)
        monkeypatch.setenv("no_proxy", "")
        async with upstream(openai_client("http://provider.example/v1")) as up:
            assert await up.fetch("/x", b"{}") == b'{"fine":true}'
        assert provider.requests[0].path == "http://provider.example/v1/x"

    async def test_and_is_not_where_the_environment_says_so(self, provider: ScriptedProvider, monkeypatch):
        provider.script = ok
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with upstream(openai_client(provider.url)) as up:
            assert await up.fetch("/x", b"{}") == b'{"fine":true}'

    async def test_cookies_are_not_kept(self, provider: ScriptedProvider):
        async def set_cookie(exchange: Exchange) -> None:
            await exchange.reply(200, {}, {"set-cookie": "who=alice; Path=/"})

        provider.script = set_cookie
        async with upstream(openai_client(provider.url.replace("127.0.0.1", "localhost"))) as up:
            await up.fetch("/x", b"{}")
            await up.fetch("/x", b"{}")
        assert all("cookie" not in one.headers for one in provider.requests)


class TestConnections:
    async def test_one_serves_replies_refusals_and_whole_streams_in_turn(self, provider: ScriptedProvider):
        async def by_path(exchange: Exchange) -> None:
            if exchange.path == "/refused":
                await exchange.reply(400, {"error": {"message": "no"}})
            elif exchange.path == "/stream":
                await exchange.begin()
                await exchange.events({"a": 1}, b"[DONE]")
                await exchange.end()
            else:
                await ok(exchange)

        provider.script = by_path
        async with upstream(openai_client(provider.url)) as up:
            await up.fetch("/x", b"{}")
            with pytest.raises(GaiaError):
                await up.fetch("/refused", b"{}")
            assert b"".join([chunk async for chunk in up.stream("/stream", b"{}")]).endswith(b"[DONE]\n\n")
            await up.fetch("/x", b"{}")
        assert len({id(one.writer) for one in provider.requests}) == 1

    async def test_a_stream_that_is_left_is_closed_within_a_tenth_of_a_second(self, provider: ScriptedProvider):
        gone = asyncio.Event()

        async def endless(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events({"a": 1})
            await exchange.gone()
            gone.set()

        provider.script = endless
        async with upstream(openai_client(provider.url)) as up:

            async def seconds_open() -> float:
                gone.clear()
                chunks = up.stream("/x", b"{}")
                await anext(chunks)
                left = time.monotonic()
                await chunks.aclose()
                async with asyncio.timeout(5):
                    await gone.wait()
                return time.monotonic() - left

            assert await least(seconds_open, 0.1) < 0.1

    async def test_a_reply_whose_task_is_cancelled_is_closed_within_a_tenth_of_a_second(
        self, provider: ScriptedProvider
    ):
        asked, gone = asyncio.Event(), asyncio.Event()

        async def silent(exchange: Exchange) -> None:
            asked.set()
            await exchange.gone()
            gone.set()

        provider.script = silent
        async with upstream(openai_client(provider.url)) as up:

            async def seconds_open() -> float:
                asked.clear()
                gone.clear()
                task = asyncio.create_task(up.fetch("/x", b"{}"))
                await asked.wait()
                left = time.monotonic()
                task.cancel()
                async with asyncio.timeout(5):
                    await gone.wait()
                took = time.monotonic() - left
                with pytest.raises(asyncio.CancelledError):
                    await task
                return took

            assert await least(seconds_open, 0.1) < 0.1

    async def test_a_full_pool_is_an_error_within_the_time_for_connecting(self, provider: ScriptedProvider):
        asked, release = asyncio.Event(), asyncio.Event()

        async def slow(exchange: Exchange) -> None:
            asked.set()
            await release.wait()
            await ok(exchange)

        provider.script = slow
        async with upstream(openai_client(provider.url), connections=1) as up:
            first = asyncio.create_task(up.fetch("/x", b"{}"))
            await asked.wait()
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await up.fetch("/x", b"{}")
            assert time.monotonic() - began < 2
            release.set()
            assert await first == b'{"fine":true}'

    async def test_nobody_there_is_an_outage(self):
        async with upstream(openai_client("http://127.0.0.1:9/v1")) as up:
            with pytest.raises(Unavailable):
                await up.fetch("/x", b"{}")

    @pytest.mark.parametrize(
        "said",
        [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nabc\r\n"],
        ids=["another protocol", "no chunks"],
    )
    async def test_what_is_no_http_is_nonsense(self, provider: ScriptedProvider, said: bytes):
        async def script(exchange: Exchange) -> None:
            await exchange.write(said)
            exchange.writer.close()

        provider.script = script
        async with upstream(openai_client(provider.url)) as up:
            with pytest.raises(BadUpstream):
                await up.fetch("/x", b"{}")


class TestBodies:
    async def test_a_reply_beyond_all_measure_is_refused(self, provider: ScriptedProvider):
        async def huge(exchange: Exchange) -> None:
            await exchange.begin()
            with contextlib.suppress(ConnectionError):
                for _ in range(MAX_REPLY_BYTES // (1 << 20) + 8):
                    await exchange.send(b"x" * (1 << 20))

        provider.script = huge
        async with upstream(openai_client(provider.url)) as up:
            with pytest.raises(BadUpstream, match="64 MiB"):
                await up.fetch("/x", b"{}")

    async def test_a_large_refusal_is_not_read_to_its_end(self, provider: ScriptedProvider):
        async def endless(exchange: Exchange) -> None:
            await exchange.write(b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    await exchange.send(b"x" * (1 << 16))

        provider.script = endless
        async with upstream(openai_client(provider.url)) as up:
            with pytest.raises(BadUpstream, match="500"):
                await up.fetch("/x", b"{}")

    async def test_a_reply_in_pieces_is_put_together(self, provider: ScriptedProvider):
        async def pieces(exchange: Exchange) -> None:
            await exchange.begin()
            for piece in (b"a", b"b", b"c"):
                await exchange.send(piece)
                await asyncio.sleep(0)
            await exchange.end()

        provider.script = pieces
        async with upstream(openai_client(provider.url)) as up:
            assert await up.fetch("/x", b"{}") == b"abc"
