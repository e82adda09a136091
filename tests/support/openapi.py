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


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def examples(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield where each example of a body stands, its schema, and the example."""
    for path, method, operation in operations(document):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for name, body in bodies.items():
            for media_type, media in body.get("content", {}).items():
                if "example" in media:
                    yield f"{method} {path} {name} {media_type}", media["schema"], media["example"]


def parameters(operation: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of an operation that stand in `where`, by name."""
    return {p["name"]: p for p in operation.get("parameters", []) if p["in"] == where}
