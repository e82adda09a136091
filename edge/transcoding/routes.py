"""The routes of a set of services: read from their `google.api.http` rules, checked, and found by method and path."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from edge.transcoding.options import MethodOptions, MethodOptionsSource
from edge.transcoding.paths import PathTable
from edge.transcoding.template import Template, TemplateError, parse_template

T = TypeVar("T")

ANY_METHOD = "*"
"""The kind of a custom pattern that leaves the HTTP method open."""

_STANDARD_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the contracts that keeps the transcoder from starting."""

    file: str
    method: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.method}: {self.reason}"


class RouteTableError(ValueError):
    """The contracts cannot be served; `faults` holds everything that is wrong with them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(f"the routes cannot be compiled, {len(self.faults)} fault(s):\n{lines}")


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One binding of one method.

    `http_method` is upper case, or `*` for any. `body` and `response_body` are as in the rule. `binding` is 0 for the
    rule itself and counts its additional bindings from 1.
    """

    http_method: str
    template: Template
    method: MethodDescriptor
    options: MethodOptions
    body: str = ""
    response_body: str = ""
    binding: int = 0

    def __str__(self) -> str:
        return f"{self.http_method} {self.template.source}"

    def fault(self, reason: str) -> Fault:
        """Return a fault of this route."""
        return Fault(self.method.containing_service.file.name, self.method.full_name, f"{self}: {reason}")


def collect_routes(
    services: Iterable[ServiceDescriptor], method_options: MethodOptionsSource
) -> tuple[list[Route], list[Fault]]:
    """Read the routes of all methods that have a rule, in the contracts' order, and what is wrong with them."""
    routes: list[Route] = []
    faults: list[Fault] = []
    for service in services:
        for method in service.methods:
            rule = http_rule(method)
            if rule is None:
                continue
            options = method_options(method)
            faults += (Fault(service.file.name, method.full_name, reason) for reason in options.faults())
            for binding, single in enumerate((rule, *rule.additional_bindings)):
                try:
                    routes.append(_route(method, options, single, binding))
                except (TemplateError, _RuleError) as error:
                    faults.append(Fault(service.file.name, method.full_name, str(error)))
    return routes, faults


def http_rule(method: MethodDescriptor) -> HttpRule | None:
    """Return a method's `google.api.http` rule, if it has one; descriptors may stem from any pool."""
    options: Message = method.GetOptions()
    if not isinstance(options, descriptor_pb2.MethodOptions):
        options = descriptor_pb2.MethodOptions.FromString(options.SerializeToString())
    return options.Extensions[annotations_pb2.http] if options.HasExtension(annotations_pb2.http) else None


class RouteTable(Generic[T]):
    """Finds the value of the most specific route for an HTTP method and a path.

    A literal method comes before `*`, and that before a HEAD answered from GET. Rules that match the same paths
    (`last_rule_wins` aside) and rules that others hide altogether are in `faults`.
    """

    def __init__(
        self,
        entries: Iterable[tuple[Route, T]],
        *,
        last_rule_wins: bool = False,
        reject_dot_segments: bool = True,
        derive_head: bool = True,
    ) -> None:
        self.faults: list[Fault] = []
        entries = list(entries)
        methods = dict.fromkeys((*_STANDARD_METHODS, *(route.http_method for route, _ in entries)))
        self._tables: dict[str, PathTable[tuple[Route, T]]] = {}
        self._near = PathTable[Route](reject_dot_segments=False)
        for method in methods:
            self._tables[method] = PathTable(reject_dot_segments=reject_dot_segments)
        clashes: dict[tuple[int, int], tuple[Route, Route]] = {}
        for order, (route, value) in enumerate(entries):
            for method, rank in self._places(route, derive_head=derive_head):
                replaced = self._tables[method].add(
                    route.template, (route, value), rank=rank, trailing_slash=route.options.trailing_slash
                )
                if replaced is not None and replaced[0] is not route and replaced[0].http_method == route.http_method:
                    clashes[id(replaced[0]), id(route)] = (replaced[0], route)
            # The first of several stays, which is a method's own rule rather than an additional binding.
            self._near.add(_folded(route.template), route, rank=order, trailing_slash=True)
        if not last_rule_wins:
            for first, second in clashes.values():
                self.faults.append(
                    second.fault(
                        f"matches the same requests as {first} of {first.method.full_name}; change one of them"
                    )
                )
            lost = {id(first) for first, _ in clashes.values()}
            self.faults += self._unreachable([route for route, _ in entries if id(route) not in lost])
        # What the request path looks at first: a whole path without variables.
        self.static: dict[str, dict[bytes, T]] = {
            method: {path: value for path, (_, value) in table.static.items()} for method, table in self._tables.items()
        }

    def match(self, http_method: str, raw_path: str) -> tuple[T, Sequence[str]] | None:
        """Return the value of the route and its decoded captures; raises `PathError` for a malformed path."""
        table = self._tables.get(http_method) or self._tables.get(ANY_METHOD)
        if table is None:
            return None
        table.check(raw_path)
        found = table.match(raw_path)
        return (found[0][1], found[1]) if found is not None else None

    def allowed(self, raw_path: str) -> list[str]:
        """Return the HTTP methods that have a route for a path, sorted."""
        return sorted(m for m, table in self._tables.items() if m != ANY_METHOD and table.match(raw_path) is not None)

    def near(self, raw_path: str) -> Route | None:
        """Return a route that would match if the path's case or its trailing slash were other."""
        folded = raw_path.lower()
        for form in (folded, folded.rstrip("/") or "/"):
            found = self._near.match(form)
            if found is not None:
                return found[0]
        return None

    @staticmethod
    def _places_of_any(methods: Iterable[str]) -> Iterator[tuple[str, int]]:
        return ((method, 0 if method == ANY_METHOD else 1) for method in methods)

    def _places(self, route: Route, *, derive_head: bool) -> Iterator[tuple[str, int]]:
        if route.http_method == ANY_METHOD:
            yield from self._places_of_any(self._tables)
            return
        yield route.http_method, 0
        if route.http_method == "GET" and derive_head:
            yield "HEAD", 2

    def _unreachable(self, routes: Sequence[Route]) -> Iterator[Fault]:
        texts = {segment.text for route in routes for segment in route.template.segments}
        probe = "x"
        while probe in texts:
            probe += "x"
        depth = max((len(route.template.segments) for route in routes), default=0) + 1
        for route in routes:
            deeps = ["/".join([probe] * n) for n in range(depth + 1)] if route.template.deep is not None else [""]
            methods = self._tables if route.http_method == ANY_METHOD else (route.http_method,)
            winners: list[Route] = []
            for method in methods:
                for deep in deeps:
                    found = self._tables[method].match(route.template.path(probe, deep))
                    if found is not None:
                        winners.append(found[0][0])
                if route in winners:
                    break
            if route not in winners:
                hiding = ", ".join(dict.fromkeys(f"{w} of {w.method.full_name}" for w in winners))
                yield route.fault(f"can never be reached: {hiding} matches all of its requests")


class _RuleError(ValueError):
    """A rule that says something that http.proto does not allow."""


def _route(method: MethodDescriptor, options: MethodOptions, rule: HttpRule, binding: int) -> Route:
    pattern = rule.WhichOneof("pattern")
    if pattern is None:
        raise _RuleError("the rule has no pattern; one of get, put, post, delete, patch or custom is needed")
    if pattern == "custom":
        http_method, path = rule.custom.kind, rule.custom.path
        if http_method != ANY_METHOD and not (http_method.isascii() and http_method.replace("-", "").isalpha()):
            raise _RuleError(f'custom kind "{http_method}" is no HTTP method; write a name such as HEAD, or *')
    else:
        http_method, path = pattern, getattr(rule, pattern)
    http_method = http_method.upper()
    if rule.body and http_method in ("GET", "HEAD"):
        raise _RuleError(f"{http_method} {path}: a {http_method} rule has no body; its fields go into the query")
    if binding and rule.additional_bindings:
        raise _RuleError(f"{http_method} {path}: additional_bindings must not nest")
    return Route(
        http_method=http_method,
        template=parse_template(path),
        method=method,
        options=options,
        body=rule.body,
        response_body=rule.response_body,
        binding=binding,
    )


def _folded(template: Template) -> Template:
    segments = tuple(type(segment)(segment.kind, segment.text.lower()) for segment in template.segments)
    return Template(template.source, segments, template.verb.lower(), template.variables)
