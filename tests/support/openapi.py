"""OpenAPI documents as tests look at them: found by path and method, and held to their schemas."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def faults_of_document(document: Mapping[str, Any]) -> list[str]:
    """Return what keeps a document from being OpenAPI 3.1."""
    # As a client reads it: what only Python tells apart, such as shared dicts, is gone.
    read = json.loads(json.dumps(document))
    return [
        f"{'/'.join(map(str, error.path))}: {error.message}" for error in OpenAPIV31SpecValidator(read).iter_errors()
    ]


def faults_of_value(document: Mapping[str, Any], schema: Mapping[str, Any], value: object) -> list[str]:
    """Return where a value breaks a schema of a document."""
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(value)]


def faults_of_body(document: Mapping[str, Any], media_type: str, schema: Mapping[str, Any], body: Any) -> list[str]:
    """Return where a body breaks the schema of its media type: JSON as a value, a stream as its text."""
    if media_type == "text/event-stream":
        return _faults_of_events(document, schema["properties"]["data"], body)
    if media_type == "application/x-ndjson":
        lines = body.splitlines()
        return [fault for line in lines for fault in faults_of_value(document, schema, json.loads(line))]
    return faults_of_value(document, schema, body)


def _faults_of_events(document: Mapping[str, Any], data: Mapping[str, Any], text: str) -> list[str]:
    choices = data.get("anyOf", [data])
    ends = [choice["const"] for choice in choices if "const" in choice]
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if not events:
        return ["a stream without events"]
    if ends and events.pop() not in ends:
        return ["a stream without its end"]
    schema = choices[-1]["contentSchema"]
    return [fault for event in events for fault in faults_of_value(document, schema, json.loads(event))]


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def faults_of_examples(document: Mapping[str, Any]) -> list[str]:
    """Return where examples of bodies break their schemas."""
    return [
        f"{place}: {fault}"
        for place, media_type, media in examples(document)
        for fault in faults_of_body(document, media_type, media["schema"], media["example"])
    ]


def examples(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield where each example of a body stands, its media type, and the object that holds it and its schema."""
    for path, method, operation in operations(document):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for name, body in bodies.items():
            for media_type, media in body.get("content", {}).items():
                if "example" in media:
                    yield f"{method} {path} {name} {media_type}", media_type, media


def parameters(operation: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of an operation that stand in `where`, by name."""
    return {p["name"]: p for p in operation.get("parameters", []) if p["in"] == where}
