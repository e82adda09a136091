from pathlib import Path

import pytest

from shared.db.queries import load_queries


def test_queries_are_found_by_name(tmp_path: Path):
    file = tmp_path / "queries.sql"
    file.write_text("-- name: one\n-- Returns one.\nSELECT 1;\n\n-- name: two\n-- Returns\n-- two.\nSELECT 2\n")
    assert dict(load_queries(file)) == {"one": "SELECT 1", "two": "-- two.\nSELECT 2"}


@pytest.mark.parametrize(
    "text",
    [
        "-- name: one\nSELECT 1;",
        "-- name: one\n-- Returns one.\nSELECT 1;\n-- name: one\n-- Returns one.\nSELECT 1;",
        "-- name: One\n-- Returns one.\nSELECT 1;",
    ],
)
def test_a_query_without_comment_or_with_a_name_that_is_taken_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "queries.sql"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"queries\.sql"):
        load_queries(file)
