"""Vectors: an HTTP request, what the backend must get, what it answers, and what the client must get.

They are YAML files in tests/vectors, one for each row of behaviour. A file is a mapping:

    row: the row's name
    contract: file in tests/vectors/contracts
    vectors: a list of vectors

A vector is a mapping; all but `request` may be missing:

    name       what it shows; by default its request
    cases      a list of mappings, each of which makes a vector of its own by replacing keys of this one
    profiles   [strict, grpc-gateway]: where it holds; both by default
    strict, grpc-gateway   keys that differ in this profile
    request    method and target, such as `GET /v1/items?n=1`
    headers    mapping; a list is several headers of a name
    body       text; `body_hex` for bytes; `body_json` for a value
    body_coding   content coding to send the body with
    options    fields of MethodOptions, for all methods or for the one that `options_of` names
    changes    fields of Profile that the embedder chose otherwise
    rules      fields of HeaderRules
    limits     fields of Limits
    cross_origin   fields of CrossOrigin
    backend    fields of Script: replies (JSON of the method's output), status, message, metadata, trailers, early
    method     the method that must be called (without the package); null: none at all
    message    the request that it must get, as protobuf JSON; `messages` for a stream of them
    metadata   metadata that it must get; null for one that it must not get
    seconds    upper bound of its deadline; the lower one is two seconds less
    status     HTTP status
    response   response headers; null for one that must be missing
    trailers   trailers behind the body, likewise
    json       the body as a JSON value; `text` as a text, `hex` as bytes
    complete   false: the body must be cut off
    error      code (a name), message (a part of it), fields (path: a part of its description)
    envoy      false, with the reason in a comment: not a request for the comparison with Envoy
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped] # no stubs exist
import grpc
import zstandard
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from ruamel.yaml import YAML

from edge.transcoding.options import Alternative, CrossOrigin, Framing, HeaderRules, Limits, MethodOptions
from edge.transcoding.profile import GRPC_GATEWAY, STRICT, Profile
from tests.support.contracts import PROTOS, compile_contracts
from tests.support.scripted import Script, pairs

FOLDER = Path(__file__).parents[1] / "vectors"
PROFILES: Mapping[str, Profile] = {"strict": STRICT, "grpc-gateway": GRPC_GATEWAY}
KEYS = frozenset(
    (
        *("name", "cases", "profiles", "strict", "grpc-gateway", "request", "headers", "body", "body_hex", "body_json"),
        "body_coding",
        *(
            "options",
            "options_of",
            "changes",
            "rules",
            "limits",
            "cross_origin",
            "backend",
            "method",
            "message",
            "messages",
            "metadata",
            "seconds",
        ),
        *("status", "response", "trailers", "json", "text", "hex", "complete", "error", "envoy"),
    )
)
CODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "x-gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector in one profile; `expected` and the rest are as in the file."""

    row: str
    contract: str
    name: str
    profile: str
    keys: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Name that tells it from all others."""
        return f"{self.row}: {self.name} [{self.profile}]"

    def get(self, key: str, default: Any = None) -> Any:
        """Return a key's value."""
        return self.keys.get(key, default)

    @property
    def method_and_target(self) -> tuple[str, str]:
        """The HTTP method and the request's target."""
        method, _, target = self.keys["request"].partition(" ")
        return method, target

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The request's headers."""
        found = []
        for name, value in self.get("headers", {}).items():
            found += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
        if "body_json" in self.keys and not any(name.lower() == "content-type" for name, _ in found):
            found.append(("Content-Type", "application/json"))
        if "body_coding" in self.keys:
            found.append(("Content-Encoding", self.keys["body_coding"]))
        return found

    @property
    def body(self) -> bytes:
        """The request's body as it is sent."""
        return CODERS[self.get("body_coding", "identity")](self._plain_body())

    def _plain_body(self) -> bytes:
        if "body_json" in self.keys:
            return json.dumps(self.keys["body_json"]).encode()
        if "body_hex" in self.keys:
            return bytes.fromhex(self.keys["body_hex"])
        return str(self.get("body", "")).encode()

    def script(self) -> Script:
        """What the backend does."""
        given = dict(self.get("backend", {}))
        replies = given.pop("replies", None)
        status = given.pop("status", None)
        metadata, trailers = (pairs(given.pop(key, {})) for key in ("metadata", "trailers"))
        details = given.pop("details", None)
        if details is not None:
            trailers += (("grpc-status-details-bin", _details(status, given.get("message", ""), details)),)
        return Script(
            replies=None if replies is None else [self._reply(reply) for reply in replies],
            status=None if status is None else grpc.StatusCode[status],
            metadata=metadata,
            trailers=trailers,
            **given,
        )

    def _reply(self, value: Any) -> Message:
        output = self._method().output_type
        if isinstance(value, str):
            # Bytes that no JSON could give, in hexadecimal digits.
            return _Raw(bytes.fromhex(value))  # type: ignore[return-value]  # serialises like a message
        return json_format.ParseDict(value, GetMessageClass(output)(), descriptor_pool=output.file.pool)

    def expected_messages(self) -> list[Message] | None:
        """The requests that the backend must get; None where the vector says nothing of them."""
        if "messages" in self.keys:
            values = self.keys["messages"]
        elif "message" in self.keys:
            values = [self.keys["message"]]
        else:
            return None
        input_ = self._method().input_type
        make = GetMessageClass(input_)
        return [json_format.ParseDict(value, make(), descriptor_pool=input_.file.pool) for value in values]

    def _method(self) -> Any:
        service, _, name = str(self.keys["method"]).rpartition(".")
        pool = contract_pool(self.contract)
        package = next(iter(services(self.contract))).file.package
        return pool.FindServiceByName(f"{package}.{service}").methods_by_name[name]

    def method_options(self, method: MethodDescriptor) -> MethodOptions:
        """The options of a method."""
        if not method.full_name.endswith(self.get("options_of", "")):
            return MethodOptions()
        given = dict(self.get("options", {}))
        if "framing" in given:
            given["framing"] = Framing[given["framing"]]
        if "alternative" in given:
            given["alternative"] = Alternative(**given["alternative"])
        return MethodOptions(**given)

    def configuration(self) -> str:
        """What the transcoder is built with; equal for vectors that may share one."""
        keys = ("options", "options_of", "changes", "rules", "limits", "cross_origin")
        return json.dumps([self.contract, self.profile, {key: self.get(key) for key in keys}], sort_keys=True)

    def header_rules(self) -> HeaderRules:
        """The rules for headers."""
        return HeaderRules(**{name: _tuple(value) for name, value in self.get("rules", {}).items()})

    def limit_options(self) -> Limits:
        """The limits."""
        return Limits(**self.get("limits", {}))

    def cross_origin(self) -> CrossOrigin:
        """Which pages of other origins may call."""
        return CrossOrigin(**{name: _tuple(value) for name, value in self.get("cross_origin", {}).items()})


class _Raw:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        """Return the bytes."""
        return self._data


def load_vectors() -> list[Vector]:
    """Return every vector of every file, once for each profile that it holds in."""
    found = [vector for path in sorted(FOLDER.glob("*.yaml")) for vector in _of_file(path)]
    ids = [vector.id for vector in found]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        raise ValueError(f"vectors of one name: {'; '.join(repeated)}")
    return found


def _of_file(path: Path) -> Iterator[Vector]:
    file = YAML(typ="safe", pure=True).load(path.read_text())
    for entry in file["vectors"]:
        for keys in _cases(entry):
            if unknown := set(keys) - KEYS:
                raise ValueError(f"{path.name}: {keys.get('request')}: unknown keys {', '.join(sorted(unknown))}")
            for profile in keys.get("profiles", PROFILES):
                merged = {**{k: v for k, v in keys.items() if k not in PROFILES}, **keys.get(profile, {})}
                name = str(merged.get("name") or merged["request"])
                yield Vector(file["row"], file["contract"], name, profile, merged)


def _cases(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    common = {key: value for key, value in entry.items() if key != "cases"}
    for case in entry.get("cases", [{}]):
        keys = {**common, **case}
        if entry.get("cases") and "name" in common:
            keys["name"] = f"{common['name']}: {case.get('name') or keys['request']}"
        yield keys


@cache
def contract_pool(contract: str) -> DescriptorPool:
    """Return the pool of a contract, and of the messages that all contracts may import."""
    sources = {name: (PROTOS / name).read_text() for name in ("kinds.proto", "legacy.proto")}
    return compile_contracts({contract: (FOLDER / "contracts" / contract).read_text(), **sources})


def services(contract: str) -> list[ServiceDescriptor]:
    """Return a contract's services."""
    return list(contract_pool(contract).FindFileByName(contract).services_by_name.values())


def changed_profile(vector: Vector) -> Profile:
    """Return the vector's profile with what its embedder chose otherwise."""
    base = PROFILES[vector.profile]
    values = {field.name: getattr(base, field.name) for field in fields(Profile)}
    return Profile(**{**values, **vector.get("changes", {})})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _details(status: str, message: str, details: list[Any]) -> bytes:
    from google.rpc import error_details_pb2, status_pb2  # noqa: F401 - registers the types that details have

    value = {"code": grpc.StatusCode[status].value[0], "message": message}
    rich = json_format.ParseDict(value, status_pb2.Status())
    for detail in details:
        one = rich.details.add()
        if "value_hex" in detail:
            one.type_url, one.value = detail["@type"], bytes.fromhex(detail["value_hex"])
        else:
            json_format.ParseDict(detail, one)
    serialised: bytes = rich.SerializeToString()
    return serialised
