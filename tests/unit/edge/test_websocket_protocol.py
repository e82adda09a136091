"""Behaviour of edge/websocket_protocol.py, over real sockets."""

import asyncio
import logging
from contextlib import suppress

import pytest
from starlette.types import Scope
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from edge.transcoding.errors import Code, RpcFailure, Status
from edge.transcoding.routes import Route
from edge.websocket_protocol import WatchedWebSocketProtocol
from tests.support.transcoder import Edge, running_whole_edge

BOOK = '{"title":"%s"}' % ("x" * 60_000)


def url(edge: Edge) -> str:
    return edge.url.replace("http", "ws") + "/v1/shelves/1:collect"


async def test_a_socket_that_is_not_read_from_is_not_taken_for_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedWebSocketProtocol, "start_keepalive", _quick_keepalive)
    async with (
        running_whole_edge() as edge,
        connect(url(edge), ping_interval=None) as client,
    ):
        await client.send('{"title":"hang"}')
        await asyncio.wait_for(edge.backend.hanging.wait(), 5)
        with suppress(TimeoutError):
            for _ in range(1000):
                # Longer than the edge waits for the answer to its pings.
                await asyncio.wait_for(client.send(BOOK), 0.5)
        assert not edge.backend.cancelled.is_set()
        client.transport.abort()


def _quick_keepalive(protocol: WatchedWebSocketProtocol) -> None:
    protocol.ping_interval = protocol.ping_timeout = 0.1
    protocol.schedule_ping()


async def test_a_handshake_that_is_refused_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_route: Route, _scope: Scope) -> list[tuple[str, str]]:
        raise RpcFailure(Status(Code.UNAUTHENTICATED, "no key"))

    # What uvicorn logs reaches no handler of the root's.
    log = logging.getLogger("uvicorn.error")
    async with running_whole_edge(authorize=refuse) as edge:
        caplog.set_level(logging.ERROR, log.name)
        log.addHandler(caplog.handler)
        with pytest.raises(InvalidStatus) as caught:
            await connect(url(edge))
    log.removeHandler(caplog.handler)
    assert caught.value.response.status_code == 401
    assert not caplog.records
