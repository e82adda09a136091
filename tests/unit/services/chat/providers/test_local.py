"""The development provider."""

from services.chat.providers.local import LocalProvider, count_tokens, local_spec
from services.chat.turn import FinishReason, ReplyBuilder, Role, Turn, say

[MODEL] = local_spec().models
CONVERSATION = (
    say(Role.SYSTEM, "Be kind."),
    say(Role.USER, "My name is Ada."),
    say(Role.ASSISTANT, "Hello Ada."),
    say(Role.USER, "What did I say first?"),
)


async def test_it_says_what_it_is_and_shows_that_it_saw_the_conversation():
    reply = await LocalProvider().complete(Turn(CONVERSATION), MODEL)
    assert "Gaia's local development provider" in reply.text
    assert "My instructions are: Be kind." in reply.text
    assert "You said: What did I say first?" in reply.text
    assert "the first was: My name is Ada." in reply.text


async def test_the_same_question_has_the_same_answer():
    first = await LocalProvider().complete(Turn(CONVERSATION), MODEL)
    assert await LocalProvider().complete(Turn(CONVERSATION), MODEL) == first


async def test_the_stream_is_the_whole_reply_word_by_word():
    builder, words = ReplyBuilder(), 0
    async for delta in LocalProvider().stream(Turn(CONVERSATION), MODEL):
        builder.add(delta)
        words += bool(delta.text)
    whole = await LocalProvider().complete(Turn(CONVERSATION), MODEL)
    streamed = builder.build()
    assert (streamed.text, streamed.usage, streamed.finish_reason) == (whole.text, whole.usage, whole.finish_reason)
    assert words == len(whole.text.split())


def test_words_and_other_characters_count_as_tokens():
    assert count_tokens("Hello, world! 日本 42") == 6
    assert count_tokens(" \n") == 0


async def test_usage_is_counted_by_that_rule():
    reply = await LocalProvider().complete(Turn(CONVERSATION), MODEL)
    assert reply.usage.input_tokens == sum(count_tokens(message.text) for message in CONVERSATION)
    assert reply.usage.output_tokens == count_tokens(reply.text)


async def test_limits_and_stops_are_heeded():
    short = await LocalProvider().complete(Turn(CONVERSATION, max_tokens=3), MODEL)
    assert (short.text, short.finish_reason, short.usage.output_tokens) == ("I am Gaia", FinishReason.LENGTH, 3)
    stopped = await LocalProvider().complete(Turn(CONVERSATION, stop=("language", "there")), MODEL)
    assert stopped.text == "I am Gaia's local development provider; "
    assert stopped.finish_reason is FinishReason.STOP
