"""The OpenAPI 3.1 document of a set of routes, from the same rules and options that requests are served by."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from edge.transcoding.codec import JsonOptions
from edge.transcoding.comments import split_summary
from edge.transcoding.media import BodyFormat
from edge.transcoding.openapi_bodies import NO_BODY, ReplyBodies, RequestBodies, is_raw, phrase
from edge.transcoding.openapi_components import JsonSchema
from edge.transcoding.openapi_examples import Examples, NoExampleError
from edge.transcoding.openapi_options import PROBLEM_ERROR, STATUS_ERROR, ErrorBody, OpenApiOptions, OperationNotes
from edge.transcoding.openapi_parameters import leaves, path_parameters, query_parameters
from edge.transcoding.openapi_paths import Placed, place
from edge.transcoding.openapi_schemas import Schemas
from edge.transcoding.options import Alternative, Framing, MethodOptions, MethodOptionsSource, default_method_options
from edge.transcoding.profile import STRICT, Profile
from edge.transcoding.routes import Route
from edge.transcoding.schema import Schema

OPENAPI = "3.1.1"
_JSON = BodyFormat.JSON.value
_LINES = frozenset((Framing.NDJSON.value, Framing.SSE.value))
_RANGE = {
    "name": "Range",
    "in": "header",
    "description": "The bytes wanted, such as `bytes=0-1023`. Default: all of them.",
    "schema": {"type": "string"},
}


def openapi_document(
    routes: Iterable[Route],
    options: OpenApiOptions,
    *,
    profile: Profile = STRICT,
    method_options: MethodOptionsSource = default_method_options,
) -> dict[str, Any]:
    """Return the document of compiled routes, ready to be written as JSON.

    `profile` and `method_options` are those that the transcoder was made with. HEAD and OPTIONS, which the transcoder
    answers by itself, are not listed; paths that end in a slash are neither.
    """
    return _Writer(options, profile, method_options).document(list(routes))


class _Writer:
    """Writes one document."""

    def __init__(self, options: OpenApiOptions, profile: Profile, method_options: MethodOptionsSource) -> None:
        self._options = options
        self._profile = profile
        self._method_options = method_options
        self._comments = options.comments
        self._errors: dict[str, ErrorBody] = {"": STATUS_ERROR, "problem": PROBLEM_ERROR, **options.errors}
        json = JsonOptions(
            proto_names=profile.proto_names,
            emit_nulls=profile.emit_nulls,
            null_optionals=profile.null_optionals,
            enum_numbers=profile.enum_numbers,
        )
        self._shapes = Schema()
        self._schemas = Schemas(json, options.comments)
        self._requests = RequestBodies(self._schemas, profile)
        self._replies = ReplyBodies(self._schemas, profile, self._errors)
        self._styles: dict[str, None] = {}

    def document(self, routes: Sequence[Route]) -> dict[str, Any]:
        options = self._options
        services = list(dict.fromkeys(route.method.containing_service for route in routes))
        names = _service_names(services)
        paths: dict[str, dict[str, Any]] = {path: dict(item) for path, item in options.paths.items()}
        examples: list[tuple[str, dict[str, Any]]] = []
        for placed in place(routes):
            notes = options.notes(placed.route)
            operation = self._operation(placed, notes, names[placed.route.method.containing_service])
            item = paths.setdefault(placed.path, {})
            if not placed.is_standard:
                # OpenAPI 3.1 has no place for other methods; 3.2 calls it so.
                item = item.setdefault("x-additionalOperations", {})
            item[placed.method if placed.is_standard else placed.method.upper()] = operation
            examples += _wanting(operation)
        components = {kind: {**named} for kind, named in options.components.items()}
        components["schemas"] = self._component_schemas(components.get("schemas", {}))
        self._add_examples(examples, components["schemas"])
        document: dict[str, Any] = {
            "openapi": OPENAPI,
            "info": {"title": options.title, "version": options.version},
            "servers": [{"url": url} for url in options.servers],
            "tags": [*options.tags, *(self._tag(service, names[service]) for service in services)],
            "paths": paths,
            "components": components,
        }
        if options.description:
            document["info"]["description"] = options.description
        return document

    def _operation(self, placed: Placed, notes: OperationNotes, service: str) -> dict[str, Any]:
        route = placed.route
        method = route.method
        operation: dict[str, Any] = {"tags": [service], "operationId": _operation_id(route, service)}
        summary, description = split_summary(self._comments.of(method.full_name))
        operation["summary"] = summary or method.name
        if description or notes.remark:
            operation["description"] = "\n\n".join(filter(None, (description, notes.remark)))
        if method.GetOptions().deprecated:
            operation["deprecated"] = True
        if parameters := [*self._parameters(placed), *notes.parameters]:
            operation["parameters"] = [_with_example(one, notes.parameter_examples) for one in parameters]
        if body := self._request_body(route, notes):
            operation["requestBody"] = body
        operation["responses"] = self._responses(route, notes, takes_input=bool(parameters or body))
        if notes.security is not None:
            operation["security"] = [{name: list(scopes) for name, scopes in one.items()} for one in notes.security]
        return operation

    def _parameters(self, placed: Placed) -> Iterator[dict[str, Any]]:
        route = placed.route
        shape = self._shapes.message(route.method.input_type)
        yield from path_parameters(placed, shape, self._schemas, self._comments)
        allowed = frozenset(route.options.query_fields)
        if route.body != "*" or allowed:
            captured = [variable.field_path for variable in route.template.variables]
            listed = leaves(shape, self._schemas, without=[*captured, route.body])
            if route.body == "*":
                listed = [leaf for leaf in listed if leaf.path in allowed]
            yield from query_parameters(listed, self._schemas, self._comments)
        if self._gives_ranges(route):
            yield dict(_RANGE)

    def _request_body(self, route: Route, notes: OperationNotes) -> dict[str, Any] | None:
        content = notes.request or self._requests.of(route, self._shapes.message(route.method.input_type))
        if not content:
            return None
        content = {media_type: dict(media) for media_type, media in content.items()}
        _give_example(content, notes.request_example)
        # An empty body would be an empty message, but nobody means that.
        return {"content": content, "required": True}

    def _responses(self, route: Route, notes: OperationNotes, *, takes_input: bool) -> dict[str, Any]:
        content, text = self._success(route, notes)
        styles = [route.options.error_style]
        if route.options.header_error_style is not None:
            styles.append(route.options.header_error_style[1])
        if route.options.alternative is not None:
            # Which of the two answers is known when the request has been read; faults before that are the route's.
            styles.append(self._alternative_options(route, route.options.alternative)[1].error_style)
        self._styles.update(dict.fromkeys(styles))
        said = {route.options.success_code: text, **notes.statuses}
        if takes_input:
            said.setdefault(400, "The request is wrong; the message says what would be right")
        if self._gives_ranges(route):
            said.setdefault(206, "The part that `Range` asked for")
            said.setdefault(416, "`Range` lies outside the bytes")
        error = self._replies.error(styles, with_example=False)
        responses: dict[str, Any] = {}
        for code, description in sorted(said.items()):
            response: dict[str, Any] = {"description": description}
            if notes.headers and code < 300:
                response["headers"] = {**notes.headers}
            body = content if code < 300 else error
            if code == 206:
                # A part of a JSON text is none.
                body = {media_type: {} for media_type in content}
            if body and code not in NO_BODY:
                response["content"] = body
            responses[str(code)] = response
        # One example is enough: a client tells failures apart by what they say, not by their form.
        error = self._replies.error(styles, with_example=True)
        responses["default"] = {"description": "Any other failure; all have this form", "content": error}
        return responses

    def _success(self, route: Route, notes: OperationNotes) -> tuple[dict[str, Any], str]:
        """Return the content of a success, and in words what it is."""
        method, options = route.method, route.options
        text = phrase(options.success_code)
        if notes.reply is not None:
            return {media_type: dict(media) for media_type, media in notes.reply.items()}, text
        output = self._shapes.message(method.output_type)
        content = self._replies.of(output, options, route.response_body, streams=method.server_streaming)
        _give_example(content, notes.reply_example)
        if method.server_streaming and not is_raw(output, route.response_body):
            text += f". A stream: {_stream_forms(content, options.end_marker)}"
        if options.alternative is not None:
            other, said = self._alternative(route, options.alternative)
            _give_example(other, notes.alternative_example)
            content, text = {**other, **content}, text + said
        return content, text

    def _alternative(self, route: Route, alternative: Alternative) -> tuple[dict[str, Any], str]:
        """Return the content of what a sibling answers, and when it does."""
        method, options = self._alternative_options(route, alternative)
        output = self._shapes.message(method.output_type)
        content = self._replies.of(output, options, "", streams=method.server_streaming)
        if method.server_streaming:
            said = f"a stream instead: {_stream_forms(content, options.end_marker)}"
        else:
            summary, _ = split_summary(self._comments.of(method.full_name))
            said = f"the answer of {method.name}" + (f": {summary}" if summary else "")
        return content, f". Where `{alternative.when_field}` is true, {said}"

    def _alternative_options(self, route: Route, alternative: Alternative) -> tuple[MethodDescriptor, MethodOptions]:
        method = route.method.containing_service.methods_by_name[alternative.method.rpartition(".")[2]]
        options = self._method_options(method)
        return method, replace(options, error_style=options.error_style or route.options.error_style)

    def _gives_ranges(self, route: Route) -> bool:
        if not self._profile.ranges or route.http_method != "GET" or route.options.success_code != 200:
            return False
        return is_raw(self._shapes.message(route.method.output_type), route.response_body)

    def _component_schemas(self, given: Mapping[str, JsonSchema]) -> dict[str, JsonSchema]:
        own = dict(given)
        for style in self._styles:
            body = self._errors[style]
            own[body.name] = body.schema
        own |= self._replies.records
        named = self._schemas.named(own)
        return dict(sorted({**named, **own}.items()))

    def _add_examples(
        self, wanting: Iterable[tuple[str, dict[str, Any]]], components: Mapping[str, JsonSchema]
    ) -> None:
        examples = Examples(components)
        for media_type, media in wanting:
            schema, given = media["schema"], media.pop("example", None)
            try:
                if media_type in _LINES:
                    media["example"] = given if isinstance(given, str) else examples.stream(media_type, schema, given)
                else:
                    media["example"] = examples.of(schema) if given is None else examples.completed(schema, given)
            except NoExampleError:
                continue

    def _tag(self, service: ServiceDescriptor, name: str) -> dict[str, str]:
        text = self._comments.of(service.full_name)
        return {"name": name, **({"description": text} if text else {})}


def _service_names(services: Iterable[ServiceDescriptor]) -> dict[ServiceDescriptor, str]:
    """Return each service's short name, or its full one where another has the same."""
    services = list(services)
    short = [service.name for service in services]
    return {s: s.name if short.count(s.name) == 1 else s.full_name.replace(".", "_") for s in services}


def _with_example(parameter: Mapping[str, Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    name = parameter["name"]
    return {**parameter, "example": examples[name]} if name in examples else dict(parameter)


def _operation_id(route: Route, service: str) -> str:
    return f"{service}_{route.method.name}" + (f"_{route.binding + 1}" if route.binding else "")


def _stream_forms(content: Mapping[str, Any], end_marker: str) -> str:
    forms = {
        Framing.NDJSON.value: "a message a line",
        Framing.SSE.value: "a message an event" + (f", and `data: {end_marker}` at the end" if end_marker else ""),
        Framing.JSON_ARRAY.value: "an array of messages",
    }
    return "; ".join(f"`{media_type}`, {form}" for media_type, form in forms.items() if media_type in content)


def _give_example(content: Mapping[str, dict[str, Any]], example: Any) -> None:
    """Put an example, a list of messages for a stream, where it is to be completed later."""
    for media_type, media in content.items():
        if example is not None and (media_type == _JSON or media_type in _LINES):
            media["example"] = example


def _wanting(operation: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the media objects that want an example, or want theirs completed, with their media types."""
    bodies = [response for code, response in operation["responses"].items() if code.startswith("2")]
    bodies.append(operation.get("requestBody", {}))
    done: list[dict[str, Any]] = []
    for body in bodies:
        for media_type, media in body.get("content", {}).items():
            if (media_type == _JSON or media_type in _LINES) and "schema" in media and media not in done:
                done.append(media)
                yield media_type, media
