import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.db.paging import START, Place, page_size, parse_token
from shared.errors import InvalidArgument

moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC))  # noqa: DTZ001


@given(moments, st.uuids())
def test_a_token_holds_its_place(created_at, identifier):
    place = Place(created_at, identifier)
    assert parse_token(place.token()) == place


def test_no_token_is_the_start():
    assert parse_token("") == START


@given(st.text(max_size=60))
def test_any_other_text_is_refused_by_name_or_is_a_place(text):
    fields = []
    try:
        parse_token(text)
    except InvalidArgument as error:
        fields = [violation.field for violation in error.violations]
    assert fields in ([], ["page_token"])


@pytest.mark.parametrize(("requested", "size"), [(0, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_a_page_has_at_most_500_rows(requested, size):
    assert page_size(requested) == size


def test_a_negative_size_is_refused():
    with pytest.raises(InvalidArgument):
        page_size(-1)
