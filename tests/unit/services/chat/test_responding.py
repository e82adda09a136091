"""Asking providers: fallback, time limits and what health learns of it."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Callable

import pytest

from services.chat.catalogue import ModelSpec
from services.chat.health import HealthBoard
from services.chat.resilience.policy import RetryPolicy
from services.chat.resilience.pool import Pool
from services.chat.responding import Answer, Fallback, Responder
from services.chat.selection import Selection
from services.chat.turn import Delta, Dialect, FinishReason, Reply, Role, Turn, say
from shared.errors import BadUpstream, DeadlineExceeded, InvalidArgument, Unavailable

TURN = Turn((say(Role.USER, "hi"),))
FIRST, SECOND = ModelSpec("m1", "first"), ModelSpec("m2", "second")
BOTH = Selection(FIRST, "", [SECOND])

Script = Callable[[], AsyncGenerator[Delta]]


class Scripted:
    """A provider at its port, which does what the test says."""

    dialects: frozenset[Dialect] = frozenset()
    takes: frozenset[str] = frozenset()

    def __init__(self, name: str, script: Script) -> None:
        self.id = name
        self.script = script
        self.closed = 0

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:
        return Reply("".join([delta.text async for delta in self.script()]))

    async def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:
        try:
            async for delta in self.script():
                yield delta
        finally:
            self.closed += 1

    async def probe(self) -> None:
        """Is always there."""

    async def close(self) -> None:
        """Has nothing to close."""


def saying(*texts: str, then: Exception | None = None) -> Script:
    async def script() -> AsyncGenerator[Delta]:
        for text in texts:
            yield Delta(text)
        if then is not None:
            raise then
        yield Delta(finish_reason=FinishReason.STOP)

    return script


async def silent() -> AsyncGenerator[Delta]:
    await asyncio.Event().wait()
    yield Delta("never")


def responder(first: Script, second: Script | None = None) -> Responder:
    board = HealthBoard([("first", "m1"), ("second", "m2")], lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    pools = {
        "first": Pool([(Scripted("first", first), 1.0)]),
        "second": Pool([(Scripted("second", second or saying("second")), 1.0)]),
    }
    return Responder(pools, board, RetryPolicy(retries=0))


async def complete(asked: Responder, seconds: float = 5.0) -> Answer:
    deadline = soon(seconds)
    return await asked.complete(TURN, asked.course(TURN, BOTH, deadline), deadline)


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_fault_before_the_first_word_goes_to_the_next_provider():
    asked = responder(saying(then=Unavailable("down")))
    answer = await complete(asked)
    assert (answer.reply.text, answer.model, answer.fallback_used) == ("second", SECOND, True)
    streamed = asked.stream(TURN, BOTH, soon())
    events = [event async for event in streamed.events()]
    assert isinstance(events[0], Fallback)
    assert events[0].message == "down; trying m2 of second"
    assert (streamed.reply.build().text, streamed.model, streamed.fallback_used) == ("second", SECOND, True)
    assert asked.board.of("first").error_rate == 1
    assert asked.board.of("second").error_rate == 0


async def test_a_reply_that_began_is_never_begun_again_elsewhere():
    streamed = responder(saying("half ", then=BadUpstream("cut"))).stream(TURN, BOTH, soon())
    with pytest.raises(BadUpstream) as caught:
        [event async for event in streamed.events()]
    assert caught.value.metadata["fallback_available"] == "true"
    assert streamed.reply.build().text == "half "


async def test_a_faulty_request_is_nobodys_fault_but_the_callers():
    asked = responder(saying(then=InvalidArgument("too long")))
    with pytest.raises(InvalidArgument):
        await complete(asked)
    assert asked.board.of("first").status == "unknown"


async def test_the_last_providers_error_is_told():
    asked = responder(saying(then=Unavailable("one")), saying(then=Unavailable("two")))
    with pytest.raises(Unavailable, match="two"):
        await complete(asked)


async def test_a_deadline_ends_the_call_and_a_short_one_is_not_held_against_the_provider():
    asked = responder(silent)
    with pytest.raises(DeadlineExceeded, match="first did not answer in time"):
        await complete(asked, 0.02)
    streamed = asked.stream(TURN, BOTH, soon(0.02))
    with pytest.raises(DeadlineExceeded):
        [event async for event in streamed.events()]
    assert asked.board.of("first").status == "unknown"


async def test_a_caller_that_leaves_closes_the_providers_stream():
    asked = responder(saying("a", "b"))
    events = asked.stream(TURN, BOTH, soon()).events()
    await anext(events)
    await events.aclose()
    assert asked.providers["first"].endpoints[0].adapter.closed == 1


def test_what_the_model_does_not_take_is_left_out_though_its_provider_takes_it():
    provider = Scripted("first", saying())
    provider.takes = frozenset({"temperature", "top_p", "reasoning_effort", "thinking_tokens"})
    asked = Responder(
        {"first": Pool([(provider, 1.0)])}, HealthBoard([], lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    )
    turn = Turn(TURN.messages, temperature=0.5, top_p=0.5, reasoning_effort="low", thinking_tokens=0)
    plain = ModelSpec("m", "first")
    assert asked.fit(turn, plain) == (Turn(TURN.messages, temperature=0.5, top_p=0.5), ("reasoning_effort",))
    reasons = ModelSpec("m", "first", capabilities=("chat", "reasoning"), supports_temperature=False)
    assert asked.fit(turn, reasons) == (
        Turn(TURN.messages, reasoning_effort="low", thinking_tokens=0),
        ("temperature", "top_p"),
    )
