"""What of a turn a provider does not heed."""

import pytest

from services.chat.fitting import fit
from services.chat.turn import Dialect, JsonSchema, Original, Role, Tool, ToolChoice, ToolMode, Turn, say
from shared.errors import InvalidArgument

MESSAGES = (say(Role.USER, "hi"),)


def test_preferences_are_left_out_and_named():
    turn = Turn(MESSAGES, temperature=0.5, top_p=0.5, stop=("x",), tools=(Tool("f"),), max_tokens=5)
    fitted, left_out = fit(turn, "p", frozenset({"stop"}))
    assert left_out == ("temperature", "top_p", "tools")
    assert fitted == Turn(MESSAGES, stop=("x",), max_tokens=5)


def test_the_neutral_temperature_is_left_out_silently():
    assert fit(Turn(MESSAGES, temperature=1.0, top_p=1.0), "p", frozenset()) == (Turn(MESSAGES), ())


def test_nothing_is_left_out_that_the_provider_takes():
    turn = Turn(MESSAGES, temperature=0.5, tools=(Tool("f"),), tool_choice=ToolChoice(ToolMode.REQUIRED))
    assert fit(turn, "p", frozenset({"temperature", "tools"})) == (turn, ())


@pytest.mark.parametrize(
    ("thinking", "takes", "left_out"),
    [
        ({"thinking_tokens": 2000, "reasoning_effort": "low"}, {"reasoning_effort"}, ()),
        ({"thinking_tokens": 2000, "reasoning_effort": "low"}, {"thinking_tokens"}, ()),
        ({"thinking_tokens": 2000, "reasoning_effort": "low"}, set(), ("thinking",)),
        ({"thinking_tokens": 0}, {"reasoning_effort"}, ("thinking",)),
        ({"reasoning_effort": "low"}, set(), ("reasoning_effort",)),
    ],
)
def test_thinking_is_left_out_where_neither_its_tokens_nor_its_effort_is_heeded(thinking, takes, left_out):
    assert fit(Turn(MESSAGES, **thinking), "p", frozenset(takes))[1] == left_out


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        (Turn(MESSAGES, response_schema=JsonSchema("s", {})), "response_format"),
        (Turn(MESSAGES, tools=(Tool("f"),), tool_choice=ToolChoice(ToolMode.NAMED, "f")), "tool_choice"),
    ],
)
def test_what_the_reply_must_be_is_not_left_out(turn, field):
    with pytest.raises(InvalidArgument, match=f"{field}: p cannot"):
        fit(turn, "p", frozenset())


def test_a_request_of_the_same_dialect_passes_as_it_is():
    turn = Turn((), original=Original(Dialect.CHAT_COMPLETIONS, {"model": "m", "temperature": 0.1}))
    assert fit(turn, "p", frozenset()) == (turn, ())
