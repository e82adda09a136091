"""Behaviour of edge/transcoding/template.py."""

import pytest

from edge.transcoding.template import Kind, Segment, TemplateError, Variable, parse_template

LITERAL, SINGLE, DEEP = Kind.LITERAL, Kind.SINGLE, Kind.DEEP


def test_literals_and_wildcards_become_segments() -> None:
    template = parse_template("/v1/shelves/*/books/**")
    assert [(s.kind, s.text) for s in template.segments] == [
        (LITERAL, "v1"),
        (LITERAL, "shelves"),
        (SINGLE, ""),
        (LITERAL, "books"),
        (DEEP, ""),
    ]
    assert template.deep == 4
    assert not template.is_static


def test_a_bare_variable_captures_one_segment() -> None:
    template = parse_template("/v1/{book.name}")
    (variable,) = template.variables
    assert variable == Variable("book.name", 1, 2)
    assert not template.is_multi(variable)


@pytest.mark.parametrize(
    ("source", "multi"),
    [("/{a=*}", False), ("/{a=x}", False), ("/{a=x/*}", True), ("/{a=**}", True), ("/{a=x/**}", True)],
)
def test_a_variable_is_multi_when_it_may_hold_other_than_one_segment(source: str, multi: bool) -> None:
    template = parse_template(source)
    assert template.is_multi(template.variables[0]) is multi


def test_nested_variables_stand_in_the_order_of_their_braces() -> None:
    template = parse_template("/v1/{name={shelf}/books/{book=x/**}}")
    assert [(v.field_path, v.start, v.stop) for v in template.variables] == [
        ("name", 1, 5),
        ("shelf", 1, 2),
        ("book", 3, 5),
    ]


def test_literals_may_follow_a_deep_wildcard() -> None:
    template = parse_template("/v1/{path=**}/versions/{version}:restore")
    assert [s.kind for s in template.segments] == [LITERAL, DEEP, LITERAL, SINGLE]
    assert template.verb == "restore"


@pytest.mark.parametrize(
    ("source", "last", "verb"),
    [
        ("/v1/a:b:c", "a", "b:c"),
        ("/v1/{a}:b:c", "", "b:c"),
        ("/v1/*:go", "", "go"),
        ("/v1/{a=x:y/*}:go", "", "go"),
    ],
)
def test_a_verb_begins_at_the_first_colon_after_the_last_segment(source: str, last: str, verb: str) -> None:
    template = parse_template(source)
    assert template.verb == verb
    assert template.segments[-1].text == last


def test_a_colon_in_an_earlier_segment_is_an_ordinary_character() -> None:
    assert parse_template("/v1/a:b/c").segments[1] == Segment(LITERAL, "a:b")


def test_literals_are_percent_decoded_and_written_back_encoded() -> None:
    template = parse_template("/v1/caf%C3%A9/a%20b")
    assert [s.text for s in template.segments] == ["v1", "café", "a b"]
    assert template.path() == "/v1/caf%C3%A9/a%20b"


def test_the_root_is_a_template_without_segments() -> None:
    template = parse_template("/")
    assert template.segments == ()
    assert template.path() == "/"


def test_templates_that_match_the_same_paths_have_one_shape() -> None:
    assert parse_template("/v1/{a}/x").shape == parse_template("/v1/{b.c=*}/x").shape
    assert parse_template("/v1/{a}/x").shape != parse_template("/v1/{a}/x:go").shape
    assert parse_template("/v1/%2A").shape != parse_template("/v1/*").shape


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "starts with"),
        ("v1", "starts with"),
        ("/v1/", "must not be empty"),
        ("/v1//a", "must not be empty"),
        ("/v1/{", "field path"),
        ("/v1/{1a}", "field path"),
        ("/v1/{a.}", '"}" was expected'),
        ("/v1/{a=}", "must not be empty"),
        ("/v1/{a", '"}" was expected'),
        ("/v1/{a}b", "a segment ends with"),
        ("/v1/a}", "template's end"),
        ("/v1/***", "a segment ends with"),
        ("/v1/a*", "a segment ends with"),
        ("/v1/**/x/**", "at most one **"),
        ("/v1/{a}/{a}", "stands twice"),
        ("/v1/a:", "a verb is"),
        ("/v1/*:a/b", "a verb is"),
        ("/v1/%zz", "two hexadecimal digits"),
        ("/v1/%ff", "not UTF-8"),
        ("/v1/..", "no segments"),
        ("/v1/%2e", "no segments"),
    ],
)
def test_what_is_outside_the_grammar_is_refused_with_the_place(source: str, reason: str) -> None:
    with pytest.raises(TemplateError, match="at position") as caught:
        parse_template(source)
    assert reason in str(caught.value)
    assert f'"{source}"' in str(caught.value)
