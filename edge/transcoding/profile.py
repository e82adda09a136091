"""The named behaviours in which transcoders differ, and two sets of them: STRICT and GRPC_GATEWAY."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Every behaviour that an embedder may choose; the defaults are what is best for the person calling.

    - `last_rule_wins`: of two rules that match the same paths the later one is used; otherwise they stop the start.
    - `reject_dot_segments`: a path with a `.` or `..` segment, encoded or not, is 400; otherwise it is matched as text.
    - `wrong_method_is_501`: a path whose rules have other methods is 501; otherwise 405 with `Allow`.
    - `derive_head_and_options`: answer HEAD from GET, and OPTIONS with `Allow`, where no rule is bound to them.
    - `name_near_routes`: a 404 names the route that differs in a trailing slash or in case only.
    - `one_source_per_field`: a field given by path and by query or body, with different values, is 400; otherwise
      the path wins.
    - `ignore_unknown`: unknown query parameters and JSON fields are dropped; otherwise they are 400 with a hint.
    - `reject_unexpected_body`: a body where the rule takes none is 400; otherwise it is drained.
    - `check_media_types`: an unknown Content-Type is 415 and an Accept that nothing satisfies 406; otherwise JSON is
      read and written whatever they say.
    - `proto_names`: JSON with the contract's field names; otherwise lowerCamelCase.
    - `emit_defaults`: write fields that hold their default.
    - `emit_nulls`: with `emit_defaults`, write unset messages as null.
    - `null_optionals`: with `emit_nulls`, write unset `optional` fields of proto3 as null too.
    - `enum_numbers`: write enums as numbers.
    - `go_scalars`: read numbers and booleans of path and query as Go's strconv does.
    - `fill_update_mask`: fill the empty FieldMask of a PATCH from the body's fields.
    - `stream_envelope`: streams are lines of `{"result": message}`, ended by `{"error": status}` where they fail,
      typed `application/json`, whatever Accept says.
    - `permanent_header_prefix`: prefix under which IANA's permanent request headers become metadata; empty for none.
    - `hide_unknown_errors`: the message of a backend's UNKNOWN status, which is what uncaught exceptions become, and
      of transport failures is replaced by one without internals.
    - `etags`: answer GET with an ETag, and 304 where If-None-Match has it.
    - `codings`: code replies of 1 KB and more by zstd, br or gzip, as Accept-Encoding asks, streams never; and take
      request bodies that are coded by gzip, deflate, br or zstd. Otherwise coded bodies are 415.
    - `ranges`: answer Range requests for google.api.HttpBody replies.
    - `method_paths`: take gRPC-Web and Connect unary calls on `/package.Service/Method`, for methods with a rule.
    - `retry_after`: seconds for the `Retry-After` of a 503 whose status says nothing about retrying; 0 for none.
    """

    last_rule_wins: bool = False
    reject_dot_segments: bool = True
    wrong_method_is_501: bool = False
    derive_head_and_options: bool = True
    name_near_routes: bool = True
    one_source_per_field: bool = True
    ignore_unknown: bool = False
    reject_unexpected_body: bool = True
    check_media_types: bool = True
    proto_names: bool = True
    emit_defaults: bool = False
    emit_nulls: bool = False
    null_optionals: bool = False
    enum_numbers: bool = False
    go_scalars: bool = False
    fill_update_mask: bool = True
    stream_envelope: bool = False
    permanent_header_prefix: str = ""
    hide_unknown_errors: bool = True
    etags: bool = True
    codings: bool = True
    ranges: bool = True
    method_paths: bool = True
    retry_after: int = 1


STRICT = Profile()
"""What is best for the person calling: every mistake is named."""

GRPC_GATEWAY = Profile(
    last_rule_wins=True,
    reject_dot_segments=False,
    wrong_method_is_501=True,
    derive_head_and_options=False,
    name_near_routes=False,
    one_source_per_field=False,
    ignore_unknown=True,
    reject_unexpected_body=False,
    check_media_types=False,
    proto_names=False,
    emit_defaults=True,
    emit_nulls=True,
    go_scalars=True,
    stream_envelope=True,
    permanent_header_prefix="grpcgateway-",
    hide_unknown_errors=False,
    etags=False,
    codings=False,
    ranges=False,
    method_paths=False,
    retry_after=0,
)
"""What grpc-gateway v2 puts on the wire with its default marshaler."""
