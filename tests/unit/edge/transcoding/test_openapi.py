from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import MethodDescriptor

from edge.transcoding.comments import Comments
from edge.transcoding.openapi import openapi_document
from edge.transcoding.openapi_options import ErrorBody, OpenApiOptions, OperationNotes, no_notes
from edge.transcoding.options import Alternative, Framing, MethodOptions
from edge.transcoding.profile import GRPC_GATEWAY, STRICT, Profile
from edge.transcoding.routes import Route
from tests.support.depot import depot_files, depot_routes
from tests.support.openapi import examples, faults_of_document, faults_of_examples, operations, parameters

OPTIONS = {
    "Ask": MethodOptions(alternative=Alternative(when_field="aloud", method="depot.v1.Depot.AskAloud")),
    "AskAloud": MethodOptions(framing=Framing.SSE, end_marker="[DONE]", error_style="short"),
    "MoveThing": MethodOptions(success_code=201, error_style="short"),
    "DropThing": MethodOptions(success_code=204),
}
SHORT = ErrorBody(
    name="ShortError",
    schema={"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
    example={"error": "no such thing"},
)
KEY = {"type": "apiKey", "in": "header", "name": "X-Key"}


def notes(route: Route) -> OperationNotes:
    if route.method.name == "GetThing":
        return OperationNotes(
            security=[{"Key": ["things:read"]}],
            statuses={404: "There is no such thing"},
            parameters=[{"name": "X-Room", "in": "header", "schema": {"type": "string"}}],
            headers={"ETag": {"schema": {"type": "string"}}},
            reply_example={"name": "rooms/1/things/2"},
        )
    if route.method.name == "ReadFile":
        return OperationNotes(security=[], reply={"text/plain": {"schema": {"type": "string"}}})
    return OperationNotes()


def document(profile: Profile = STRICT, **more: Any) -> dict[str, Any]:
    def options_of(method: MethodDescriptor) -> MethodOptions:
        return OPTIONS.get(method.name, MethodOptions())

    options = OpenApiOptions(
        title="Depot",
        version="3",
        comments=Comments.of_descriptor_set(depot_files()),
        errors={"short": SHORT},
        components={"securitySchemes": {"Key": KEY}},
        **{"notes": notes, **more},
    )
    return openapi_document(depot_routes(OPTIONS), options, profile=profile, method_options=options_of)


@pytest.fixture(scope="module")
def strict() -> dict[str, Any]:
    return document()


def content(document: dict[str, Any], path: str, method: str, code: str = "200") -> dict[str, Any]:
    return document["paths"][path][method]["responses"][code].get("content", {})


@pytest.mark.parametrize("profile", [STRICT, GRPC_GATEWAY], ids=["strict", "grpc-gateway"])
def test_the_document_is_openapi_and_its_examples_fit(profile: Profile):
    made = document(profile, notes=no_notes)
    assert faults_of_document(made) == []
    assert len(list(examples(made))) > 10
    assert faults_of_examples(made) == []


def test_the_document_can_be_written_as_json(strict: dict[str, Any]):
    assert orjson.loads(orjson.dumps(strict)) == strict


def test_every_operation_has_an_id_of_its_own(strict: dict[str, Any]):
    ids = [operation["operationId"] for _, _, operation in operations(strict)]
    assert len(set(ids)) == len(ids)
    assert {"Depot_GetThing", "Depot_GetThing_2"} <= set(ids)


def test_comments_are_headlines_and_descriptions(strict: dict[str, Any]):
    operation = strict["paths"]["/v1/things/{name}"]["get"]
    assert (operation["summary"], operation["description"]) == ("Returns a thing", "NOT_FOUND where there is none.")
    assert strict["tags"] == [{"name": "Depot", "description": "Keeps things in rooms. A room holds what fits."}]
    assert strict["paths"]["/v1/things"]["get"]["summary"] == "ListThings"


def test_a_path_parameter_tells_what_it_is_a_part_of(strict: dict[str, Any]):
    operation = strict["paths"]["/v1/rooms/{rooms_id}/things/{things_id}"]["get"]
    text = "Part of `name`, which has the form `rooms/*/things/*`. Name of the thing."
    assert parameters(operation, "path")["rooms_id"] == {
        "name": "rooms_id",
        "in": "path",
        "required": True,
        "description": text,
        "schema": {"type": "string"},
    }


def test_query_parameters_are_the_fields_that_a_query_can_set(strict: dict[str, Any]):
    found = parameters(strict["paths"]["/v1/things"]["get"], "query")
    # Messages in lists and Any have no text form; `filter.not` is a filter again.
    assert list(found) == [
        *("page_size", "filter.tags", "filter.since", "conditions", "labels", "where"),
        *("is_new", "room", "sort", "age", "grams"),
    ]
    assert found["filter.tags"]["description"] == "Only these."
    assert found["conditions"]["schema"] == {"type": "array", "items": {"$ref": "#/components/schemas/Condition"}}
    assert (found["labels"]["style"], found["labels"]["explode"]) == ("deepObject", True)
    assert found["where"]["content"]["application/json"]["schema"]["type"] == "object"
    assert found["is_new"]["schema"] == {"type": "boolean"}
    assert found["room"]["required"] is True
    assert found["sort"]["deprecated"] is True
    assert found["grams"]["schema"]["format"] == "int64"


def test_the_fields_beside_a_body_are_query_parameters(strict: dict[str, Any]):
    patch = strict["paths"]["/v1/things/{name}"]["patch"]
    assert list(parameters(patch, "query")) == ["update_mask"]
    assert list(parameters(patch, "path")) == ["name"]


def test_what_the_path_captures_is_not_asked_for_in_the_body(strict: dict[str, Any]):
    move = strict["paths"]["/v1/rooms/{rooms_id}/things/{things_id}:move"]["post"]
    body = move["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/MoveThingBody"}
    assert list(strict["components"]["schemas"]["MoveThingBody"]["properties"]) == ["room"]
    patch = strict["paths"]["/v1/things/{name}"]["patch"]
    assert patch["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/UpdateThingBody")
    assert "name" not in strict["components"]["schemas"]["UpdateThingBody"]["properties"]


def test_a_type_has_a_form_of_its_own_for_requests_only_where_they_differ():
    emitting = document(Profile(emit_defaults=True))
    schemas = emitting["components"]["schemas"]
    assert {"Thing", "ThingInput", "Thing_Size", "Thing_SizeInput"} <= schemas.keys()
    assert "required" not in schemas["ThingInput"]
    assert not {"ConditionInput", "EmptyInput"} & schemas.keys()


def test_a_whole_body_may_be_a_form(strict: dict[str, Any]):
    forms = strict["paths"]["/v1/ask"]["post"]["requestBody"]["content"]
    assert list(forms) == ["application/json", "application/x-www-form-urlencoded"]
    assert forms["application/x-www-form-urlencoded"]["schema"] == {"$ref": "#/components/schemas/AskRequest"}


def test_a_form_names_nested_fields_with_dots_and_takes_files(strict: dict[str, Any]):
    forms = strict["paths"]["/v1/pictures"]["post"]["requestBody"]["content"]
    form = forms["application/x-www-form-urlencoded"]
    assert list(form["schema"]["properties"]) == ["title", "data", "size.width", "size.height", "labels"]
    assert form["encoding"] == {"labels": {"style": "deepObject", "explode": True}}
    part = forms["multipart/form-data"]["schema"]["properties"]["data"]
    assert part == {"type": "string", "format": "binary", "description": "The picture itself."}


def test_an_http_body_is_bytes_both_ways(strict: dict[str, Any]):
    binary = {"schema": {"type": "string", "format": "binary"}}
    put = strict["paths"]["/v1/files/{path}"]["put"]
    assert put["requestBody"]["content"]["application/octet-stream"] == binary
    form = put["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert (form["file"], form["note"]) == (binary["schema"], {"type": "string"})
    assert list(parameters(put, "query")) == ["note"]


def test_a_download_can_be_asked_for_in_parts(strict: dict[str, Any]):
    operation = strict["paths"]["/v1/files/{path}"]["get"]
    assert "Range" in parameters(operation, "header")
    assert {"200", "206", "416"} <= operation["responses"].keys()
    assert operation["responses"]["206"]["content"] == {"text/plain": {}}
    assert "206" not in document(GRPC_GATEWAY)["paths"]["/v1/files/{path}"]["get"]["responses"]


def test_a_stream_has_the_framings_that_accept_chooses_from(strict: dict[str, Any]):
    forms = content(strict, "/v1/things:watch", "get")
    thing, failed = {"$ref": "#/components/schemas/Thing"}, {"$ref": "#/components/schemas/StatusRecord"}
    assert forms["application/x-ndjson"]["schema"] == {"anyOf": [thing, failed]}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": [thing, failed]}}
    event = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    assert forms["text/event-stream"]["schema"] == event
    assert forms["application/json"]["schema"] == {"type": "array", "items": thing}


def test_the_example_of_a_stream_is_its_text(strict: dict[str, Any]):
    assert (
        content(strict, "/v1/ask", "post")["text/event-stream"]["example"]
        == 'data: {"text":"text"}\n\ndata: [DONE]\n\n'
    )
    lines = content(strict, "/v1/things:watch", "get")["application/x-ndjson"]["example"]
    assert lines.startswith('{"name":"name"')
    assert lines.endswith("}\n")


def test_errors_in_streams_are_described_where_there_are_streams():
    only = [route for route in depot_routes() if route.method.name == "GetThing"]
    made = openapi_document(only, OpenApiOptions(title="Depot", version="3"))
    assert "StatusRecord" not in made["components"]["schemas"]


def test_an_enveloped_stream_is_described_as_lines():
    schema = content(document(GRPC_GATEWAY), "/v1/things:watch", "get")["application/json"]["schema"]
    assert [list(kind["properties"]) for kind in schema["anyOf"]] == [["result"], ["error"]]


def test_a_streamed_request_is_lines_or_an_array(strict: dict[str, Any]):
    body = strict["paths"]["/v1/things:collect"]["post"]["requestBody"]["content"]
    assert body["application/x-ndjson"]["schema"] == {"$ref": "#/components/schemas/ThingInput"}
    assert body["application/json"]["schema"]["items"] == {"$ref": "#/components/schemas/ThingInput"}


def test_an_alternative_is_one_more_form_of_the_answer(strict: dict[str, Any]):
    response = strict["paths"]["/v1/ask"]["post"]["responses"]["200"]
    assert set(response["content"]) == {"application/json", "text/event-stream"}
    assert response["description"] == (
        "OK. Where `aloud` is true, a stream instead: "
        "`text/event-stream`, a message an event, and `data: [DONE]` at the end"
    )


def test_the_end_marker_of_a_stream_is_an_event_too(strict: dict[str, Any]):
    data = content(strict, "/v1/ask", "post")["text/event-stream"]["schema"]["properties"]["data"]
    assert data["anyOf"][0] == {"const": "[DONE]"}
    assert data["anyOf"][1]["contentSchema"]["anyOf"][0] == {"$ref": "#/components/schemas/Answer"}


def test_failures_of_an_alternative_have_its_style(strict: dict[str, Any]):
    schema = content(strict, "/v1/ask", "post", "default")["application/json"]["schema"]
    assert schema == {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Status", "ShortError")]}


def test_success_codes_are_those_of_the_options(strict: dict[str, Any]):
    assert "201" in strict["paths"]["/v1/rooms/{rooms_id}/things/{things_id}:move"]["post"]["responses"]
    assert strict["paths"]["/v1/things/{name}"]["delete"]["responses"]["204"] == {"description": "No Content"}


def test_response_body_is_what_is_answered(strict: dict[str, Any]):
    schema = content(strict, "/v1/things/{name}", "patch")["application/json"]["schema"]
    assert schema["$ref"].endswith("/Thing")


def test_errors_have_the_shape_of_their_style(strict: dict[str, Any]):
    usual = content(strict, "/v1/things", "get", "default")["application/json"]["schema"]
    assert usual == {"$ref": "#/components/schemas/Status"}
    for code, example in (("400", {}), ("default", {"example": {"error": "no such thing"}})):
        short = content(strict, "/v1/rooms/{rooms_id}/things/{things_id}:move", "post", code)["application/json"]
        assert short == {"schema": {"$ref": "#/components/schemas/ShortError"}, **example}
    assert "Problem" not in strict["components"]["schemas"]


def test_a_route_without_input_cannot_be_called_wrongly(strict: dict[str, Any]):
    assert "400" not in strict["paths"]["/v1/things:any"]["get"]["responses"]


def test_notes_of_the_embedder_are_in_the_operation(strict: dict[str, Any]):
    operation = strict["paths"]["/v1/things/{name}"]["get"]
    assert operation["security"] == [{"Key": ["things:read"]}]
    assert operation["responses"]["404"]["description"] == "There is no such thing"
    assert list(parameters(operation, "header")) == ["X-Room"]
    assert ["headers" in response for response in operation["responses"].values()] == [True, False, False, False]
    assert content(strict, "/v1/things/{name}", "get")["application/json"]["example"] == {"name": "rooms/1/things/2"}
    read = strict["paths"]["/v1/files/{path}"]["get"]
    assert read["security"] == []
    assert list(read["responses"]["200"]["content"]) == ["text/plain"]
    assert "security" not in strict["paths"]["/v1/things"]["get"]
    assert strict["components"]["securitySchemes"] == {"Key": KEY}


def test_a_method_that_openapi_does_not_know_stands_beside_the_others(strict: dict[str, Any]):
    operation = strict["paths"]["/v1/things"]["x-additionalOperations"]["PURGE"]
    assert (operation["operationId"], operation["deprecated"]) == ("Depot_Purge", True)


def test_what_the_embedder_serves_itself_comes_first():
    page = {"get": {"operationId": "health", "responses": {"200": {"description": "OK"}}}}
    made = document(
        paths={"/health": page}, tags=[{"name": "Pages"}], description="Things.", servers=["https://depot.example/api"]
    )
    assert next(iter(made["paths"])) == "/health"
    assert made["tags"][0] == {"name": "Pages"}
    assert made["info"] == {"title": "Depot", "version": "3", "description": "Things."}
    assert made["servers"] == [{"url": "https://depot.example/api"}]
    assert faults_of_document(made) == []
