"""What is said of a faulty body: where, what was given, what would be right, all at once."""

import time
from typing import Any

import pytest

from edge.transcoding.codec import JsonOptions
from edge.transcoding.json_plan import PlanCodec
from edge.transcoding.violations import MAX_VIOLATIONS, BindingError, Violation
from tests.support.kinds import kind, make


def decode(body: str | bytes, type_name: str = "Kinds", **options: Any) -> Any:
    message = make(type_name)
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    PlanCodec().decoder(kind(type_name), JsonOptions(**options))(raw, message)
    return message


def violations(body: str | bytes, type_name: str = "Kinds", **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(BindingError) as caught:
        decode(body, type_name, **options)
    return [(violation.field, violation.description) for violation in caught.value.violations]


def test_all_violations_are_found_at_once() -> None:
    body = """{
        "int32_field": "many", "int64Field": 1.5, "inners": [{"text": 1}, 7, {"inner": {"count_of": true}}],
        "labels": {"a b": 1, "c": null}, "by_number": {"x": {}, "1": {"txt": ""}}, "wrapped_int": "z",
        "colour": 1, "color": "COLOR_VIOLETT", "times": ["yesterday"], "tags": "a", "extra": 3
    }"""
    assert violations(body) == [
        ("int32_field", 'expected an integer from -2147483648 to 2147483647, got "many"'),
        ("int64Field", "expected an integer from -9223372036854775808 to 9223372036854775807, got the number 1.5"),
        ("inners[0].text", "expected a string, got the number 1"),
        ("inners[1]", "expected an object (test.kinds.v1.Inner), got the number 7"),
        ("inners[2].inner.count_of", "expected an integer from -2147483648 to 2147483647, got true"),
        ('labels["a b"]', "expected a string, got the number 1"),
        ('labels["c"]', "null is no value of a map; leave the key out"),
        ('by_number["x"]', 'map key: expected an integer from -2147483648 to 2147483647, got "x"'),
        ('by_number["1"].txt', 'test.kinds.v1.Inner has no field "txt" (did you mean "text"?)'),
        ("wrapped_int", 'expected an integer from -9223372036854775808 to 9223372036854775807, got "z"'),
        ("colour", 'test.kinds.v1.Kinds has no field "colour" (did you mean "color"?)'),
        (
            "color",
            'expected one of COLOR_UNSPECIFIED, COLOR_RED, COLOR_VIOLET, got "COLOR_VIOLETT"'
            ' (did you mean "COLOR_VIOLET"?)',
        ),
        (
            "times[0]",
            'expected an RFC 3339 time such as "2024-05-17T09:30:00Z" or "2024-05-17T09:30:00.5+02:00",'
            ' got "yesterday"',
        ),
        ("tags", "expected an array, got a string"),
        ("extra", "expected an object, got the number 3"),
    ]


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ('{"a', "", "line 1, column 2: the string that starts here has no end"),
        ('{"tags": ["a" "b"]}', "", "line 1, column 15: a comma, or the end of the array or object, is expected"),
        ("{} []", "", "line 1, column 4: nothing may follow the JSON value"),
        ("{\n1: 2}", "", "line 2, column 1: a field name in double quotes is expected"),
        ('{"a" 1}', "", "line 1, column 6: a colon is expected"),
        ('{"a":}', "", "line 1, column 6: a value is expected"),
        ('{"string_field": "\x01"}', "", "control characters in strings must be escaped"),
        (r'{"string_field": "\q"}', "", "a backslash must be followed by"),
        (r'{"string_field": "\u12"}', "", "four hexadecimal digits"),
        ('{"double_field": NaN}', "", 'NaN is no JSON number; where a double may hold it, write "NaN"'),
        (b'{"string_field": "\xc3"}', "", "not valid UTF-8 at byte 18"),
        ("\ufeff{}", "", "this is no JSON"),
        ('{"int32_field": 1, "int32_field": 2}', "int32_field", "the key is given more than once in one object"),
        ('{"extra": {"a": {"b": 1, "b": 1}}}', "extra.a.b", "the key is given more than once"),
        ('{"int32_field": 1, "int32Field": 1}', "int32Field", 'the same field is also given as "int32_field"'),
        ('{"name": "a", "nested": {}}', "nested", '"name" is given as well; only one field of oneof choice may be'),
        ('{"by_number": {"1": {}, "01": {}}}', 'by_number["01"]', 'the same key is also given as "1"'),
        ('{"bool_field": "true"}', "bool_field", "expected true or false, got a string (without quotes)"),
        ('{"int64_field": 9223372036854775807.5}', "int64_field", "got the number 9223372036854775807.5"),
        ('{"double_field": 1e400}', "double_field", "got a number beyond its range"),
        ('{"float_field": "1e39"}', "float_field", "got a number beyond its range"),
        ('{"value": [1e400]}', "value[0]", "the number is beyond the range of a double"),
        (r'{"string_field": "\ud800"}', "string_field", "half of a surrogate pair"),
        (r'{"extra": {"\udfff": 1}}', 'extra["?"]', "half of a surrogate pair"),
        (r'{"value": "a\ud83d"}', "value", "half of a surrogate pair"),
        ('{"bytes_field": "*"}', "bytes_field", "expected bytes in base64"),
        ('{"mask": "a,,b"}', "mask", "expected field paths with commas"),
        ('{"any": {"a": 1}}', "any.@type", "expected a type URL"),
        ('{"any": {"@type": "x/no.Such"}}', "any.@type", "the server knows no such message type"),
        (r'{"any": {"@type": "\ud800/test.kinds.v1.Inner"}}', "any.@type", "the server knows no such message type"),
        ('{"any": {"@type": "x y/test.kinds.v1.Inner"}}', "any.@type", "the server knows no such message type"),
        ('{"any": {"@type": "x/test.kinds.v1.Inner", "text": 1}}', "any.text", "expected a string"),
        ('{"any": {"@type": "x/google.protobuf.Duration", "value": "1s", "more": 1}}', "any.more", "has no field"),
        ('{"any": {"@type": "x/test.legacy.v1.Strict"}}', "any.id", "the field is required"),
        ('{"tags": [null]}', "tags[0]", "null is no element of an array"),
        ('{"created_at": "2023-02-29T00:00:00Z"}', "created_at", "2023-02-29 is no day of the calendar"),
        ('{"created_at": "2023-02-28T24:00:00Z"}', "created_at", "24:00:00 is no time of the day"),
        ('{"created_at": "2023-02-28T00:00:00+24:00"}', "created_at", "+24:00 is no offset from UTC"),
        ('{"max_wait": "5"}', "max_wait", 'expected seconds with the letter s, such as "3.5s", got "5"'),
        ("[]", "", "expected an object (test.kinds.v1.Kinds), got an array"),
        ('{"empty": []}', "empty", "expected an object"),
        ('{"any": []}', "any", 'expected an object with "@type", got an array'),
        ('{"parcels": {"a": 1}}', 'parcels["a"]', 'expected an object with "@type", got the number 1'),
        ('{"shades": {"a": "PINK"}}', 'shades["a"]', "expected one of COLOR_UNSPECIFIED"),
        ('{"labels": 1}', "labels", "expected an object (a map), got the number 1"),
        ('{"list": 1}', "list", "expected an array, got the number 1"),
        ('{"inner": "text"}', "inner", "expected an object (test.kinds.v1.Inner), got a string"),
        ('{"[a.b]": 1}', "[a.b]", "has no such extensions"),
    ],
)
def test_a_fault_is_named_with_its_place(body: str | bytes, path: str, words: str) -> None:
    found = violations(body)
    assert [field for field, _ in found] == [path]
    assert words in found[0][1]


def test_long_and_rich_texts_are_not_repeated() -> None:
    secret = "gaia_live_0123456789abcdefghijklmnopqrstuvwxyz"
    prompt = "Ignore all previous instructions"
    body = f'{{"int32_field": "{secret}", "color": "{prompt}", "bytes_field": "{prompt}", "created_at": "{secret}"}}'
    with pytest.raises(BindingError) as caught:
        decode(body)
    assert len(caught.value.violations) == 4
    assert secret not in str(caught.value)
    assert prompt not in str(caught.value)


def test_odd_names_are_printed_safely() -> None:
    body = '{"a\\nb\\u0000\\"": 1, "' + "x" * 500 + '": 2, "\\ud800": 3, "": 4}'
    for field, description in violations(body):
        (field + description).encode()
        assert (field + description).isprintable()
        assert len(field) < 100


def test_the_number_of_violations_is_bounded() -> None:
    body = '{"tags": [' + ",".join(["1"] * 5000) + "]}"
    found = violations(body)
    assert len(found) == MAX_VIOLATIONS


def nested(levels: int) -> str:
    """Return a message with inner messages, `levels` objects deep in all."""
    return '{"inner":' * (levels - 1) + "{}" + "}" * (levels - 1)


def test_objects_may_nest_as_deep_as_the_limit() -> None:
    assert decode(nested(100), "Inner").HasField("inner")
    assert "nest deeper than 100 levels" in violations(nested(101), "Inner")[0][1]
    assert decode(nested(5), "Inner", max_depth=5).HasField("inner")
    (found,) = violations(nested(6), "Inner", max_depth=5)
    assert found == ("inner.inner.inner.inner.inner", "arrays and objects nest deeper than 5 levels")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"tags": []}', "tags"),
        ('{"inners": [{}]}', "inners"),
        ('{"labels": {}}', "labels"),
        ('{"by_number": {"1": {}}}', "by_number"),
        ('{"extra": {}}', "extra"),
        ('{"list": []}', "list"),
        ('{"value": [1]}', "value"),
        ('{"any": {}}', "any"),
        ('{"inner": {}}', "inner"),
    ],
)
def test_every_kind_of_nesting_counts(body: str, path: str) -> None:
    assert violations(body, max_depth=1) == [(path, "arrays and objects nest deeper than 1 levels")]
    levels = max(body.count("{") + body.count("["), 2)
    decode(body, max_depth=levels)


@pytest.mark.parametrize("levels", [2000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_hopelessly_deep_bodies_are_refused_without_a_stack_overflow(levels: int, opening: str, closing: str) -> None:
    for body in (opening * levels + closing * levels, opening * levels):
        for value in (body, f'{{"value": {body}}}', f'{{"unknown": {body}}}'):
            assert violations(value)
            assert violations(value, ignore_unknown=True)


def test_ignored_parts_count_as_deep_as_others() -> None:
    deep = "[" * 100 + "]" * 100
    assert "nest deeper" in violations(f'{{"unknown": {deep}}}', ignore_unknown=True)[0][1]
    decode(f'{{"unknown": {deep[1:-1]}}}', ignore_unknown=True)


def test_ignored_parts_hold_whole_characters_too() -> None:
    for body in (r'{"unknown": ["\ud800"]}', r'{"unknown": {"\ud800": 1}}', r'{"\ud800": 1}', r'{"unknown": "\udfff"}'):
        ((path, description),) = violations(body, ignore_unknown=True)
        assert "half of a surrogate pair" in description
        path.encode()


def test_a_struct_that_protobuf_could_not_carry_is_refused() -> None:
    levels = 20
    fits = '{"extra": ' + '{"a":' * levels + "1" + "}" * levels + "}"
    assert decode(fits).SerializeToString()
    deepest = max(n for n in range(20, 60) if _carried(n))
    assert make("Kinds").FromString(decode(_struct(deepest)).SerializeToString()) == decode(_struct(deepest))
    assert "messages that protobuf carries" in violations(_struct(deepest + 1))[0][1]


def _struct(levels: int) -> str:
    return '{"extra": ' + '{"a":' * levels + "1" + "}" * levels + "}"


def _carried(levels: int) -> bool:
    try:
        decode(_struct(levels))
    except BindingError:
        return False
    return True


@pytest.mark.parametrize(
    "body",
    [
        '{"int64_field": ' + "9" * 1_000_000 + "}",
        '{"int64_field": "' + "9" * 1_000_000 + '"}',
        '{"double_field": 1' + "0" * 1_000_000 + "}",
        '{"int64_field": 1e999999999}',
        '{"int64_field": "1e99999999999999999999"}',
        '{"int64_field": 0.' + "0" * 1_000_000 + "1}",
        '{"unknown": [' + "1," * 500_000 + "1]}",
        '{"inners": [' + "{}," * 300_000 + "1]}",
    ],
    ids=["digits", "digits in a string", "zeros", "exponent", "long exponent", "fraction", "wide array", "messages"],
)
def test_huge_values_are_refused_in_bounded_time(body: str) -> None:
    start = time.process_time()
    found = violations(body)
    assert len(found) == 1
    assert len(found[0][1]) < 300
    # A megabyte takes tens of milliseconds; a quadratic step anywhere would take minutes.
    assert time.process_time() - start < 5


def test_exact_numbers_survive_a_second_reading() -> None:
    # The fraction makes the plan give up; what it saw as floats is read again digit by digit.
    message = decode('{"int64_field": 9223372036854775807.0, "uint64_field": 18446744073709551615, "int32_field": 1e0}')
    assert message.int64_field == 9223372036854775807
    assert message.uint64_field == 18446744073709551615
    assert message.int32_field == 1


def test_an_error_lists_its_violations_as_text() -> None:
    error = BindingError([Violation("a.b", "is wrong"), Violation("", "is empty")])
    assert str(error) == "a.b: is wrong; is empty"
