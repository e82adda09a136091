"""What contracts demand of values, seen in the request that has all kinds of rules."""

import pytest

from edge.transcoding.codec import JsonOptions
from edge.transcoding.comments import Comments
from edge.transcoding.openapi_components import JsonSchema, Use
from edge.transcoding.openapi_examples import Examples
from edge.transcoding.openapi_schemas import Schemas
from edge.transcoding.schema import Schema
from tests.support.depot import depot_service
from tests.support.openapi import faults_of_value

GOOD = {"code": "AB", "mail": "a@b.c", "title": "t", "road": "r", "tags": ["a"], "stock": {"a": 1}}


@pytest.fixture(scope="module")
def components() -> dict[str, JsonSchema]:
    schemas = Schemas(JsonOptions(), Comments())
    schemas.message(Schema().message(depot_service().file.pool.FindMessageTypeByName("depot.v1.Rules")), Use.REQUEST)
    return schemas.named(())


def accepts(components: dict[str, JsonSchema], value: object) -> bool:
    return not faults_of_value({"components": {"schemas": components}}, components["Rules"], value)


def test_a_request_that_keeps_the_rules_fits(components: dict[str, JsonSchema]):
    assert accepts(components, GOOD)


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "A"},
        {"code": "ABCDEF"},
        {"code": "ab"},
        {"short": "four"},
        {"title": ""},
        {"path": "/b.z"},
        {"path": "/axz"},
        {"path": "/a.y"},
        {"size": "l"},
        {"percent": 101},
        {"percent": -1},
        {"ratio": 0},
        {"ratio": 1},
        {"tags": []},
        {"tags": ["a", "b", "c", "d"]},
        {"tags": ["a", "a"]},
        {"tags": [""]},
        {"stock": {}},
        {"stock": {"a": 0}},
        {"stock": {"ninechars": 1}},
        {"condition": "CONDITION_UNSPECIFIED"},
        {"agreed": False},
        {"rail": "r"},
    ],
    ids=str,
)
def test_a_request_that_breaks_a_rule_does_not_fit(components: dict[str, JsonSchema], wrong: dict[str, object]):
    assert not accepts(components, {**GOOD, **wrong})


@pytest.mark.parametrize("missing", [["mail"], ["title"], ["code"], ["road"]], ids=str)
def test_a_request_that_lacks_what_is_required_does_not_fit(components: dict[str, JsonSchema], missing: list[str]):
    assert not accepts(components, {name: value for name, value in GOOD.items() if name not in missing})


@pytest.mark.parametrize("other", [{"short": "abc"}, {"path": "/a.z"}, {"outside": 3}, {"outside": 12}, {"perl": "X"}])
def test_a_rule_that_json_schema_cannot_say_is_left_to_the_service(
    components: dict[str, JsonSchema], other: dict[str, object]
):
    assert accepts(components, {**GOOD, **other})


def test_a_format_is_named(components: dict[str, JsonSchema]):
    assert components["Rules"]["properties"]["mail"]["format"] == "email"


def test_an_example_keeps_the_rules(components: dict[str, JsonSchema]):
    assert accepts(components, Examples(components).of(components["Rules"]))
