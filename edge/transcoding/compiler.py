"""Compiles a set of services into endpoints, and collects everything that keeps them from being served."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from edge.transcoding.binding import BindingOptions, RequestBinder
from edge.transcoding.call import Caller, ReplyEncoder, Responder, Surroundings, UnaryResponder
from edge.transcoding.codec import JsonOptions
from edge.transcoding.endpoint import Bind, Endpoint, Formats, MessageEndpoint, MessageSource, StreamEndpoint, Target
from edge.transcoding.errors import ErrorStyle
from edge.transcoding.httpbody import HttpBodyResponder, HttpBodyStreamResponder
from edge.transcoding.media import BodyFormat, ReplyFormat
from edge.transcoding.multipart import HTTP_BODY, MultipartBinder, MultipartMessages
from edge.transcoding.options import Limits, MethodOptions, MethodOptionsSource
from edge.transcoding.protobuf_body import ProtobufBinder
from edge.transcoding.raw_body import RawBinder, RawMessages
from edge.transcoding.request_stream import JsonMessages
from edge.transcoding.routes import Route, RouteTable, RouteTableError, collect_routes
from edge.transcoding.streaming import StreamResponder
from edge.transcoding.violations import BindingPlanError

ChannelSource = Callable[[ServiceDescriptor], grpc.aio.Channel]


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

    def compile(self, services: Iterable[ServiceDescriptor]) -> tuple[list[Route], RouteTable[Endpoint]]:
        """Return the routes in the contracts' order and the table that finds their endpoints.

        Raises `RouteTableError` with every fault of every service.
        """
        profile = self.around.profile
        routes, faults = collect_routes(services, self.method_options)
        entries: list[tuple[Route, Endpoint | None]] = []
        for route in routes:
            try:
                entries.append((route, self._endpoint(route)))
            except (BindingPlanError, PlanError) as error:
                faults.append(route.fault(str(error)))
                # Its place in the table is still checked, so that one start names everything.
                entries.append((route, None))
        table = RouteTable(
            entries,
            last_rule_wins=profile.last_rule_wins,
            reject_dot_segments=profile.reject_dot_segments,
            derive_head=profile.derive_head_and_options,
        )
        faults += table.faults
        if faults:
            raise RouteTableError(list(dict.fromkeys(faults)))
        return routes, _complete(table)

    def _endpoint(self, route: Route) -> Endpoint:
        method, profile = route.method, self.around.profile
        style = self._style(route.options.error_style)
        raw_field = _raw_field(route)
        json = self._json_options(route.options)
        path_fields = [variable.field_path for variable in route.template.variables]
        binder = RequestBinder(
            input=method.input_type,
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
            ),
        )
        target = Target(self._responder(method, route.options, route.response_body), route.options, style)
        if method.client_streaming:
            return StreamEndpoint(route, target, formats=self._sources(route, binder, raw_field))
        return MessageEndpoint(
            route,
            target,
            formats=self._binders(route, binder, raw_field, path_fields),
            profile=profile,
            body_timeout=self.limits.body_timeout,
            alternative=self._alternative(route, style),
        )

    def _binders(
        self, route: Route, binder: RequestBinder, raw_field: str | None, path_fields: Sequence[str]
    ) -> Formats[Bind]:
        input_, profile = route.method.input_type, self.around.profile
        multipart = MultipartBinder(binder, input_).bind
        if raw_field is not None:
            raw = {BodyFormat.OTHER: RawBinder(binder.bind, raw_field).bind}
            return Formats({**raw, BodyFormat.MULTIPART: multipart} if raw_field else raw, checked=False)
        formats: dict[BodyFormat, Bind] = {BodyFormat.JSON: _without_type(binder.bind)}
        if profile.check_media_types and route.body == "*":
            binary = ProtobufBinder(binder, input_, path_fields, one_source=profile.one_source_per_field)
            formats[BodyFormat.PROTOBUF] = _without_type(binary.bind)
            formats[BodyFormat.FORM] = _without_type(binder.bind_form)
            formats[BodyFormat.MULTIPART] = multipart
        return Formats(formats, checked=bool(route.body) and profile.check_media_types)

    def _sources(self, route: Route, binder: RequestBinder, raw_field: str | None) -> Formats[MessageSource]:
        options, profile = route.options, self.around.profile
        if options.alternative is not None:
            raise PlanError("an alternative is chosen by the request, so that its method takes one message")
        limit = options.max_stream_bytes
        if raw_field is not None:
            return Formats(
                {
                    BodyFormat.OTHER: RawMessages(binder.bind, raw_field, body_limit=limit).of,
                    BodyFormat.MULTIPART: MultipartMessages(binder, raw_field, body_limit=limit).of,
                },
                checked=False,
            )
        json, lines = (
            JsonMessages(binder.bind, message_limit=options.max_message_bytes, body_limit=limit, lines=lines)
            for lines in (False, True)
        )
        return Formats(
            {BodyFormat.JSON: json.of, BodyFormat.NDJSON: lines.of},
            checked=bool(route.body) and profile.check_media_types,
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
            self._responder(method, options, ""),
            options,
            self._style(options.error_style) if options.error_style else style,
        )

    def _responder(self, method: MethodDescriptor, options: MethodOptions, response_body: str) -> Responder:
        caller = Caller(method, self.channel(method.containing_service), self.around)
        path = _field_path(method.output_type, response_body)
        reply = path[-1].message_type if path else method.output_type
        if reply is not None and reply.full_name == HTTP_BODY and not (path and path[-1].is_repeated):
            responder = HttpBodyStreamResponder if method.server_streaming else HttpBodyResponder
            return responder(caller, method, path, options)
        profile = self.around.profile
        encode = ReplyEncoder(method, path, self.around.codec, self._json_options(options))
        if method.server_streaming:
            return StreamResponder(caller, encode, options, profile, heartbeat=self.around.heartbeat)
        offers = [ReplyFormat.JSON] if path else list(ReplyFormat)
        return UnaryResponder(caller, encode, options, profile, offers=offers)

    def _json_options(self, options: MethodOptions) -> JsonOptions:
        profile = self.around.profile
        return JsonOptions(
            proto_names=profile.proto_names,
            emit_defaults=profile.emit_defaults if options.emit_defaults is None else options.emit_defaults,
            emit_nulls=profile.emit_nulls,
            enum_numbers=profile.enum_numbers,
            ignore_unknown=profile.ignore_unknown if options.ignore_unknown is None else options.ignore_unknown,
        )

    def _style(self, name: str) -> ErrorStyle:
        style = self.styles.get(name)
        if style is None:
            raise PlanError(f'there is no error style "{name}"; known: {", ".join(sorted(filter(None, self.styles)))}')
        return style


def _without_type(bind: Callable[[Sequence[str], bytes, bytes], Message]) -> Bind:
    return lambda captures, query, body, _content_type: bind(captures, query, body)


def _raw_field(route: Route) -> str | None:
    request = route.method.input_type
    if route.body == "*":
        return "" if request.full_name == HTTP_BODY else None
    field = request.fields_by_name.get(route.body) if route.body else None
    if field is None or field.message_type is None or field.is_repeated:
        return None
    return field.name if field.message_type.full_name == HTTP_BODY else None


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
