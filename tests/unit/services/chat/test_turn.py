"""Putting a reply together from its deltas."""

from services.chat.turn import Delta, FinishReason, ReplyBuilder, ToolCall, ToolCallDelta, Usage


def test_a_reply_is_the_sum_of_its_deltas():
    builder = ReplyBuilder()
    for delta in (
        Delta("Hel"),
        Delta("lo", tool_calls=[ToolCallDelta(0, "a", "f", '{"x"'), ToolCallDelta(1, "b", "g")]),
        Delta(tool_calls=[ToolCallDelta(0, arguments=":1}"), ToolCallDelta(1, arguments="{}")]),
        Delta(other_choices=[(1, "other "), (1, "choice")]),
        Delta(finish_reason=FinishReason.TOOL_CALLS, usage=Usage(3, 4)),
    ):
        builder.add(delta)
    reply = builder.build()
    assert reply.text == "Hello"
    assert reply.tool_calls == [ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}")]
    assert reply.other_choices == ["other choice"]
    assert (reply.finish_reason, reply.usage) == (FinishReason.TOOL_CALLS, Usage(3, 4))


def test_a_reply_of_which_only_numbers_arrived_has_no_content():
    builder = ReplyBuilder()
    builder.add(Delta(usage=Usage(3, 0)))
    assert not builder.has_content
    builder.add(Delta("x"))
    assert builder.has_content
