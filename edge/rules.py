"""From `gaia.rest.v1.rules` in the contracts to the transcoder's options."""

from gaia.rest.v1 import options_pb2
from google.protobuf.descriptor import MethodDescriptor

from edge.errors import ANTHROPIC, OPENAI, PLAIN
from edge.transcoding.options import Alternative, Framing, MethodOptions

_FRAMINGS = {
    options_pb2.FRAMING_UNSPECIFIED: None,
    options_pb2.FRAMING_NDJSON: Framing.NDJSON,
    options_pb2.FRAMING_SSE: Framing.SSE,
    options_pb2.FRAMING_JSON_ARRAY: Framing.JSON_ARRAY,
}
_STYLES = {
    options_pb2.ERROR_STYLE_UNSPECIFIED: "",
    options_pb2.ERROR_STYLE_PLAIN: PLAIN,
    options_pb2.ERROR_STYLE_OPENAI: OPENAI,
    options_pb2.ERROR_STYLE_ANTHROPIC: ANTHROPIC,
}
DEFAULT_TIMEOUT_SECONDS = 60
DEFAULT_BODY_BYTES = 1 << 20


def rules_of(method: MethodDescriptor) -> options_pb2.MethodRules:
    """Returns the rules of a method."""
    rules: options_pb2.MethodRules = method.GetOptions().Extensions[options_pb2.rules]
    return rules


def method_options(method: MethodDescriptor) -> MethodOptions:
    """Returns the transcoder's options for a method of Gaia."""
    rules = rules_of(method)
    timeout = float(rules.timeout_seconds or DEFAULT_TIMEOUT_SECONDS)
    return MethodOptions(
        success_code=rules.success_code or 200,
        framing=_FRAMINGS[rules.framing],
        end_marker=rules.end_marker,
        error_style=_STYLES[rules.error_style],
        header_error_style=_header_style(rules),
        ignore_unknown=rules.ignore_unknown or None,
        emit_defaults=not rules.omit_defaults,
        trailing_slash=True,
        alternative=_alternative(method, rules),
        default_timeout=timeout,
        max_timeout=timeout,
        max_body_bytes=rules.max_body_bytes or DEFAULT_BODY_BYTES,
        query_fields=tuple(rules.query_fields),
    )


def _header_style(rules: options_pb2.MethodRules) -> tuple[str, str] | None:
    if not rules.HasField("header_error_style"):
        return None
    return rules.header_error_style.header, _STYLES[rules.header_error_style.error_style]


def _alternative(method: MethodDescriptor, rules: options_pb2.MethodRules) -> Alternative | None:
    if not rules.HasField("alternative"):
        return None
    sibling = f"{method.containing_service.full_name}.{rules.alternative.method}"
    return Alternative(when_field=rules.alternative.when_field, method=sibling)
