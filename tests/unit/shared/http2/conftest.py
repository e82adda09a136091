"""The server that these tests ask."""

from collections.abc import AsyncIterator

import pytest

from tests.support.http2_peer import Peer, running
from tests.support.transports import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with running(request.param) as found:
        yield found
