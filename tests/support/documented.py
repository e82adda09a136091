"""Calls every operation of an OpenAPI document once, as its examples say, and holds the answers to the document."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.openapi import METHODS, faults_of_body

_VARIABLE = re.compile(r"/\{[^}]+\}")
_JSON = "application/json"
_FORM = "multipart/form-data"
_RECORDING = ("recording.wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64), "audio/wav")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered, and what is wrong with that; `schema` is the component that its body has, if any."""

    operation: str
    response: httpx.Response
    faults: list[str]
    schema: str = ""

    def __str__(self) -> str:
        """Show the answer, for a failing test's report."""
        return f"{self.operation}: {self.response.status_code} {self.response.text[:300]}: {self.faults}"


class Stranger:
    """Somebody who has the document, a key, and nothing else.

    Ids in paths are those of things that were made or listed a moment ago, at the path before the id.
    """

    def __init__(self, document: Mapping[str, Any], http: httpx.AsyncClient, key: str) -> None:
        self._document = document
        self._http = http
        self._headers = {"x-api-key": key}

    async def call(self, path: str, method: str) -> Answer:
        """Calls an operation as it is meant to be called."""
        operation = self._document["paths"][path][method]
        response = await self._send(path, method, await self._filled(path))
        faults, schema = self._judged(operation, response)
        return Answer(f"{method.upper()} {path}", response, faults, schema)

    async def _send(self, path: str, method: str, url: str) -> httpx.Response:
        operation = self._document["paths"][path][method]
        query = {
            parameter["name"]: parameter["example"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "query" and "example" in parameter
        }
        content = operation.get("requestBody", {}).get("content", {})
        if _FORM in content and _JSON not in content:
            schema = content[_FORM]["schema"]
            files = {name: _RECORDING for name, one in schema["properties"].items() if one.get("format") == "binary"}
            return await self._http.request(method, url, params=query, files=files, headers=self._headers)
        body = content.get(_JSON, {}).get("example")
        return await self._http.request(method, url, params=query, json=_fresh(body), headers=self._headers)

    async def _filled(self, path: str) -> str:
        """Returns a path with an id of something that is there."""
        variable = _VARIABLE.search(path)
        if variable is None:
            return path
        collection = path[: variable.start()]
        item = self._document["paths"].get(collection, {})
        for method in ("post", "get"):
            if method in item:
                made = await self._send(collection, method, collection)
                found = _id_in(made.json()) if made.is_success else None
                if found is not None:
                    return path.replace(variable.group(), f"/{found}")
        raise AssertionError(f"{path}: neither POST nor GET {collection} gives an id to use here")

    def _judged(self, operation: Mapping[str, Any], response: httpx.Response) -> tuple[list[str], str]:
        documented = operation["responses"].get(str(response.status_code))
        if documented is None:
            return [f"status {response.status_code} is not documented"], ""
        content = documented.get("content")
        if content is None:
            return (["a body that is not documented"] if response.content else []), ""
        media_type = response.headers.get("content-type", "").partition(";")[0]
        media = content.get(media_type) or content.get("*/*")
        if media is None:
            return [f"{media_type} is not documented"], ""
        schema = media.get("schema", {})
        body = response.json() if media_type == _JSON else response.text
        known = media_type in (_JSON, "text/event-stream", "application/x-ndjson")
        found = faults_of_body(self._document, media_type, schema, body) if known else []
        return found, schema.get("$ref", "").rpartition("/")[2] if media_type == _JSON else ""


def in_order(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return paths and methods in an order in which all can succeed: what makes things first, what deletes last."""
    found = [(path, method) for path, item in document["paths"].items() for method in METHODS if method in item]
    return sorted(found, key=lambda one: (one[1] == "delete", _VARIABLE.search(one[0]) is not None, one[1] != "post"))


def _id_in(reply: Any) -> str | None:
    """Return the id of the first thing that a reply holds."""
    if isinstance(reply, list):
        return _id_in(reply[0]) if reply else None
    if not isinstance(reply, dict):
        return None
    if isinstance(reply.get("id"), str):
        return str(reply["id"])
    return next((found for value in reply.values() if (found := _id_in(value)) is not None), None)


def _fresh(body: Any) -> Any:
    """Return an example body with names that nobody has yet, where there may be one of each only."""
    if not isinstance(body, dict):
        return body
    unique = uuid.uuid4().hex[:8]
    made = dict(body)
    if "email" in made:
        made["email"] = f"{unique}.{made['email']}"
    if "name" in made:
        made["name"] = f"{made['name']} {unique}"
    return made
