import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from edge.transcoding.comments import Comments, split_summary
from tests.support.depot import compile_folder, depot_files

CONTRACT = """syntax = "proto3";
package c;
// One line.
message A {
  // Wrapped
  // over lines.
  string a = 1;
  string b = 2; // Behind it.
  // Members:
  //
  // - the first
  //   of them
  // - the second
  oneof c { string d = 3; }
  // Within.
  message B {
    // Deep.
    enum E {
      // Nothing.
      E_ZERO = 0;
    }
  }
  // As code:
  //
  //     x = 1
  //     y = 2
  string e = 4;
  // Seen by all.
  // (-- Seen by
  // few. --)
  // buf:lint:ignore FIELD_LOWER_SNAKE_CASE
  string f = 5;
}
"""


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> Comments:
    folder = tmp_path_factory.mktemp("comments")
    (folder / "c.proto").write_text(CONTRACT)
    return Comments.of_descriptor_set(compile_folder(folder, "c.proto"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.A", "One line."),
        ("c.A.a", "Wrapped over lines."),
        ("c.A.b", "Behind it."),
        ("c.A.c", "Members:\n\n- the first of them\n- the second"),
        ("c.A.B", "Within."),
        ("c.A.B.E", "Deep."),
        ("c.A.B.E.E_ZERO", "Nothing."),
        ("c.A.e", "As code:\n\n    x = 1\n    y = 2"),
        ("c.A.f", "Seen by all."),
        ("c.A.d", ""),
        ("c.Nothing", ""),
    ],
)
def test_a_comment_is_found_by_full_name_as_markdown(comments: Comments, name: str, text: str):
    assert comments.of(name) == text


def test_services_and_methods_have_comments_too():
    comments = Comments.of_descriptor_set(depot_files())
    assert comments.of("depot.v1.Depot").startswith("Keeps things in rooms. A room holds")
    assert comments.of("depot.v1.Depot.GetThing") == "Returns a thing. NOT_FOUND where there is none."


def test_files_without_source_information_have_no_comments():
    files = FileDescriptorSet.FromString(depot_files())
    for file in files.file:
        file.ClearField("source_code_info")
    assert Comments.of_descriptor_set(files.SerializeToString()).of("depot.v1.Depot") == ""


@pytest.mark.parametrize(
    ("text", "summary", "rest"),
    [
        ("", "", ""),
        ("Gets it.", "Gets it", ""),
        ("Gets it", "Gets it", ""),
        ("Gets `it`.", "Gets it", ""),
        ("Gets it. It may be old.", "Gets it", "It may be old."),
        ("Gets e.g. a thing. Then more.", "Gets e.g. a thing", "Then more."),
        ("Gets it.\n\n- one\n- two", "Gets it", "- one\n- two"),
        ("Gets it: " + "very " * 30 + "well.", "Gets it", "Gets it: " + "very " * 30 + "well."),
        ("Gets it, " + "very " * 30 + "well.", "Gets it", "Gets it, " + "very " * 30 + "well."),
    ],
)
def test_the_first_sentence_is_the_headline(text: str, summary: str, rest: str):
    assert split_summary(text) == (summary, rest)
