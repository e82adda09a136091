"""Behaviour of edge/transcoding/routes.py."""

from collections.abc import Iterable

import pytest

from edge.transcoding.options import MethodOptions, default_method_options
from edge.transcoding.routes import Route, RouteTable, collect_routes, http_rule
from tests.support.contracts import compile_contracts

HEADER = """
syntax = "proto3"; package t.v1; import "google/api/annotations.proto";
message M { string a = 1; string b = 2; M m = 3; repeated string r = 4; }
"""


def routes_of(*rules: str) -> tuple[list[Route], list[str]]:
    """Routes and faults of a service with one method for each rule text."""
    methods = "".join(
        f"rpc M{i}(M) returns (M) {{ option (google.api.http) = {{ {r} }}; }}" for i, r in enumerate(rules)
    )
    pool = compile_contracts({"t.proto": f"{HEADER} service S {{ {methods} rpc Bare(M) returns (M); }}"})
    routes, faults = collect_routes([pool.FindServiceByName("t.v1.S")], default_method_options)
    return routes, [str(fault) for fault in faults]


def table(*rules: str, **options: bool) -> RouteTable[str]:
    routes, faults = routes_of(*rules)
    assert not faults
    return RouteTable(((route, str(route)) for route in routes), **options)


def found(made: RouteTable[str], cases: Iterable[tuple[str, str]]) -> list[str | None]:
    matches = [made.match(method, path) for method, path in cases]
    return [None if match is None else match[0] for match in matches]


def test_every_binding_of_every_method_with_a_rule_is_a_route() -> None:
    routes, faults = routes_of(
        'get: "/a" additional_bindings { post: "/b" body: "*" } '
        'additional_bindings { custom { kind: "purge" path: "/c" } }',
        'delete: "/d/{a}" response_body: "m"',
    )
    assert faults == []
    assert [(str(r), r.method.name, r.binding, r.body, r.response_body) for r in routes] == [
        ("GET /a", "M0", 0, "", ""),
        ("POST /b", "M0", 1, "*", ""),
        ("PURGE /c", "M0", 2, "", ""),
        ("DELETE /d/{a}", "M1", 0, "", "m"),
    ]


def test_rules_are_read_from_descriptors_of_any_pool() -> None:
    routes, _ = routes_of('get: "/a"')
    rule = http_rule(routes[0].method)
    assert rule is not None
    assert rule.get == "/a"
    assert http_rule(routes[0].method.containing_service.methods_by_name["Bare"]) is None


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ('body: "*"', "no pattern"),
        ('get: "/a" body: "*"', "GET rule has no body"),
        ('custom { kind: "A B" path: "/a" }', "no HTTP method"),
        ('get: "/a/{"', "field path"),
        ('get: "/a" additional_bindings { get: "/b" additional_bindings { get: "/c" } }', "must not nest"),
    ],
)
def test_a_broken_rule_is_a_fault_with_file_method_and_reason(rule: str, reason: str) -> None:
    _, faults = routes_of(rule)
    assert len(faults) == 1
    assert faults[0].startswith("t.proto: t.v1.S.M0: ")
    assert reason in faults[0]


def test_faults_of_options_are_collected_with_those_of_rules() -> None:
    pool = compile_contracts(
        {"t.proto": f'{HEADER} service S {{ rpc A(M) returns (M) {{ option (google.api.http) = {{ get: "x" }}; }} }}'}
    )
    _, faults = collect_routes(
        [pool.FindServiceByName("t.v1.S")], lambda _: MethodOptions(success_code=404, default_timeout=0)
    )
    assert [fault.reason.split(" ")[0] for fault in faults] == ["success_code", "default_timeout", "path"]


def test_a_literal_branch_without_the_method_does_not_hide_a_wildcard_that_has_it() -> None:
    made = table('post: "/v1/search" body: "*"', 'get: "/v1/{a}"')
    assert found(made, [("POST", "/v1/search"), ("GET", "/v1/search"), ("GET", "/v1/x"), ("POST", "/v1/x")]) == [
        "POST /v1/search",
        "GET /v1/{a}",
        "GET /v1/{a}",
        None,
    ]


def test_head_is_answered_from_get_unless_a_rule_is_bound_to_it() -> None:
    made = table('get: "/a"', 'get: "/b"', 'custom { kind: "HEAD" path: "/b" }')
    assert found(made, [("HEAD", "/a"), ("HEAD", "/b")]) == ["GET /a", "HEAD /b"]
    assert found(table('get: "/a"', derive_head=False), [("HEAD", "/a")]) == [None]


def test_a_rule_for_any_method_gives_way_to_one_for_the_method() -> None:
    made = table('custom { kind: "*" path: "/a" }', 'get: "/a"')
    cases = [("GET", "/a"), ("HEAD", "/a"), ("POST", "/a"), ("BREW", "/a")]
    assert found(made, cases) == ["GET /a", "* /a", "* /a", "* /a"]


def test_two_rules_that_match_the_same_requests_are_a_fault_that_names_both() -> None:
    made = table('get: "/v1/{a}/x"', 'get: "/v1/{b}/x"')
    (fault,) = [str(fault) for fault in made.faults]
    assert "t.v1.S.M1: GET /v1/{b}/x" in fault
    assert "GET /v1/{a}/x of t.v1.S.M0" in fault


def test_the_later_of_two_such_rules_wins_where_the_profile_says_so() -> None:
    made = table('get: "/v1/{a}/x"', 'get: "/v1/{b}/x"', last_rule_wins=True)
    assert made.faults == []
    assert found(made, [("GET", "/v1/1/x")]) == ["GET /v1/{b}/x"]


def test_a_rule_that_others_hide_altogether_is_a_fault() -> None:
    made = table('get: "/v1/{a=**}"', 'get: "/v1"', 'get: "/v1/{b}"', 'get: "/v1/{a}/{b=**}"')
    (fault,) = [str(fault) for fault in made.faults]
    assert "t.v1.S.M0: GET /v1/{a=**}: can never be reached" in fault


def test_rules_that_share_some_requests_are_no_fault() -> None:
    made = table('get: "/v1/{a=**}"', 'get: "/v1/{b}"', 'get: "/v1/{a}/x"', 'get: "/v1/y/{b}"', 'get: "/v1/{a}:go"')
    assert made.faults == []


def test_allowed_names_the_methods_of_a_path() -> None:
    made = table('get: "/v1/{a}"', 'delete: "/v1/{a}"', 'post: "/v1/x" body: "*"')
    assert made.allowed("/v1/x") == ["DELETE", "GET", "HEAD", "POST"]
    assert made.allowed("/v1/y") == ["DELETE", "GET", "HEAD"]
    assert made.allowed("/v2") == []


@pytest.mark.parametrize("path", ["/V1/Books/7", "/v1/books/7/", "/V1/BOOKS/7/"])
def test_near_finds_the_route_of_another_case_or_slash(path: str) -> None:
    near = table('get: "/v1/books/{a}"').near(path)
    assert near is not None
    assert str(near) == "GET /v1/books/{a}"


def test_near_finds_nothing_for_another_path() -> None:
    assert table('get: "/v1/books/{a}"').near("/v1/boks/7") is None


def test_whole_paths_are_looked_up_by_method_and_bytes() -> None:
    made = table('get: "/v1/a"', 'get: "/v1/{a}"')
    assert made.static["GET"] == {b"/v1/a": "GET /v1/a"}
    assert made.static["HEAD"] == {b"/v1/a": "GET /v1/a"}
    assert made.static["POST"] == {}
