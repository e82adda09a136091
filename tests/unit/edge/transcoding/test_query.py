"""Query parameters and form fields: every kind, and every way to get one wrong."""

from typing import Any

import pytest

from edge.transcoding.binding import BindingOptions, RequestBinder
from edge.transcoding.codec import JsonOptions
from edge.transcoding.json_plan import ChoosingCodec
from edge.transcoding.violations import MAX_VIOLATIONS, BindingError
from tests.support.kinds import kind, make


def binder(type_name: str = "Kinds", **options: Any) -> RequestBinder:
    return RequestBinder(
        input=kind(type_name), path_fields=(), body="", codec=ChoosingCodec(), options=BindingOptions(**options)
    )


def bind(query: str | bytes, type_name: str = "Kinds", **options: Any) -> Any:
    raw = query.encode() if isinstance(query, str) else query
    return binder(type_name, **options).bind((), raw, None)


def violations(query: str | bytes, type_name: str = "Kinds", **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(BindingError) as caught:
        bind(query, type_name, **options)
    return [(violation.field, violation.description) for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("int32_field=-5&string_field=a+b%26c", {"int32_field": -5, "string_field": "a b&c"}),
        ("int32Field=5", {"int32_field": 5}),
        ("string_field=na%C3%AFve", {"string_field": "na\u00efve"}),
        ("string_field=%2B", {"string_field": "+"}),
        ("string_field=a=b", {"string_field": "a=b"}),
        ("string_field=", {}),
        ("string_field", {}),
        ("&&int32_field=1&", {"int32_field": 1}),
        ("string%5Ffield=x", {"string_field": "x"}),
        ("inner.text=a&inner.inner.countOf=2", {"inner": {"text": "a", "inner": {"count_of": 2}}}),
        ("tags=a&tags=&tags=b", {"tags": ["a", "", "b"]}),
        ("numbers=1&numbers=-2", {"numbers": [1, -2]}),
        ("numbers[]=1&numbers%5B%5D=-2", {"numbers": [1, -2]}),
        ("times[]=1970-01-01T00:00:01Z", {"times": [{"seconds": 1}]}),
        ("color=COLOR_RED&colors=2&colors=COLOR_RED", {"color": 1, "colors": [2, 1]}),
        ("bool_field=1&flags=true&flags=0", {"bool_field": True, "flags": [True, False]}),
        ("bytes_field=-_8&blobs=QQ%3D%3D", {"bytes_field": b"\xfb\xff", "blobs": [b"A"]}),
        ("optional_int=0", {"optional_int": 0}),
        (
            "wrapped_int=5&wrapped_bool=false&wrapped_string=",
            {"wrapped_int": {"value": 5}, "wrapped_bool": {}, "wrapped_string": {}},
        ),
        ("created_at=1970-01-01T00:00:01Z", {"created_at": {"seconds": 1}}),
        ("times=1970-01-01T00:00:01Z&times=1970-01-01T00:00:02Z", {"times": [{"seconds": 1}, {"seconds": 2}]}),
        ("max_wait=1.5s", {"max_wait": {"seconds": 1, "nanos": 500000000}}),
        ("maxWait=1h30m", {"max_wait": {"seconds": 5400}}),
        ("mask=a,displayName.b", {"mask": {"paths": ["a", "display_name.b"]}}),
        ("mask=display_name", {"mask": {"paths": ["display_name"]}}),
        ('extra={"a":[1,null]}', {"extra": {"a": [1, None]}}),
        ('value="x"', {"value": {"string_value": "x"}}),
        ("value=null", {"value": {"null_value": 0}}),
        ("value=5", {"value": {"number_value": 5}}),
        ("list=[1]", {"list": [1]}),
        ('inner.extra={"k":"v"}', {"inner": {"extra": {"k": "v"}}}),
        ("labels[a]=1&labels[b.c]=2&labels[x[0]]=3", {"labels": {"a": "1", "b.c": "2", "x[0]": "3"}}),
        ("labels%5Ba%5D=1", {"labels": {"a": "1"}}),
        ("labels[a]=", {"labels": {"a": ""}}),
        ("by_flag[true]=7", {"by_flag": {True: 7}}),
        ("by_number[-1].text=a&by_number[-1].count_of=2", {"by_number": {-1: {"text": "a", "count_of": 2}}}),
        ("by_number[1].inner.text=a", {"by_number": {1: {"inner": {"text": "a"}}}}),
        ("waits[a.b]=90m", {"waits": {"a.b": {"seconds": 5400}}}),
        ("name=a", {"name": "a"}),
        ("nested.text=a&nested.count_of=1", {"nested": {"text": "a", "count_of": 1}}),
    ],
)
def test_parameters_set_fields_of_every_kind(query: str, fields: dict[str, Any]) -> None:
    assert bind(query) == make("Kinds", **fields)


def test_a_group_is_set_like_a_message() -> None:
    assert bind("part.piece=x&count=0", "Legacy") == make("Legacy", part={"piece": "x"}, count=0)


@pytest.mark.parametrize(
    ("query", "name", "words"),
    [
        ("int32_field=x", "int32_field", 'expected an integer from -2147483648 to 2147483647, got "x"'),
        ("int32_field=", "int32_field", "got an empty text"),
        ("colour=1", "colour", 'test.kinds.v1.Kinds has no field "colour" (did you mean "color"?)'),
        ("stringfield=1", "stringfield", '(did you mean "string_field"?)'),
        ("inner.txt=1", "inner.txt", 'test.kinds.v1.Inner has no field "txt" (did you mean "text"?)'),
        ("=x", "", 'has no field ""'),
        ("color=COLOR_REDD", "color", '(did you mean "COLOR_RED"?)'),
        ("string_field=a&string_field=a", "string_field", "the parameter is given more than once"),
        ("string_field=a&stringField=b", "stringField", 'the same field is also given as "string_field"'),
        ("tags=a&tags=b&int32Field=1&int32_field=1", "int32_field", 'also given as "int32Field"'),
        ("wrapped_int=1&wrapped_int=1", "wrapped_int", "more than once"),
        ("labels[a]=1&labels[a]=2", "labels[a]", "more than once"),
        ("name=a&number=1", "number", '"name" is given as well; only one field of oneof choice may be'),
        ("nested.text=a&name=b", "name", '"nested" is given as well'),
        ("inner=x", "inner", "the field is a message; give its fields, such as inner.text"),
        ("inners=x", "inners", "a test.kinds.v1.Inner here has no text form"),
        ("inners.text=x", "inners.text", '"inners" has no fields that a parameter could name'),
        ("int32_field.x=1", "int32_field.x", '"int32_field" has no fields'),
        ("created_at.seconds=1", "created_at.seconds", '"created_at" has no fields'),
        ("int32_field[a]=1", "int32_field[a]", '"int32_field" is no map'),
        ("int32_field[]=1", "int32_field[]", '"int32_field" is no map'),
        ("labels=a", "labels", "the field is a map; name an entry, such as labels[key]"),
        ("labels[a=1", "labels[a", "name an entry, such as labels[key]"),
        ("labels.a=1", "labels.a", "name an entry, such as labels[key]"),
        ("by_number[1]=x", "by_number[1]", "name an entry, such as by_number[key].field"),
        ("by_number[x].text=1", "by_number[x].text", "map key: expected an integer"),
        ("by_flag[1]=1", "by_flag[1]", 'map key: expected "true" or "false"'),
        ("parcels[a]=x", "parcels[a]", "a google.protobuf.Any here has no text form"),
        ("any=x", "any", "a google.protobuf.Any here has no text form"),
        ("extra=x", "extra", "JSON text is expected here: the text is not valid JSON"),
        ("extra=", "extra", "JSON text is expected here, got an empty text"),
        ("extra=[1]", "extra", "expected an object, got an array"),
        ("value=hello", "value", "JSON text is expected here, with quotes around strings"),
        ('extra={"a":1,"a":2}', "extra.a", "the key is given more than once"),
        ("created_at=yesterday", "created_at", "expected an RFC 3339 time"),
        ("max_wait=5", "max_wait", 'expected a duration such as "3.5s", "250ms" or "1h30m"'),
        ("mask=a,,b", "mask", "expected field paths"),
        ("bytes_field=*", "bytes_field", "base64"),
        ("string_field=%zz", "string_field", "a % that is not followed by two hexadecimal digits"),
        ("string_field=100%", "string_field", "a % that is not followed by two hexadecimal digits"),
        ("string_field=%ff", "string_field", "not valid UTF-8"),
        (b"string_field=\xff", "string_field", "not valid UTF-8"),
        ("[t.e]=1", "[t.e]", 'has no field ""'),
    ],
)
def test_a_faulty_parameter_is_named_with_what_would_be_right(query: str | bytes, name: str, words: str) -> None:
    ((found, description),) = violations(query)
    assert found == name
    assert words in description


def test_all_faulty_parameters_are_named_at_once() -> None:
    found = violations("int32_field=x&nope=1&color=PINK&string_field=%&tags=ok&inner.count_of=1.5")
    assert sorted(name for name, _ in found) == ["color", "inner.count_of", "int32_field", "nope", "string_field"]


def test_the_number_of_parameters_is_bounded() -> None:
    query = "&".join(["tags=a"] * 1000)
    assert len(bind(query).tags) == 1000
    ((name, description),) = violations(query + "&tags=a")
    assert (name, description) == ("", "the query has more than 1000 parameters")
    assert violations("a=1&b=2&c=3", max_query_parameters=2) == [("", "the query has more than 2 parameters")]
    assert len(violations("&".join(f"x{n}=1" for n in range(500)))) == MAX_VIOLATIONS


def test_unknown_parameters_are_dropped_when_asked() -> None:
    assert bind("nope=1&inner.nope=2&int32_field=3", ignore_unknown_query=True) == make("Kinds", int32_field=3)
    assert violations("nope=1&int32_field=x", ignore_unknown_query=True)[0][0] == "int32_field"


def test_unknown_enum_names_are_dropped_when_asked() -> None:
    message = bind("color=PINK&colors=PINK&colors=1", json=JsonOptions(ignore_unknown_enums=True))
    assert message == make("Kinds", colors=[1])


def test_numbers_are_read_as_go_reads_them_when_asked() -> None:
    message = bind("int32_field=0x10&bool_field=T&wrapped_int=010", go_scalars=True)
    assert message == make("Kinds", int32_field=16, bool_field=True, wrapped_int={"value": 8})


def test_json_texts_in_parameters_have_the_limits_of_bodies() -> None:
    assert violations("value=" + "[" * 6 + "]" * 6, json=JsonOptions(max_depth=5))
    assert violations("value=" + "[" * 5000 + "]" * 5000)


def test_half_of_a_surrogate_pair_from_a_multipart_form_is_refused() -> None:
    with pytest.raises(BindingError) as caught:
        binder().bind_pairs((), b"", [("string_field", "\ud800"), ("value", '"\ud800"'), ("tags", "fine")])
    assert [violation.field for violation in caught.value.violations] == ["string_field", "value"]


def test_map_entries_drop_unknown_enum_names_when_asked() -> None:
    options = JsonOptions(ignore_unknown_enums=True)
    assert bind("shades[a]=PINK&shades[b]=COLOR_RED", json=options) == make("Kinds", shades={"b": 1})


def test_violations_do_not_repeat_what_was_sent() -> None:
    with pytest.raises(BindingError) as caught:
        bind("int32_field=my+secret+is+this&color=gaia_live_0123456789abcdefghijklmnopqrstuvwxyz")
    assert "secret" not in str(caught.value)
    assert "gaia_live" not in str(caught.value)
