"""Behaviour of services/chat/upkeep.py."""

import pytest

from services.chat.upkeep import sweeping
from shared.errors import Unavailable
from tests.support.waiting import eventually


@pytest.mark.parametrize(("failure", "level"), [(Unavailable("away"), "INFO"), (KeyError("a fault"), "ERROR")])
async def test_sweeps_go_on_after_one_that_failed(
    failure: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    swept = 0

    async def sweep() -> int:
        nonlocal swept
        swept += 1
        if swept == 1:
            raise failure
        return 0

    async def again() -> bool:
        return swept > 2

    async with sweeping(sweep, seconds=0.001):
        await eventually(again)
    assert [record.levelname for record in caplog.records] == [level]
