"""Requests become messages: which part sets which field, and what happens when two do."""

from typing import Any

import pytest

from edge.transcoding.binding import BindingOptions, RequestBinder
from edge.transcoding.codec import JsonOptions
from edge.transcoding.json_plan import ChoosingCodec
from edge.transcoding.violations import MAX_VIOLATIONS, BindingError, BindingPlanError
from tests.support.kinds import kind, make


def binder(type_name: str, *path: str, body: str = "", **options: Any) -> RequestBinder:
    return RequestBinder(
        input=kind(type_name), path_fields=path, body=body, codec=ChoosingCodec(), options=BindingOptions(**options)
    )


def bind(made: RequestBinder, *request: Any) -> Any:
    return made.bind(*request)


def violations(made: RequestBinder, *request: Any) -> list[tuple[str, str]]:
    with pytest.raises(BindingError) as caught:
        made.bind(*request)
    return [(violation.field, violation.description) for violation in caught.value.violations]


def test_path_query_and_body_field_fill_one_message() -> None:
    made = binder("UpdateInnerRequest", "id", "item.inner.text", body="item")
    message = made.bind(("7", "deep"), b"dry_run=1", b'{"text": "a", "inner": {"count_of": 2}}')
    expected = make(
        "UpdateInnerRequest", id="7", item={"text": "a", "inner": {"text": "deep", "count_of": 2}}, dry_run=True
    )
    assert message == expected


def test_every_kind_of_field_can_be_the_body() -> None:
    bodies: dict[str, tuple[bytes, dict[str, Any]]] = {
        "text": (b'"x"', {"text": "x"}),
        "number": (b'"5"', {"number": 5}),
        "color": (b"2", {"color": 2}),
        "inners": (b'[{"text":"a"}]', {"inners": [{"text": "a"}]}),
        "counts": (b'{"a":1}', {"counts": {"a": 1}}),
        "value": (b"[1]", {"value": {"list_value": [1]}}),
        "one": (b"{}", {"one": {}}),
        "raw": (b'"QQ=="', {"raw": b"A"}),
    }
    for name, (body, fields) in bodies.items():
        made = binder("BodyOfEveryKind", "id", body=name)
        assert made.bind(("i",), b"", body) == make("BodyOfEveryKind", id="i", **fields)
        assert made.bind(("i",), b"", b"") == make("BodyOfEveryKind", id="i")
        assert made.bind(("i",), b"", None) == make("BodyOfEveryKind", id="i")


def test_the_whole_body_is_the_message() -> None:
    made = binder("Inner", body="*")
    assert made.bind((), b"", b'{"text": "a", "countOf": 1}') == make("Inner", text="a", count_of=1)
    assert made.bind((), b"", b"") == make("Inner")
    assert made.bind((), b"", b" ") == make("Inner")
    assert violations(made, (), b"text=b&text=c", b"{}") == [
        ("text", "the method takes no query parameters; send the field in the body")
    ]
    lenient = binder("Inner", body="*", ignore_unknown_query=True)
    assert lenient.bind((), b"text=b", b"{}") == make("Inner")


def test_the_query_sets_beside_a_whole_body_what_it_is_let() -> None:
    made = binder("Inner", body="*", query_fields=frozenset({"text"}))
    assert made.bind((), b"text=b", b'{"text": "a", "countOf": 1}') == make("Inner", text="b", count_of=1)
    assert made.bind((), b"text=b", b"") == make("Inner", text="b")
    assert violations(made, (), b"text=b&countOf=2", b"{}") == [
        ("countOf", "the method takes no query parameters but text; send the field in the body")
    ]
    with pytest.raises(BindingPlanError, match="no field txt"):
        binder("Inner", body="*", query_fields=frozenset({"txt"}))


def test_path_captures_are_read_as_their_fields_want() -> None:
    made = binder("Kinds", "int64_field", "color", "bool_field", "bytes_field", "inner.text", "double_field")
    message = made.bind(("-9", "COLOR_RED", "true", "QQ", "a/b", "1e3"), b"", None)
    assert message == make(
        "Kinds", int64_field=-9, color=1, bool_field=True, bytes_field=b"A", inner={"text": "a/b"}, double_field=1000
    )
    found = violations(made, ("x", "PINK", "maybe", "*", "ok", "x"), b"", None)
    assert [name for name, _ in found] == ["int64_field", "color", "bool_field", "bytes_field", "double_field"]


def test_all_parts_report_their_violations_together() -> None:
    made = binder("UpdateInnerRequest", "item.count_of", body="item")
    found = violations(made, ("x",), b"dry_run=perhaps&nope=1", b'{"text": 5, "inner": []}')
    assert [name for name, _ in found] == ["item.text", "item.inner", "item.count_of", "dry_run", "nope"]


def test_a_body_where_there_is_none_is_refused_or_dropped() -> None:
    assert violations(binder("Inner"), (), b"", b"{}") == [
        ("", "the method takes no body; send its fields in the path or the query")
    ]
    assert binder("Inner").bind((), b"", b"") == make("Inner")
    assert binder("Inner", ignore_body=True).bind((), b"text=a", b"anything") == make("Inner", text="a")


def test_a_field_of_the_path_is_not_also_a_parameter() -> None:
    made = binder("Kinds", "string_field", "inner.text")
    for query in (b"string_field=a", b"stringField=a", b"string_field=other"):
        ((name, description),) = violations(made, ("a", "b"), query, None)
        assert name in ("string_field", "stringField")
        assert description == "the field is given by the path; leave the parameter out"
    assert violations(made, ("a", "b"), b"inner.text=b", None)[0][0] == "inner.text"
    assert bind(made, ("a", "b"), b"inner.count_of=1", None).inner == make("Inner", text="b", count_of=1)
    gateway = binder("Kinds", "string_field", one_source_per_field=False)
    assert gateway.bind(("path",), b"stringField=query", None) == make("Kinds", string_field="path")


def test_the_body_may_repeat_what_the_path_says_but_not_contradict_it() -> None:
    made = binder("UpdateInnerRequest", "id", "item.count_of", body="*")
    same = b'{"id": "7", "item": {"countOf": 3, "text": "t"}}'
    assert made.bind(("7", "3"), b"", same) == make("UpdateInnerRequest", id="7", item={"count_of": 3, "text": "t"})
    found = violations(made, ("7", "3"), b"", b'{"id": "8", "item": {"count_of": 4}}')
    assert [name for name, _ in found] == ["id", "item.count_of"]
    assert "another value than the path" in found[0][1]
    gateway = binder("UpdateInnerRequest", "id", body="*", one_source_per_field=False)
    assert gateway.bind(("7",), b"", b'{"id": "8"}') == make("UpdateInnerRequest", id="7")


def test_fields_with_presence_contradict_the_path_even_with_their_default() -> None:
    made = binder("Kinds", "optional_int", body="*")
    assert bind(made, ("0",), b"", b'{"optional_int": 0}').optional_int == 0
    assert violations(made, ("1",), b"", b'{"optional_int": 0}')[0][0] == "optional_int"


def test_the_field_that_is_the_body_is_not_also_a_parameter() -> None:
    made = binder("UpdateInnerRequest", body="item")
    for query in (b"item.text=a", b"item=a"):
        ((_, description),) = violations(made, (), query, b"{}")
        assert description == "the field is the body of the request; give it there"
    lenient = binder("UpdateInnerRequest", body="item", ignore_unknown_query=True)
    assert lenient.bind((), b"item.text=a&dry_run=1", b"{}") == make("UpdateInnerRequest", item={}, dry_run=True)


def test_one_member_of_a_oneof_comes_from_one_source() -> None:
    path_and_query = binder("Kinds", "name")
    assert violations(path_and_query, ("a",), b"number=1", None)[0][0] == "number"
    path_and_body = binder("Kinds", "name", body="*")
    assert violations(path_and_body, ("a",), b"", b'{"number": 1}')[0][0] == "name"
    nested = binder("Kinds", "nested.text", body="*")
    assert violations(nested, ("a",), b"", b'{"name": "x"}')[0][0] == "nested.text"
    assert bind(nested, ("a",), b"", b'{"nested": {"countOf": 1}}').nested == make("Inner", text="a", count_of=1)
    body_and_query = binder("BodyOfEveryKind", body="one")
    assert violations(body_and_query, (), b"other=x", b"{}")[0][0] == "other"
    assert bind(body_and_query, (), b"other=x", b"").other == "x"


def test_required_fields_of_proto2_are_asked_for() -> None:
    made = binder("Strict", body="*")
    assert made.bind((), b"", b'{"id": "a", "child": {"id": ""}}') == make("Strict", id="a", child={"id": ""})
    assert violations(made, (), b"", b'{"child": {}}') == [
        ("id", "the field is required"),
        ("child.id", "the field is required"),
    ]
    assert violations(made, (), b"", b'{"id": 5}') == [("id", "expected a string, got the number 5")]
    assert binder("Strict", "id").bind(("x",), b"child.id=y", None) == make("Strict", id="x", child={"id": "y"})


def test_forms_fill_the_message_like_a_query() -> None:
    made = binder("Kinds", "string_field", body="*")
    message = made.bind_form(("p",), b"", b"int32_field=5&tags=a+b&tags=c&inner.text=%C3%A9&labels[k]=v")
    assert message == make(
        "Kinds", string_field="p", int32_field=5, tags=["a b", "c"], inner={"text": "\u00e9"}, labels={"k": "v"}
    )
    assert made.bind_form(("p",), b"", b"") == make("Kinds", string_field="p")
    with pytest.raises(BindingError) as caught:
        made.bind_form(("p",), b"int32_field=1", b"string_field=q&nope=1&tags=%")
    assert [violation.field for violation in caught.value.violations] == ["tags", "string_field", "nope", "int32_field"]


def test_the_violations_of_a_form_are_bounded() -> None:
    made = binder("Kinds", body="*")
    for form in (b"&".join([b"a=%"] * 500), b"&".join(b"x%d=1" % n for n in range(500))):
        with pytest.raises(BindingError) as caught:
            made.bind_form((), b"", form)
        assert len(caught.value.violations) == MAX_VIOLATIONS


def test_pairs_fill_the_message_like_a_query() -> None:
    made = binder("Inner", body="*")
    assert made.bind_pairs((), b"", [("text", "100%"), ("count_of", "2")]) == make("Inner", text="100%", count_of=2)


def mask_of(body: bytes, query: bytes = b"", **options: Any) -> list[str]:
    made = binder("UpdateInnerRequest", "id", body="item", fill_update_mask=True, **options)
    message: Any = made.bind(("1",), query, body)
    return list(message.update_mask.paths)


def test_a_patch_names_in_its_mask_what_the_body_names() -> None:
    assert mask_of(b'{"text": "a", "countOf": 0}') == ["text", "count_of"]
    assert mask_of(b'{"inner": {"text": "a", "inner": {"count_of": 1}}}') == ["inner.text", "inner.inner.count_of"]
    assert mask_of(b'{"inner": {}, "text": null}') == ["inner", "text"]
    assert mask_of(b'{"extra": {"a": {"b": 1}, "c": [1]}}') == ["extra.a.b", "extra.c"]
    assert mask_of(b'{"extra": {"odd key": 1, "c": 2}, "text": ""}') == ["extra", "text"]
    assert mask_of(b'{"extra": {"a": {"x.y": 1}}}') == ["extra.a"]
    assert mask_of(b"null") == []
    assert mask_of(b"{}") == []
    assert mask_of(b"") == []


def test_a_body_that_names_nothing_leaves_the_mask_unset() -> None:
    made = binder("UpdateInnerRequest", body="item", fill_update_mask=True)
    assert made.bind((), b"", b"{}") == make("UpdateInnerRequest", item={})


def test_a_mask_that_the_client_gives_is_kept() -> None:
    assert mask_of(b'{"text": "a"}', b"update_mask=count_of,inner.text") == ["count_of", "inner.text"]
    assert mask_of(b'{"text": "a"}', b"updateMask=countOf") == ["count_of"]


def test_ignored_fields_are_not_in_the_mask() -> None:
    options = JsonOptions(ignore_unknown=True)
    assert mask_of(b'{"text": "a", "nope": 1, "inner": {"nope": 1}}', json=options) == ["text", "inner"]


def test_no_mask_is_filled_where_it_is_not_asked_for() -> None:
    made = binder("UpdateInnerRequest", body="item")
    assert made.bind((), b"", b'{"text": "a"}') == make("UpdateInnerRequest", item={"text": "a"})


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (["nope"], "", 'test.kinds.v1.Kinds has no field "nope"'),
        (["string_feld"], "", 'did you mean "string_field"?'),
        (["inner.nope"], "", '"inner.nope": test.kinds.v1.Inner has no field'),
        (["tags"], "", '"tags" is repeated'),
        (["labels"], "", '"labels" is repeated'),
        (["inners.text"], "", '"inners" is repeated'),
        (["inner"], "", '"inner" is a message'),
        (["created_at"], "", '"created_at" is a message'),
        (["string_field.x"], "", '"string_field" has no fields of its own'),
        (["created_at.seconds"], "", '"created_at" has no fields of its own'),
        (["name", "name"], "", '"name" is captured twice'),
        (["string_field"], "string_field", '"string_field" is also the body'),
        ([], "nope", 'body "nope": test.kinds.v1.Kinds has no such field'),
        ([], "inner.text", 'body "inner.text" is a path'),
    ],
)
def test_a_rule_that_its_message_cannot_serve_does_not_compile(path: list[str], body: str, words: str) -> None:
    with pytest.raises(BindingPlanError, match=r".") as caught:
        binder("Kinds", *path, body=body)
    assert words in str(caught.value)


def test_captures_must_be_as_many_as_the_template_has() -> None:
    with pytest.raises(ValueError, match="shorter"):
        binder("Kinds", "name", "string_field").bind(("a",), b"", None)
