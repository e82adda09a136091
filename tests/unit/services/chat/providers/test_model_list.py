"""Lists of models, as endpoints of OpenAI's dialect tell them."""

import orjson
import pytest
from aiohttp import web

from services.chat.providers.model_list import MAX_BYTES, MAX_MODELS, fetch_model_names, read_model_names
from services.chat.providers.upstream import tls_context
from shared.errors import BadUpstream, GaiaError, Unavailable


def listed(*names):
    return orjson.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def test_names_are_bounded_and_checked(caplog: pytest.LogCaptureFixture):
    body = listed("a", "b/c:d", "a", "", "x y", "x" * 201, "é", "line\nbreak", 5, None)
    assert read_model_names("p", body) == ["a", "b/c:d"]
    assert len(read_model_names("p", listed(*map(str, range(MAX_MODELS + 5))))) == MAX_MODELS
    [told] = [record for record in caplog.records if getattr(record, "left_out", 0) == 5]
    assert told.levelname == "WARNING"
    assert read_model_names("p", b'{"data": [1, [], {"name": "x"}]}') == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": 5}'])
def test_what_is_no_list_is_refused(body):
    with pytest.raises(BadUpstream, match="a list of models that is none"):
        read_model_names("p", body)


@pytest.fixture
async def endpoint():
    """An endpoint that answers with what a test sets; yields it with its address."""
    seen = {}

    async def models(request):
        seen["authorization"] = request.headers.get("Authorization")
        return web.Response(status=seen.get("status", 200), body=seen["body"], headers=seen.get("headers"))

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    yield seen, f"http://127.0.0.1:{port}/v1/"
    await runner.cleanup()


async def test_an_endpoint_is_asked_with_its_key(endpoint):
    seen, url = endpoint
    seen["body"] = listed("a")
    assert await fetch_model_names("p", url, "secret", tls_context()) == ["a"]
    assert seen["authorization"] == "Bearer secret"
    await fetch_model_names("p", url, "", tls_context())
    assert seen["authorization"] is None


async def test_an_endless_list_a_refusal_and_a_redirect_are_errors(endpoint):
    seen, url = endpoint
    seen["body"] = b" " * (MAX_BYTES + 1)
    with pytest.raises(BadUpstream, match="more than 4 MiB"):
        await fetch_model_names("p", url, "k", tls_context())
    seen["body"] = listed("a")
    for status in (401, 404, 500, 302):
        seen.update(status=status, headers={"Location": "/elsewhere"})
        with pytest.raises(GaiaError):
            await fetch_model_names("p", url, "k", tls_context())


async def test_an_endpoint_that_is_not_there_is_unavailable():
    with pytest.raises(Unavailable, match="cannot be reached"):
        await fetch_model_names("p", "http://127.0.0.1:1/v1", "k", tls_context())
