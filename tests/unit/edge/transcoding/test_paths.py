"""Behaviour of edge/transcoding/paths.py."""

import pytest

from edge.transcoding.paths import PathError, PathTable
from edge.transcoding.template import parse_template


def table(*sources: str, trailing_slash: bool = False) -> PathTable[str]:
    made: PathTable[str] = PathTable()
    for source in sources:
        made.add(parse_template(source), source, trailing_slash=trailing_slash)
    return made


def match(made: PathTable[str], path: str) -> tuple[str, list[str]] | None:
    found = made.match(path)
    return None if found is None else (found[0], list(found[1]))


@pytest.mark.parametrize(
    ("sources", "path", "winner", "captures"),
    [
        (["/v1/{id}", "/v1/me"], "/v1/me", "/v1/me", []),
        (["/v1/{id}", "/v1/me"], "/v1/you", "/v1/{id}", ["you"]),
        (["/v1/{id=**}", "/v1/{id}"], "/v1/a", "/v1/{id}", ["a"]),
        (["/v1/{id=**}", "/v1/{id}"], "/v1/a/b", "/v1/{id=**}", ["a/b"]),
        (["/v1/{id=**}"], "/v1", "/v1/{id=**}", [""]),
        (["/v1/{id=**}", "/v1/{id=**}/x", "/v1/{id=**}/x/{y}"], "/v1/a/b/x", "/v1/{id=**}/x", ["a/b"]),
        (["/v1/{id=**}", "/v1/{id=**}/x", "/v1/{id=**}/x/{y}"], "/v1/a/x/c", "/v1/{id=**}/x/{y}", ["a", "c"]),
        (["/v1/{a}/b/c", "/v1/x/{b}/d"], "/v1/x/b/c", "/v1/{a}/b/c", ["x"]),
        (["/v1/{n={s}/books/*}"], "/v1/s1/books/b1", "/v1/{n={s}/books/*}", ["s1/books/b1", "s1"]),
        (["/{a=**}/x/{b=y/*}"], "/1/2/x/y/3", "/{a=**}/x/{b=y/*}", ["1/2", "y/3"]),
        (["/"], "/", "/", []),
    ],
)
def test_the_most_specific_template_wins(sources: list[str], path: str, winner: str, captures: list[str]) -> None:
    assert match(table(*sources), path) == (winner, captures)
    assert match(table(*reversed(sources)), path) == (winner, captures)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/jobs/7:cancel", ("/v1/jobs/{id}:cancel", ["7"])),
        ("/v1/jobs/7:pause", ("/v1/jobs/{id}", ["7:pause"])),
        ("/v1/jobs/a:b:cancel", ("/v1/jobs/{id}:cancel", ["a:b"])),
        ("/v1/jobs/7:now:cancel", ("/v1/jobs/{id}:now:cancel", ["7"])),
        ("/v1/jobs/7%3Acancel", ("/v1/jobs/{id}", ["7:cancel"])),
        ("/v1/jobs/7:", ("/v1/jobs/{id}", ["7:"])),
        ("/v1/jobs/:cancel", ("/v1/jobs/{id}", [":cancel"])),
    ],
)
def test_a_colon_ends_the_last_segment_only_before_a_registered_verb(
    path: str, expected: tuple[str, list[str]]
) -> None:
    made = table("/v1/jobs/{id}", "/v1/jobs/{id}:cancel", "/v1/jobs/{id}:now:cancel")
    assert match(made, path) == expected


@pytest.mark.parametrize(
    ("source", "path", "capture"),
    [
        ("/v1/{a}", "/v1/x%2Fy", "x/y"),
        ("/v1/{a}", "/v1/%E2%82%AC%20", "€ "),
        ("/v1/{a}", "/v1/a+b", "a+b"),
        ("/v1/{a=**}", "/v1/x%2Fy/z", "x%2Fy/z"),
        ("/v1/{a=**}", "/v1/%E2%82%AC%20/%3F%23", "€ /%3F%23"),
        ("/v1/{a=x/*}", "/v1/x/%2f", "x/%2f"),
        ("/v1/{a=x/*}", "/v1/%78/b", "x/b"),
    ],
)
def test_captures_are_percent_decoded_and_several_segments_keep_what_is_reserved(
    source: str, path: str, capture: str
) -> None:
    assert match(table(source), path) == (source, [capture])


def test_literals_match_whatever_way_they_are_encoded() -> None:
    assert match(table("/v1/caf%C3%A9"), "/v1/c%61f%c3%a9") == ("/v1/caf%C3%A9", [])


@pytest.mark.parametrize("path", ["/v1/a/", "/v1//a", "/V1/a", "/v1/a/b", "/v1", "/"])
def test_no_path_matches_with_another_slash_or_case(path: str) -> None:
    assert match(table("/v1/{a}"), path) is None


def test_a_single_wildcard_needs_a_text() -> None:
    assert match(table("/v1/{a}/b"), "/v1//b") is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models", ("/v1/models", [])),
        ("/v1/models/", ("/v1/models", [])),
        ("/v1/models/a/b", ("/v1/models/{id=**}", ["a/b"])),
        ("/v1/models/a/b/", ("/v1/models/{id=**}", ["a/b"])),
        ("/v1/jobs/7:cancel/", ("/v1/jobs/{id}:cancel", ["7"])),
        ("/v1/models//", ("/v1/models/{id=**}", [""])),
    ],
)
def test_the_option_takes_both_slash_forms_and_captures_the_same(path: str, expected: tuple[str, list[str]]) -> None:
    made = table("/v1/models", "/v1/models/{id=**}", "/v1/jobs/{id}:cancel", trailing_slash=True)
    assert match(made, path) == expected


def test_whole_paths_without_variables_are_found_at_once() -> None:
    made = table("/v1/a", "/v1/b:go", "/v1/{x}", trailing_slash=True)
    assert made.static == {
        b"/v1/a": "/v1/a",
        b"/v1/a/": "/v1/a",
        b"/v1/b:go": "/v1/b:go",
        b"/v1/b:go/": "/v1/b:go",
    }


def test_the_lower_rank_stays_and_among_equals_the_newer() -> None:
    made: PathTable[str] = PathTable()
    assert made.add(parse_template("/a"), "any", rank=1) is None
    assert made.add(parse_template("/a"), "exact") == "any"
    assert made.add(parse_template("/a"), "derived", rank=2) == "derived"
    assert made.add(parse_template("/a"), "newer") == "exact"
    assert match(made, "/a") == ("newer", [])
    assert made.static == {b"/a": "newer"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v1/%zz", "two hexadecimal digits at character 4"),
        ("/v1/%a", "two hexadecimal digits"),
        ("/v1/%ff", "not UTF-8"),
        ("/v1/é", "must be ASCII"),
        ("/v1/./a", '"." or ".."'),
        ("/v1/..", '"." or ".."'),
        ("/v1/%2e%2E/a", '"." or ".."'),
        ("/v1/a%2f..%2fb", '"." or ".."'),
    ],
)
def test_malformed_and_dotted_paths_are_refused_by_name(path: str, reason: str) -> None:
    with pytest.raises(PathError) as caught:
        table("/v1/{a=**}").check(path)
    assert reason in str(caught.value)


@pytest.mark.parametrize("path", ["/v1/...", "/v1/.well-known/x", "/v1/a..b", "/v1/%2520"])
def test_dots_inside_a_segment_are_fine(path: str) -> None:
    table("/v1/{a=**}").check(path)


def test_dot_segments_pass_where_the_profile_lets_them() -> None:
    made: PathTable[str] = PathTable(reject_dot_segments=False)
    made.add(parse_template("/v1/{a=**}"), "x")
    made.check("/v1/../b")
    assert match(made, "/v1/../b") == ("x", ["../b"])


def test_a_path_of_thousands_of_segments_costs_no_recursion() -> None:
    made = table("/v1/{a=**}/end", "/v1/{a}/{b}/{c}")
    assert match(made, "/v1" + "/x" * 20_000) is None
