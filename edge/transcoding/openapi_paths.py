"""OpenAPI's paths: from templates, whose variables may span segments, to names in braces, one a segment."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from edge.transcoding.routes import ANY_METHOD, Route
from edge.transcoding.template import Kind, Template, Variable

_SAFE = "-._~!$&'()*+,;=@"
_METHODS = frozenset(("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"))
"""The methods that OpenAPI 3.1 knows."""


@dataclass(frozen=True, slots=True)
class Wildcard:
    """One wildcard of a template.

    `label` is the name of its path parameter. `field_path` is the field that it captures, or a part of it unless
    `is_whole`; empty where nothing captures it. `is_deep` where it stands for any number of segments.
    """

    label: str
    field_path: str
    is_whole: bool
    is_deep: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A route with its place in the document: path, HTTP method as OpenAPI has it, and the path's wildcards.

    `is_standard` tells whether OpenAPI 3.1 knows the method.
    """

    route: Route
    path: str
    method: str
    wildcards: tuple[Wildcard, ...]

    @property
    def is_standard(self) -> bool:
        return self.method.upper() in _METHODS


def place(routes: Iterable[Route]) -> list[Placed]:
    """Return every route's place, in the order given; of routes for the same requests the last.

    A variable of several segments becomes one parameter for each of its wildcards, for clients encode the `/` in a
    parameter's value. Paths that differ in the names of their parameters only are one path to OpenAPI, so routes of
    one shape share the shortest names. A route for any HTTP method stands under one that is free.
    """
    routes = list(routes)
    groups: dict[tuple[object, ...], list[Template]] = {}
    for route in routes:
        groups.setdefault(_outline(route.template), []).append(route.template)
    shared = {outline: _shared_labels(templates) for outline, templates in groups.items()}
    placed: dict[tuple[str, str], Placed] = {}
    for route in routes:
        found = _place(route, shared[_outline(route.template)], placed)
        placed.pop((found.path, found.method), None)
        placed[found.path, found.method] = found
    return list(placed.values())


def _place(route: Route, labels: Sequence[str], taken: Mapping[tuple[str, str], Placed]) -> Placed:
    template = route.template
    while True:
        path = _path(template, labels)
        for method in _methods(route):
            other = taken.get((path, method))
            if other is None or (other.route.template.shape == template.shape and route.http_method != ANY_METHOD):
                return Placed(route, path, method, tuple(_wildcards(template, labels)))
        # One segment and any number of them look alike to OpenAPI, but not to the router.
        labels = [f"{label}_" for label in labels]
        if not labels:
            method = _methods(route)[0]
            return Placed(route, path, method, ())


def _methods(route: Route) -> Sequence[str]:
    if route.http_method != ANY_METHOD:
        return (route.http_method.lower(),)
    return ("post", "put", "patch") if route.body else ("get", "post", "put", "delete", "patch")


def _outline(template: Template) -> tuple[object, ...]:
    """Return what a path's parameters leave of it."""
    return (*(s.text if s.kind is Kind.LITERAL else None for s in template.segments), template.verb)


def _path(template: Template, labels: Sequence[str]) -> str:
    names = iter(labels)
    segments = [
        quote(s.text, safe=_SAFE) if s.kind is Kind.LITERAL else "{" + next(names) + "}" for s in template.segments
    ]
    return "/" + "/".join(segments) + (":" + quote(template.verb, safe=_SAFE) if template.verb else "")


def _shared_labels(templates: Sequence[Template]) -> list[str]:
    """Return a name for each wildcard of templates of one outline: the shortest, the first among equals."""
    options = [_own_labels(template) for template in templates]
    shortest = [min(names, key=len) for names in zip(*options, strict=True)]
    return shortest if len(set(shortest)) == len(shortest) else options[0]


def _own_labels(template: Template) -> list[str]:
    labels: list[str] = []
    for index, segment in enumerate(template.segments):
        if segment.kind is Kind.LITERAL:
            continue
        variable = _capturing(template, index)
        if variable is not None and variable.stop - variable.start == 1:
            label = variable.field_path
        else:
            # As Google's discovery documents name them: `shelves/*` becomes `shelves/{shelves_id}`.
            before = template.segments[index - 1].text if index else ""
            label = f"{_identifier(before)}_id" if before else "any"
        number = 2
        unique = label
        while unique in labels:
            unique, number = f"{label}_{number}", number + 1
        labels.append(unique)
    return labels


def _identifier(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text)


def _wildcards(template: Template, labels: Sequence[str]) -> Iterator[Wildcard]:
    names = iter(labels)
    for index, segment in enumerate(template.segments):
        if segment.kind is Kind.LITERAL:
            continue
        variable = _capturing(template, index)
        yield Wildcard(
            label=next(names),
            field_path=variable.field_path if variable is not None else "",
            is_whole=variable is not None and variable.stop - variable.start == 1,
            is_deep=segment.kind is Kind.DEEP,
        )


def _capturing(template: Template, index: int) -> Variable | None:
    """Return the innermost variable around a segment."""
    around = [v for v in template.variables if v.start <= index < v.stop]
    return min(around, key=lambda v: v.stop - v.start, default=None)
