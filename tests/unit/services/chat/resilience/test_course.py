"""The way of a request through retries and fallbacks, as the responder goes it."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from services.chat.catalogue import ModelSpec
from services.chat.health import HealthBoard
from services.chat.providers import errors
from services.chat.resilience.circuit import CircuitRules
from services.chat.resilience.course import Attempt
from services.chat.resilience.policy import RetryPolicy
from services.chat.resilience.pool import Pool
from services.chat.responding import Answer, Fallback, Responder, StreamedAnswer
from services.chat.selection import Selection
from services.chat.turn import (
    Delta,
    Dialect,
    FinishReason,
    JsonSchema,
    Original,
    Role,
    ToolCallDelta,
    Turn,
    Usage,
    say,
)
from shared.errors import BadUpstream, DeadlineExceeded, GaiaError, ResourceExhausted, Unavailable
from tests.unit.services.chat.resilience.fakes import Act, Acting, Clock

TURN = Turn((say(Role.USER, "hi"),))
FIRST, SECOND = ModelSpec("m1", "first"), ModelSpec("m2", "second")
ALONE, BOTH = Selection(FIRST, ""), Selection(FIRST, "", [SECOND])
DOWN = errors.unreachable("first")
BROKEN = errors.from_status("first", 500, "")
LIMITED = errors.from_status("first", 429, "", retry_after=3)
NATIVE = Turn((), original=Original(Dialect.CHAT_COMPLETIONS, {}))
IDLE = Delta(records=b"ping", is_idle=True)
ROLE, WORD, END = Delta(records=b"role"), Delta("hello"), Delta(finish_reason=FinishReason.STOP)


class Asked:
    """A responder in front of providers of which each has as many endpoints as there are actors."""

    def __init__(
        self, *first: Acting, second: Acting | None = None, policy: RetryPolicy | None = None, failures: int = 0
    ) -> None:
        self.clock = Clock()
        rules = CircuitRules(failures=failures)
        self.second = second or Acting("second", name="second")
        pools = {
            "first": Pool([(one, 1.0) for one in first], rules, clock=self.clock),
            "second": Pool([(self.second, 1.0)], rules, clock=self.clock),
        }
        self.board = HealthBoard([], lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        policy = policy or RetryPolicy(first_wait=1.0, chance=lambda: 0.5)
        self.responder = Responder(pools, self.board, policy, first_token_seconds=0.05, sleep=self.clock.sleep)

    async def complete(self, selection: Selection = ALONE, turn: Turn = TURN, seconds: float = 60.0) -> Answer:
        deadline = soon(seconds)
        course = self.responder.course(turn, selection, deadline)
        return await self.responder.complete(turn, course, deadline)

    async def failure(self, selection: Selection = ALONE, seconds: float = 60.0) -> GaiaError:
        with pytest.raises(GaiaError) as caught:
            await self.complete(selection, seconds=seconds)
        return caught.value

    def stream(self, selection: Selection = ALONE, turn: Turn = TURN, seconds: float = 60.0) -> StreamedAnswer:
        return self.responder.stream(turn, selection, soon(seconds))


def actor(*acts: Act) -> Acting:
    return Acting(*acts, name="first")


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def read(streamed: StreamedAnswer) -> list[Delta | Fallback]:
    return await read_all(streamed.events())


async def read_all(events: AsyncGenerator[Delta | Fallback]) -> list[Delta | Fallback]:
    return [event async for event in events]


def told(attempts: Sequence[Attempt]) -> list[tuple[str, str]]:
    return [(attempt.model.id, attempt.reason) for attempt in attempts]


class TestRetries:
    async def test_a_passing_failure_is_made_good_for_after_a_wait(self):
        asked = Asked(actor(DOWN, BROKEN, "hello"))
        answer = await asked.complete()
        assert answer.reply.text == "hello"
        assert told(answer.attempts) == [("m1", "PROVIDER_UNREACHABLE"), ("m1", "BAD_UPSTREAM")]
        assert not answer.fallback_used
        assert asked.clock.slept == [0.5, 1.0]
        assert asked.board.of("first").error_rate == pytest.approx(2 / 3)

    async def test_there_are_no_more_than_allowed_and_the_caller_is_told_how_many(self):
        asked = Asked(actor(BROKEN))
        failure = await asked.failure()
        assert failure is BROKEN
        assert failure.metadata["attempts"] == "3"
        assert len(asked.clock.slept) == 2

    async def test_the_providers_wait_is_kept_to(self):
        asked = Asked(actor(LIMITED, "hello"))
        assert (await asked.complete()).reply.text == "hello"
        assert asked.clock.slept == [3.5]

    async def test_a_wait_beyond_the_deadline_is_not_begun(self):
        first = actor(LIMITED, "hello")
        asked = Asked(first)
        assert await asked.failure(seconds=3.2) is LIMITED
        assert (first.asked, asked.clock.slept) == (1, [])

    async def test_another_endpoint_is_asked_at_once(self):
        bad, good = actor(LIMITED), actor("hello")
        asked = Asked(bad, good)
        for _ in range(3):
            assert (await asked.complete()).reply.text == "hello"
        assert asked.clock.slept == []
        assert bad.asked == 1, "its limit is remembered"

    async def test_a_key_that_is_refused_is_tried_elsewhere_only(self):
        refused = errors.from_status("first", 401, "")
        asked = Asked(actor(refused))
        assert await asked.failure() is refused
        assert asked.clock.slept == []
        assert (await Asked(actor(refused), actor("hello")).complete()).reply.text == "hello"

    async def test_an_outage_is_not_made_worse(self):
        first = actor(BROKEN)
        asked = Asked(first, policy=RetryPolicy(retries=2, chance=lambda: 0.0))
        for _ in range(100):
            await asked.failure()
        assert first.asked <= 100 * 1.2 + 10

    async def test_a_caller_that_leaves_while_waiting_is_let_go_at_once(self):
        first = actor(LIMITED, "hello")
        asked = Asked(first)
        waiting = asyncio.Event()

        async def sleep(seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        asked.responder._sleep = sleep
        call = asyncio.create_task(asked.complete())
        await waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert first.asked == 1


class TestStreams:
    async def test_a_failure_before_the_first_word_is_made_good_for_unseen(self):
        used = Usage(7, 0)
        opening = [ROLE, Delta(usage=used)]

        async def breaks_off() -> AsyncGenerator[Delta]:
            for delta in opening:
                yield delta
            raise errors.cut("first")

        asked = Asked(actor(breaks_off, [ROLE, WORD, END]))
        streamed = asked.stream()
        assert await read(streamed) == [ROLE, WORD, END]
        assert streamed.reply.build().text == "hello"
        assert told(streamed.attempts) == [("m1", "BAD_UPSTREAM")]
        assert streamed.attempts[0].usage == used, "it may cost something"

    @pytest.mark.parametrize(
        "seen",
        [
            Delta("half "),
            Delta(tool_calls=[ToolCallDelta(0, "c", "f")]),
            Delta(thinking="hm"),
            Delta(other_choices=[(1, "x")]),
        ],
        ids=["text", "tool call", "thinking", "another choice"],
    )
    async def test_after_the_first_word_nothing_is_tried_again(self, seen):
        async def breaks_off() -> AsyncGenerator[Delta]:
            yield seen
            raise errors.cut("first")

        first = actor(breaks_off)
        asked = Asked(first)
        streamed = asked.stream(BOTH)
        with pytest.raises(GaiaError, match="broke off") as caught:
            await read(streamed)
        assert caught.value.metadata["fallback_available"] == "true"
        assert (first.asked, asked.second.asked) == (1, 0)
        assert streamed.attempts == []

    async def test_events_whose_meaning_only_the_client_knows_are_not_held_back_for_long(self):
        gate = asyncio.Event()

        async def thinks_in_its_own_way() -> AsyncGenerator[Delta]:
            yield IDLE
            yield ROLE
            await gate.wait()
            yield WORD

        events = Asked(actor(thinks_in_its_own_way)).stream(turn=NATIVE).events()
        async with asyncio.timeout(3):
            assert [await anext(events) for _ in range(2)] == [IDLE, ROLE]
            # Longer than the time for a first token.
            await asyncio.sleep(0.1)
            gate.set()
            assert await anext(events) == WORD
        await events.aclose()

    async def test_pings_are_passed_on_after_a_while_and_no_answer(self):
        async def pings() -> AsyncGenerator[Delta]:
            while True:
                yield IDLE
                await asyncio.sleep(0.001)

        events = Asked(actor(pings)).stream(turn=NATIVE).events()
        async with asyncio.timeout(3):
            assert await anext(events) == IDLE
            with pytest.raises(DeadlineExceeded):
                await read_all(events)

    async def test_what_is_translated_does_not_begin_with_empty_pieces(self):
        async def empties() -> AsyncGenerator[Delta]:
            for _ in range(10):
                yield ROLE
            await asyncio.Event().wait()

        *_, fallback, word, _ = await read(Asked(actor(empties)).stream(BOTH))
        assert isinstance(fallback, Fallback)
        assert word == Delta("second")

    async def test_a_caller_that_leaves_while_waiting_finds_what_was_used_once(self):
        used, waiting = Usage(7, 0), asyncio.Event()

        async def breaks_off() -> AsyncGenerator[Delta]:
            yield Delta(usage=used)
            raise errors.cut("first")

        async def sleep(seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        asked = Asked(actor(breaks_off))
        asked.responder._sleep = sleep
        streamed = asked.stream()
        reading = asyncio.create_task(read(streamed))
        await waiting.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert [attempt.usage for attempt in streamed.attempts] == [used]
        assert streamed.reply.usage is None

    @pytest.mark.parametrize(
        "piece",
        [
            Delta("x" * 2_000_000),
            Delta(thinking="x" * 2_000_000),
            Delta(tool_calls=[ToolCallDelta(0, "a", "f", "x" * 2_000_000)]),
            Delta(other_choices=[(1, "x" * 2_000_000)]),
        ],
        ids=["text", "thinking", "arguments", "other choices"],
    )
    async def test_a_reply_without_end_is_none(self, piece: Delta):
        async def floods() -> AsyncGenerator[Delta]:
            for _ in range(1000):
                yield piece
            yield END

        streamed = Asked(actor(floods)).stream()
        with pytest.raises(BadUpstream, match="a reply of more than 64 MiB"):
            await read(streamed)
        assert streamed.reply.size < 70_000_000

    async def test_a_reply_without_content_is_whole_too(self):
        streamed = Asked(actor([ROLE, END])).stream()
        assert await read(streamed) == [ROLE, END]

    async def test_a_provider_that_only_keeps_the_connection_alive_is_given_up(self):
        async def pings() -> AsyncGenerator[Delta]:
            yield ROLE
            await asyncio.Event().wait()

        asked = Asked(actor(pings))
        streamed = asked.stream(BOTH)
        *_, fallback, word, _ = await read(streamed)
        assert isinstance(fallback, Fallback)
        assert fallback.message == "first did not answer in time; trying m2 of second"
        assert word == Delta("second")
        assert told(streamed.attempts) == [("m1", "PROVIDER_TIMEOUT")]
        assert asked.board.of("first").error_rate == 1

    async def test_after_the_first_token_only_the_deadline_counts(self):
        async def slow() -> AsyncGenerator[Delta]:
            yield WORD
            await asyncio.sleep(0.1)
            yield END

        assert await read(Asked(actor(slow)).stream()) == [WORD, END]


class TestFallbacks:
    async def test_they_come_after_the_retries(self):
        asked = Asked(actor(BROKEN))
        answer = await asked.complete(BOTH)
        assert (answer.reply.text, answer.model, answer.fallback_used) == ("second", SECOND, True)
        assert told(answer.attempts) == [("m1", "BAD_UPSTREAM")] * 3

    async def test_each_has_retries_of_its_own(self):
        asked = Asked(actor(BROKEN), second=Acting(DOWN, "second", name="second"))
        answer = await asked.complete(BOTH)
        assert told(answer.attempts) == [("m1", "BAD_UPSTREAM")] * 3 + [("m2", "PROVIDER_UNREACHABLE")]

    async def test_a_circle_of_fallbacks_ends(self):
        first, second = actor(BROKEN), Acting(DOWN, name="second")
        asked = Asked(first, second=second)
        failure = await asked.failure(Selection(FIRST, "", [SECOND, FIRST, SECOND, replace(FIRST)]))
        assert failure is DOWN
        assert (first.asked, second.asked) == (3, 3)
        assert failure.metadata["attempts"] == "6"

    async def test_an_open_circuit_goes_to_the_fallback_at_once(self):
        first = actor(DOWN)
        asked = Asked(first, failures=1)
        answer = await asked.complete(BOTH)
        assert told(answer.attempts) == [("m1", "PROVIDER_UNREACHABLE"), ("m1", "PROVIDER_CIRCUIT_OPEN")]
        answer = await asked.complete(BOTH)
        assert (answer.reply.text, first.asked) == ("second", 1)
        assert told(answer.attempts) == [("m1", "PROVIDER_CIRCUIT_OPEN")]
        assert not answer.attempts[0].was_asked
        failure = await asked.failure()
        assert isinstance(failure, Unavailable)
        assert failure.retry_after is not None
        assert first.asked == 1

    async def test_a_request_counts_once_against_an_endpoint_however_often_it_failed_there(self):
        first = actor(BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, "hello")
        asked = Asked(first, failures=3)
        await asked.failure()
        assert (await asked.complete()).reply.text == "hello"
        assert first.asked == 6

    async def test_one_that_cannot_take_the_request_is_left_out(self):
        asked = Asked(actor(LIMITED), policy=RetryPolicy(retries=0))
        asked.responder.providers["first"].takes = {"response_schema"}
        turn = replace(TURN, response_schema=JsonSchema("s", {}))
        with pytest.raises(ResourceExhausted):
            await asked.complete(BOTH, turn)
        asked.responder.providers["second"].takes = {"response_schema"}
        assert (await asked.complete(BOTH, turn)).reply.text == "second"

    async def test_one_that_does_not_speak_the_clients_dialect_is_left_out(self):
        asked = Asked(actor(LIMITED), policy=RetryPolicy(retries=0))
        turn = Turn((), original=Original(Dialect.CHAT_COMPLETIONS, {}))
        with pytest.raises(ResourceExhausted):
            await asked.complete(BOTH, turn)
        asked.responder.providers["second"].dialects = {Dialect.CHAT_COMPLETIONS}
        assert (await asked.complete(BOTH, turn)).reply.text == "second"

    async def test_without_time_left_there_is_none(self):
        async def silent() -> AsyncGenerator[Delta]:
            await asyncio.Event().wait()
            yield WORD

        asked = Asked(actor(silent))
        assert isinstance(await asked.failure(BOTH, seconds=0.02), DeadlineExceeded)
        assert asked.second.asked == 0
