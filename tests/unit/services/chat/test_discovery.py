"""Asking providers for their models."""

import asyncio

from services.chat.discovery import Discovery
from shared.errors import Unavailable


class Answers:
    """A provider that answers one after the other; it is silent when there is none left."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.used_up = asyncio.Event()

    async def __call__(self):
        if not self.answers:
            self.used_up.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def told(*answers):
    """Returns what was known after each change."""
    provider = Answers(*answers)
    seen = []

    async def changed():
        seen.append(discovery.found["p"])

    discovery = Discovery({"p": provider}, changed, every=0.001, first=0.001)
    async with discovery.running(), asyncio.timeout(5):
        await provider.used_up.wait()
    return seen


async def test_a_provider_that_is_away_at_first_is_asked_again():
    assert await told(Unavailable("away"), Unavailable("away"), ["a"]) == [["a"]]


async def test_only_what_changed_is_told():
    assert await told(["a"], ["a"], ["a", "b"], ["b"]) == [["a"], ["a", "b"], ["b"]]


async def test_what_was_told_holds_while_a_provider_is_away_or_tells_of_nothing():
    assert await told(["a"], Unavailable("away"), [], ["a"]) == [["a"]]


async def test_models_that_cannot_be_offered_do_not_end_it():
    provider = Answers(["a"], ["b"])
    seen = []

    async def refuse():
        seen.append(discovery.found["p"])
        raise RuntimeError("no")

    discovery = Discovery({"p": provider}, refuse, every=0.001, first=0.001)
    async with discovery.running(), asyncio.timeout(5):
        await provider.used_up.wait()
    assert seen == [["a"], ["b"]]
