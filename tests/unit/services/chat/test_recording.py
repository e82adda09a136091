"""Writes that outlive their callers."""

import asyncio

import pytest

from services.chat.recording import Recorder
from shared.errors import Unavailable


class Ping:
    """The store's answer to a ping, which is up to the test."""

    def __init__(self) -> None:
        self.is_away = True
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1
        if self.is_away:
            raise Unavailable("away")


async def failing() -> None:
    raise Unavailable("away")


async def test_a_write_goes_on_when_its_caller_is_cancelled():
    recorder = Recorder(Ping())
    begun, finish, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await finish.wait()
        ended.set()

    caller = asyncio.ensure_future(recorder.keep(write()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not ended.is_set()
    finish.set()
    await recorder.drain()
    assert ended.is_set()


async def test_the_store_is_asked_only_after_a_write_has_failed():
    ping = Ping()
    recorder = Recorder(ping)
    await recorder.check()
    assert ping.count == 0
    with pytest.raises(Unavailable):
        await recorder.keep(failing())
    with pytest.raises(Unavailable):
        await recorder.check()
    ping.is_away = False
    await recorder.check()
    await recorder.check()
    assert ping.count == 2


async def test_a_rescue_that_fails_does_not_hide_the_error_that_is_being_told():
    await Recorder(Ping()).rescue(failing)
