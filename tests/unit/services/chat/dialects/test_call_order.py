"""Tool calls whose pieces come mixed, told one after the other."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat.dialects.call_order import CallOrder
from services.chat.turn import ToolCallDelta
from shared.errors import BadUpstream


def ordered(*pieces: ToolCallDelta) -> list[ToolCallDelta]:
    order = CallOrder()
    told = [one for piece in pieces for one in order.take([piece])]
    return [*told, *order.rest()]


def begin(index: int) -> ToolCallDelta:
    return ToolCallDelta(index, f"id{index}", "f")


def piece(index: int, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(index, arguments=arguments)


def test_pieces_that_come_in_order_are_told_at_once():
    order = CallOrder()
    for one in (begin(0), piece(0, "{"), piece(0, "}"), begin(1), piece(1, "{}")):
        assert list(order.take([one])) == [one]
    assert list(order.rest()) == []


def test_a_later_call_waits_until_the_earlier_one_is_whole():
    order = CallOrder()
    assert list(order.take([begin(0), begin(1), piece(1, '{"a":'), piece(0, '{"b": "}')])) == [
        begin(0),
        piece(0, '{"b": "}'),
    ]
    assert list(order.take([piece(0, '"}')])) == [piece(0, '"}'), begin(1), piece(1, '{"a":')]
    assert list(order.take([piece(1, "1}")])) == [piece(1, "1}")]


def test_calls_without_arguments_are_told_at_the_end():
    assert ordered(begin(0), begin(1), begin(2)) == [begin(0), begin(1), begin(2)]


def test_what_is_added_to_a_call_that_was_whole_is_a_bad_upstream():
    with pytest.raises(BadUpstream, match="were whole"):
        ordered(begin(0), piece(0, "{}"), begin(1), piece(0, "{}"))


@given(st.data())
def test_however_mixed_no_piece_is_lost_and_each_call_stays_together(data):
    calls = [[begin(index), *(piece(index, one) for one in ('{"a":', '"{}"', "}"))] for index in range(3)]
    mixed = []
    while any(calls):
        mixed.append(data.draw(st.sampled_from([call for call in calls if call])).pop(0))
    told = ordered(*mixed)
    assert [index for index, _ in groupby(told, lambda one: one.index)] == sorted(
        {one.index for one in told}, key=[one.index for one in told].index
    )
    for index in range(3):
        assert [one for one in told if one.index == index] == [one for one in mixed if one.index == index]
