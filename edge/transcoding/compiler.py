"""Compiles a set of services into endpoints, and collects everything that keeps them from being served."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from edge.transcoding.binding import BindingOptions, RequestBinder
from edge.transcoding.bodies import message_binders, message_sources, plain_bind
from edge.transcoding.call import Caller, ReplyEncoder, Responder, Surroundings, UnaryResponder
from edge.transcoding.codec import JsonOptions
from edge.transcoding.endpoint import Endpoint, MessageEndpoint, StreamEndpoint, Target
from edge.transcoding.errors import ErrorStyle, StyleByHeader
from edge.transcoding.headers import RequestHeaders
from edge.transcoding.httpbody import HttpBodyReader, HttpBodyResponder, HttpBodyStreamResponder
from edge.transcoding.media import ReplyFormat
from edge.transcoding.method_path import MethodPathEndpoint
from edge.transcoding.multipart import HTTP_BODY
from edge.transcoding.options import Limits, MethodOptions, MethodOptionsSource
from edge.transcoding.paths import PathTable
from edge.transcoding.routes import Route, RouteTable, RouteTableError, collect_routes
from edge.transcoding.streaming import StreamResponder
from edge.transcoding.template import parse_template
from edge.transcoding.transport.channel import Channel
from edge.transcoding.violations import BindingPlanError
from edge.transcoding.websocket import SocketEndpoint

ChannelSource = Callable[[ServiceDescriptor], Channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What serves a set of services.

    `routes` are in the contracts' order; `table` finds a request's endpoint, `sockets` a WebSocket's.
    """

    routes: tuple[Route, ...]
    table: RouteTable[Endpoint]
    sockets: PathTable[SocketEndpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """How a method is called and its reply read; `is_raw` where the reply, or the field at `path`, is an HttpBody."""

    caller: Caller
    path: tuple[FieldDescriptor, ...]
    is_raw: bool
    encode: ReplyEncoder


class PlanError(ValueError):
    """A method that cannot be served as its rule and options say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """Makes endpoints; one is used for one set of services."""

    around: Surroundings
    channel: ChannelSource
    method_options: MethodOptionsSource
    styles: Mapping[str, ErrorStyle]
    limits: Limits
    request_headers: RequestHeaders

    def compile(self, services: Iterable[ServiceDescriptor]) -> Compiled:
        """Return what serves the services; raises `RouteTableError` with every fault of every one."""
        profile = self.around.profile
        routes, faults = collect_routes(services, self.method_options)
        entries: list[tuple[Route, Endpoint | None]] = []
        sockets = PathTable[SocketEndpoint](reject_dot_segments=profile.reject_dot_segments)
        for order, route in enumerate(routes):
            try:
                endpoint, socket = self._endpoints(route)
                entries.append((route, endpoint))
            except (BindingPlanError, PlanError) as error:
                faults.append(route.fault(str(error)))
                # Its place in the table is still checked, so that one start names everything.
                entries.append((route, None))
                continue
            if socket is not None:
                # Where several streaming methods share a path, a socket is for the one that streams both ways.
                kind = 0 if route.method.server_streaming and route.method.client_streaming else 1
                rank = kind * len(routes) + order
                sockets.add(route.template, socket, rank=rank, trailing_slash=route.options.trailing_slash)
        if profile.method_paths and not faults:
            entries += self._method_paths(routes)
        table = RouteTable(
            entries,
            last_rule_wins=profile.last_rule_wins,
            reject_dot_segments=profile.reject_dot_segments,
            derive_head=profile.derive_head_and_options,
        )
        faults += table.faults
        if faults:
            raise RouteTableError(list(dict.fromkeys(faults)))
        return Compiled(routes=tuple(routes), table=_complete(table), sockets=sockets)

    def _endpoints(self, route: Route) -> tuple[Endpoint, SocketEndpoint | None]:
        method, options, profile = route.method, route.options, self.around.profile
        style = self._style(options.error_style)
        if options.header_error_style is not None:
            header, other = options.header_error_style
            style = StyleByHeader(header.encode(), self._style(other), style)
        path_fields = [variable.field_path for variable in route.template.variables]
        binder = self._binder(route, path_fields)
        reply = self._reply(method, options, route.response_body)
        target = Target(self._responder(method, options, reply), options, style)
        endpoint: Endpoint
        if method.client_streaming:
            if options.alternative is not None:
                raise PlanError("an alternative is chosen by the request, so that its method takes one message")
            endpoint = StreamEndpoint(
                route, target, formats=message_sources(route, binder, profile), codings=profile.codings
            )
        else:
            endpoint = MessageEndpoint(
                route,
                target,
                formats=message_binders(route, binder, path_fields, profile),
                profile=profile,
                body_timeout=self.limits.body_timeout,
                alternative=self._alternative(route, style),
            )
        if not (method.client_streaming or method.server_streaming):
            return endpoint, None
        return endpoint, SocketEndpoint(
            route=route,
            style=style,
            caller=reply.caller,
            bind=plain_bind(route, binder),
            encode=reply.encode,
            read_raw=HttpBodyReader(method, reply.path) if reply.is_raw else None,
            takes_frames=bool(route.body),
        )

    def _method_paths(self, routes: Sequence[Route]) -> Iterator[tuple[Route, Endpoint]]:
        """Yield the endpoints of gRPC-Web and Connect, for the methods that the rules make public already."""
        codec = self.around.codec
        for method, options in {route.method: route.options for route in routes}.items():
            if method.client_streaming:
                continue
            path = f"/{method.containing_service.full_name}/{method.name}"
            route = Route("POST", parse_template(path), method, options, body="*")
            caller = Caller(method, self.channel(method.containing_service), self.around)
            encode = ReplyEncoder(method, (), codec, JsonOptions(proto_names=False))
            yield (
                route,
                MethodPathEndpoint(
                    route, caller, encode, codec, self.limits, self.request_headers, self.around.response_headers
                ),
            )

    def _binder(self, route: Route, path_fields: Sequence[str]) -> RequestBinder:
        profile = self.around.profile
        json = self._json_options(route.options)
        return RequestBinder(
            input=route.method.input_type,
            path_fields=path_fields,
            body=route.body,
            codec=self.around.codec,
            options=BindingOptions(
                json=json,
                ignore_unknown_query=json.ignore_unknown,
                one_source_per_field=profile.one_source_per_field,
                fill_update_mask=profile.fill_update_mask and route.http_method == "PATCH",
                ignore_body=not profile.reject_unexpected_body,
                go_scalars=profile.go_scalars,
                query_fields=frozenset(route.options.query_fields),
            ),
        )

    def _alternative(self, route: Route, style: ErrorStyle) -> tuple[str, Target] | None:
        alternative = route.options.alternative
        if alternative is None:
            return None
        field = route.method.input_type.fields_by_name.get(alternative.when_field)
        if field is None or field.type != FieldDescriptor.TYPE_BOOL or field.is_repeated:
            raise PlanError(
                f'the alternative\'s when_field "{alternative.when_field}" is no bool field of '
                f"{route.method.input_type.full_name}"
            )
        service_name, _, name = alternative.method.rpartition(".")
        service = route.method.containing_service
        if service.full_name != service_name or name not in service.methods_by_name:
            raise PlanError(
                f'the alternative "{alternative.method}" is no method of {service.full_name}; write its full name'
            )
        method = service.methods_by_name[name]
        if method.client_streaming or method.input_type.full_name != route.method.input_type.full_name:
            raise PlanError(
                f"the alternative {method.full_name} takes {method.input_type.full_name}, "
                f"not one {route.method.input_type.full_name}"
            )
        options = self.method_options(method)
        if faults := options.faults():
            raise PlanError(f"the options of the alternative {method.full_name}: {'; '.join(faults)}")
        return alternative.when_field, Target(
            self._responder(method, options, self._reply(method, options, "")),
            options,
            self._style(options.error_style) if options.error_style else style,
        )

    def _reply(self, method: MethodDescriptor, options: MethodOptions, response_body: str) -> _Reply:
        path = _field_path(method.output_type, response_body)
        type_ = path[-1].message_type if path else method.output_type
        return _Reply(
            caller=Caller(method, self.channel(method.containing_service), self.around),
            path=path,
            is_raw=type_ is not None and type_.full_name == HTTP_BODY and not (path and path[-1].is_repeated),
            encode=ReplyEncoder(method, path, self.around.codec, self._json_options(options)),
        )

    def _responder(self, method: MethodDescriptor, options: MethodOptions, reply: _Reply) -> Responder:
        profile = self.around.profile
        if reply.is_raw:
            if not method.server_streaming:
                return HttpBodyResponder(reply.caller, method, reply.path, options, profile)
            offset_name = self.around.body_offset
            return HttpBodyStreamResponder(reply.caller, method, reply.path, options, profile, offset_name)
        if method.server_streaming:
            return StreamResponder(reply.caller, reply.encode, options, profile, heartbeat=self.around.heartbeat)
        offers = [ReplyFormat.JSON] if reply.path else list(ReplyFormat)
        return UnaryResponder(reply.caller, reply.encode, options, profile, offers=offers)

    def _json_options(self, options: MethodOptions) -> JsonOptions:
        profile = self.around.profile
        return JsonOptions(
            proto_names=profile.proto_names,
            emit_defaults=profile.emit_defaults if options.emit_defaults is None else options.emit_defaults,
            emit_nulls=profile.emit_nulls,
            null_optionals=profile.null_optionals,
            enum_numbers=profile.enum_numbers,
            ignore_unknown=profile.ignore_unknown if options.ignore_unknown is None else options.ignore_unknown,
        )

    def _style(self, name: str) -> ErrorStyle:
        style = self.styles.get(name)
        if style is None:
            raise PlanError(f'there is no error style "{name}"; known: {", ".join(sorted(filter(None, self.styles)))}')
        return style


def _field_path(message: Descriptor, path: str) -> tuple[FieldDescriptor, ...]:
    found: list[FieldDescriptor] = []
    current: Descriptor | None = message
    for name in path.split(".") if path else ():
        field = current.fields_by_name.get(name) if current is not None else None
        if field is None or (found and found[-1].is_repeated):
            owner = current.full_name if current is not None else f'"{found[-1].name}"'
            raise PlanError(f'response_body "{path}": {owner} has no field "{name}" to take')
        found.append(field)
        current = field.message_type
    return tuple(found)


def _complete(table: "RouteTable[Endpoint | None]") -> RouteTable[Endpoint]:
    """Return the table as what it is when no fault was found: one without gaps."""
    return table  # type: ignore[return-value]  # faults would have been raised
