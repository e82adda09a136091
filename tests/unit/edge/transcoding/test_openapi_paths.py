import pytest
from google.protobuf.descriptor import MethodDescriptor

from edge.transcoding.openapi_paths import Placed, place
from edge.transcoding.options import MethodOptions
from edge.transcoding.routes import Route
from edge.transcoding.template import parse_template
from tests.support.depot import depot_service


def route(rule: str, body: str = "") -> Route:
    http_method, _, path = rule.partition(" ")
    method: MethodDescriptor = depot_service().methods[0]
    return Route(http_method, parse_template(path), method, MethodOptions(), body)


def placed(*rules: str) -> list[Placed]:
    return place([route(rule) for rule in rules])


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("GET /", "/"),
        ("GET /v1/things", "/v1/things"),
        ("GET /v1/things/{name}", "/v1/things/{name}"),
        ("GET /v1/things/{thing.name}:move", "/v1/things/{thing.name}:move"),
        ("GET /v1/{name=rooms/*/things/*}", "/v1/rooms/{rooms_id}/things/{things_id}"),
        ("GET /v1/{parent={room}/*}/things", "/v1/{room}/{any}/things"),
        ("GET /v1/{a=x/*/x/*}", "/v1/x/{x_id}/x/{x_id_2}"),
        ("GET /v1/*/things", "/v1/{v1_id}/things"),
        ("GET /v1/files/{path=**}", "/v1/files/{path}"),
        ("GET /v1/{path=files/**}", "/v1/files/{files_id}"),
        ("GET /v1/{a=a b/*}", "/v1/a%20b/{a_b_id}"),
    ],
)
def test_every_wildcard_is_a_parameter_of_its_own(rule: str, path: str):
    assert [one.path for one in placed(rule)] == [path]


def test_a_wildcard_knows_what_it_captures():
    (one,) = placed("GET /v1/{name=rooms/*}/{path=**}")
    room, path = one.wildcards
    assert (room.field_path, room.is_whole, room.is_deep) == ("name", False, False)
    assert (path.field_path, path.is_whole, path.is_deep) == ("path", True, True)


def test_paths_that_differ_in_names_only_are_one_path_with_the_shortest():
    found = placed("PATCH /v1/things/{thing.name}", "GET /v1/things/{name}", "DELETE /v1/things/{thing_name}")
    assert {one.path for one in found} == {"/v1/things/{name}"}
    assert [one.wildcards[0].field_path for one in found] == ["thing.name", "name", "thing_name"]


def test_one_segment_and_any_number_of_them_are_kept_apart():
    assert [one.path for one in placed("GET /v1/{name}", "GET /v1/{path=**}")] == ["/v1/{name}", "/v1/{name_}"]


def test_a_route_for_any_method_takes_a_free_one():
    any_with_body = place([route("* /v1/a", "*")])
    assert [one.method for one in any_with_body] == ["post"]
    assert [one.method for one in placed("GET /v1/a", "* /v1/a")] == ["get", "post"]


def test_the_last_of_two_rules_for_the_same_requests_is_the_one_that_is_documented():
    first, second = route("GET /v1/{a}"), route("GET /v1/{b}")
    assert [one.route for one in place([first, second])] == [second]


def test_a_method_that_openapi_does_not_know_is_told_apart():
    assert [one.is_standard for one in placed("PURGE /v1/a", "GET /v1/a")] == [False, True]
