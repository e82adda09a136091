"""Gaia's own document: what is written by hand agrees with the contracts and with what the edge sends."""

import json
from importlib import resources
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2

from edge.app import PROFILE, services
from edge.docs.document import gaia_document
from edge.docs.errors import ERRORS
from edge.errors import STYLES
from edge.rules import method_options
from edge.transcoding.errors import Code, Status
from edge.transcoding.routes import Route, collect_routes
from shared.rpc.rules import access_of
from tests.support.openapi import faults_of_document, faults_of_examples, faults_of_value, operations


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    found, faults = collect_routes(services(), method_options)
    assert not faults
    return found


@pytest.fixture(scope="module")
def document(routes: list[Route]) -> dict[str, Any]:
    return gaia_document(routes, PROFILE, "1.2.3")


def test_the_document_is_openapi_and_its_examples_fit(document: dict[str, Any]):
    assert faults_of_document(document) == []
    assert faults_of_examples(document) == []


def test_every_route_is_an_operation(document: dict[str, Any], routes: list[Route]):
    documented = {operation["operationId"] for _, _, operation in operations(document)}
    for route in routes:
        method = route.method
        suffix = f"_{route.binding + 1}" if route.binding else ""
        assert f"{method.containing_service.name}_{method.name}{suffix}" in documented


def test_every_operation_has_a_headline_and_says_who_may_call_it(document: dict[str, Any], routes: list[Route]):
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}
    for route in routes:
        operation = by_id[f"{route.method.containing_service.name}_{route.method.name}"]
        assert operation["summary"] != route.method.name, "a method without a comment"
        access = access_of(route.method)
        named = {scope for one in operation["security"] for scopes in one.values() for scope in scopes}
        assert named == access.scopes
        assert bool(operation["security"]) is not access.public
        assert ("401" in operation["responses"]) is not access.public
        for scope in access.scopes:
            assert f"`{scope}`" in operation["description"]


def test_every_parameter_and_every_field_has_a_description(document: dict[str, Any]):
    silent = [
        f"{method} {path}: {parameter['name']}"
        for path, method, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if "description" not in parameter
    ]
    assert silent == []


def test_notes_are_on_methods_that_there_are(routes: list[Route]):
    written = json.loads((resources.files("edge.docs") / "content" / "operations.json").read_text())
    assert set(written) <= {route.method.full_name for route in routes}


def test_the_services_come_before_the_edges_own_pages(document: dict[str, Any]):
    names = [tag["name"] for tag in document["tags"]]
    assert (names[0], names[-1]) == ("ChatService", "Pages")
    assert all(tag["description"] for tag in document["tags"])


def failed(provider: str = "") -> Status:
    """Return a status with all the details that the styles look at."""
    request = error_details_pb2.BadRequest()
    request.field_violations.add(field="model", description="there is no such model")
    info = error_details_pb2.ErrorInfo(reason="PROVIDER_FAILED", metadata={"provider": provider} if provider else {})
    details = []
    for message in (request, info):
        detail = AnyMessage()
        detail.Pack(message)
        details.append(detail)
    return Status(Code.INVALID_ARGUMENT, "there is no such model", tuple(details))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("status", [failed(), failed("openai"), Status(Code.INTERNAL, "internal error")])
def test_what_a_style_writes_is_what_the_document_says(style: str, status: Status):
    described = ERRORS[style]
    components = {"schemas": {described.name: described.schema}}
    media_type, body = STYLES[style].body(status, 400, "r1")
    assert media_type == described.media_type
    assert faults_of_value({"components": components}, described.schema, json.loads(body)) == []
    assert set(json.loads(body)) == set(described.schema["properties"])
    record = json.loads(STYLES[style].record(status, 400, "r1"))
    schema = described.schema if described.record is None else described.record
    assert faults_of_value({"components": components}, schema, record) == []
    assert set(record) <= set(schema["properties"])
